// better-auth: its provider's URLs are constants, so what it sends is led to the fake.
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { clientKey, clientSecret, consent, Cookies, redirectURI, report, scopes, sendToFake } from "./surroundings.mjs";

sendToFake();
const app = new URL(redirectURI).origin;
const database = { user: [], session: [], account: [], verification: [] };
const auth = betterAuth({
  baseURL: app,
  secret: "a secret of this program, of 32 characters",
  database: memoryAdapter(database),
  telemetry: { enabled: false },
  socialProviders: { tiktok: { clientKey, clientSecret, scope: scopes } },
});
const cookies = new Cookies();
const visit = async (path, json) => {
  const headers = { ...cookies.headers, origin: app, ...(json && { "content-type": "application/json" }) };
  const options = json ? { method: "POST", headers, body: JSON.stringify(json) } : { headers };
  return cookies.take(await auth.handler(new Request(new URL(path, app), options)));
};

const begun = await (await visit("/api/auth/sign-in/social", { provider: "tiktok", callbackURL: "/home" })).json();
const landed = await visit(await consent(begun.url));
const [account] = database.account;
const first = account.accessToken;
const second = await (await visit("/api/auth/refresh-token", { accountId: account.id })).json();
report({
  landed: landed.headers.get("location"),
  user: { display_name: database.user[0].name, open_id: account.accountId },
  tokens: [first, second.accessToken],
});
