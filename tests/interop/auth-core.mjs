// @auth/core: the provider's own options name other URLs.
import { Auth } from "@auth/core";
import TikTok from "@auth/core/providers/tiktok";
import { clientKey, clientSecret, consent, Cookies, fake, redirectURI, report } from "./surroundings.mjs";

const app = new URL(redirectURI).origin;
let account;
const config = {
  secret: "a secret of this program",
  trustHost: true,
  providers: [
    TikTok({
      clientId: clientKey,
      clientSecret,
      authorization: { url: `${fake}/v2/auth/authorize/` },
      token: `${fake}/v2/oauth/token/`,
      userinfo: `${fake}/v2/user/info/?fields=open_id,avatar_url,display_name`,
    }),
  ],
  callbacks: {
    jwt: (given) => {
      account ??= given.account;
      return given.token;
    },
  },
};
const cookies = new Cookies();
const visit = async (url, options = {}) =>
  cookies.take(await Auth(new Request(url, { ...options, headers: cookies.headers }), config));

const { csrfToken } = await (await visit(`${app}/auth/csrf`)).json();
const body = new URLSearchParams({ csrfToken, callbackUrl: app });
const begun = await visit(`${app}/auth/signin/tiktok`, { method: "POST", body });
await visit(await consent(begun.headers.get("location")));
const session = await (await visit(`${app}/auth/session`)).json();
report({ user: { display_name: session.user.name, open_id: account.providerAccountId }, tokens: [account.access_token] });
