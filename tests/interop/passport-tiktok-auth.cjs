// passport-tiktok-auth: the strategy's own options name other URLs. A web server as an app has one.
const http = require("node:http");
const passport = require("passport");
const { Strategy } = require("passport-tiktok-auth");

(async () => {
  const { clientKey, clientSecret, consent, fake, redirectURI, report, scopes } = await import("./surroundings.mjs");
  let tokens, user;
  const strategy = new Strategy(
    {
      clientID: clientKey,
      clientSecret,
      callbackURL: redirectURI,
      scope: scopes,
      state: true,
      authorizationURL: `${fake}/v2/auth/authorize/`,
      tokenURL: `${fake}/v2/oauth/token/`,
      profileURL: `${fake}/v2/user/info/`,
    },
    (accessToken, _refreshToken, profile, done) => {
      tokens = [accessToken];
      user = { open_id: profile.id, display_name: profile.displayName };
      done(null, user);
    },
  );
  passport.use(strategy);
  const session = {}; // of the one person who comes here
  const server = http.createServer((request, response) => {
    request.query = Object.fromEntries(new URL(request.url, fake).searchParams);
    request.session = session;
    passport.authenticate("tiktok", { session: false })(request, response, (error) => {
      response.statusCode = error ? 500 : 200;
      response.end(error ? error.stack : "welcome");
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const app = `http://127.0.0.1:${server.address().port}`;

  const begun = await fetch(app, { redirect: "manual" });
  const callback = await consent(begun.headers.get("location"));
  const landed = await fetch(app + callback.pathname + callback.search);
  server.closeAllConnections();
  server.close();
  report({ user, tokens, landed: [landed.status, await landed.text()] });
})();
