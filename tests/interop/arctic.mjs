// arctic: its URLs are constants of its module, so what it sends is led to the fake.
import * as arctic from "arctic";
import { clientKey, clientSecret, consent, redirectURI, report, scopes, sendToFake } from "./surroundings.mjs";

sendToFake();
const tiktok = new arctic.TikTok(clientKey, clientSecret, redirectURI);
const [state, verifier] = [arctic.generateState(), arctic.generateCodeVerifier()];
const callback = await consent(tiktok.createAuthorizationURL(state, verifier, scopes));
if (callback.searchParams.get("state") !== state) throw new Error("another state");
const first = await tiktok.validateAuthorizationCode(callback.searchParams.get("code"), verifier);

// It makes no API calls itself.
const headers = { authorization: `Bearer ${first.accessToken()}` };
const profile = await fetch("https://open.tiktokapis.com/v2/user/info/?fields=open_id,display_name", { headers });

const second = await tiktok.refreshAccessToken(first.refreshToken());
await tiktok.revokeToken(second.accessToken());
report({
  user: (await profile.json()).data.user,
  tokens: [first, second].map((each) => each.accessToken()),
});
