"""The whole life of a connection, against a fake TikTok on this machine."""

from __future__ import annotations

import tempfile
import time
import webbrowser

from tiktok_oauth_session._oauth.responses import unwrap
from tiktok_oauth_session.cli.demo.traffic import Traffic, masked
from tiktok_oauth_session.cli.login.callback_server import CallbackServer
from tiktok_oauth_session.cli.terminal.output import show
from tiktok_oauth_session.errors import ReauthorizationRequired, TokenError
from tiktok_oauth_session.platforms import Platform
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores.file import FileStore
from tiktok_oauth_session.testing import FakeTikTok

#: Seconds that the demo's access tokens live, so that one can be watched dying.
ACCESS_LIFETIME_S = 3
SCOPES = ("user.info.basic", "video.list")
#: Seconds that a user has to answer the consent page.
CONSENT_TIMEOUT_S = 300.0


def demo(platform: Platform, *, browser: bool, verbose: bool) -> None:
    """Run the demo.

    Args:
        platform: The surface.
        browser: Let the user answer the consent page in a browser.
        verbose: Show every parameter that is sent and received.

    Raises:
        TokenError: The connection died, which is what this package is there to prevent.
    """
    fake = FakeTikTok(access_lifetime=ACCESS_LIFETIME_S, strict=True)
    with fake.serve() as server, tempfile.TemporaryDirectory() as directory:
        show(f"{platform.name}, on a fake TikTok at {server.url}", style="bold")
        traffic = Traffic(fake, verbose=verbose)
        Demo(fake, platform.at(server.url), FileStore(directory), traffic, browser=browser).run()
    show("")
    show(
        f"{len(fake.requests)} requests: one login, {len(fake.requests_to('refresh'))} refresh, "
        f"{fake.reuse_attempts} refresh tokens sent twice. Every secret was made up and is gone.",
        style="bold",
    )


class Demo:
    """One connection's life on one surface.

    Args:
        fake: The fake TikTok.
        platform: The surface, at the fake's address.
        store: Where the token is kept.
        traffic: Shows what is sent.
        browser: Let the user answer the consent page in a browser.
    """

    def __init__(
        self, fake: FakeTikTok, platform: Platform, store: FileStore, traffic: Traffic, *, browser: bool
    ) -> None:
        self._fake, self._platform, self._traffic, self._browser = fake, platform, traffic, browser
        self._callback_server = CallbackServer()
        self._session = TikTokOAuth2Session(
            fake.client_key,
            client_secret=fake.client_secret,
            scope=SCOPES,
            redirect_uri=self._callback_server.redirect_uri,
            store=store,
            platform=platform,
        )

    def run(self) -> None:
        """Log in, call, expire, refresh, revoke."""
        with self._callback_server:
            self._log_in()
        _step("Call the API: session.get() is requests' own")
        self._call_api()
        _step(f"Call again after {ACCESS_LIFETIME_S} s: it has expired, and is refreshed inside the call")
        time.sleep(ACCESS_LIFETIME_S)
        self._call_api()
        _step("Revoke: at TikTok, then in the session and the store")
        self._session.revoke_token()
        self._traffic.show()
        _step("Call once more")
        try:
            self._call_api()
        except ReauthorizationRequired as error:
            show(f"  {type(error).__name__}: {error}", style="yellow")
        else:
            raise TokenError("A revoked connection went on working.")

    def _log_in(self) -> None:
        _step(f"Authorise: asks for {' and '.join(SCOPES)}, and is granted the first")
        url, state = self._session.authorization_url()
        if self._browser:
            self._callback_server.expect(state)
            show(f"  Opening {url}")
            webbrowser.open(url)
            callback = self._callback_server.wait(CONSENT_TIMEOUT_S)
            if callback is None:
                raise TokenError("Nobody answered the consent page.")
        else:
            callback = self._fake.authorize(url, grant=SCOPES[:1])
        self._traffic.show()
        _step("Fetch the token: the callback's state is compared, then its code is exchanged")
        token = self._session.fetch_token(authorization_response=callback)
        self._traffic.show()
        granted = " ".join(self._session.granted_scopes)
        missing = " ".join(self._session.missing_scopes) or "none"
        show(f"  {masked(token.access_token)} has the scopes {granted}; missing: {missing}")

    def _call_api(self) -> None:
        where = f"{self._platform.token_endpoint.partition('/oauth/')[0]}/user/info/"
        if self._platform.access_token_placement == "header":
            response = self._session.get(where, params={"fields": "open_id,display_name"})
        else:
            response = self._session.post(where, json={"fields": ["open_id", "display_name"]})
        self._traffic.show()
        show(f"  Hello, {unwrap(response)['user']['display_name']}.")


def _step(title: str) -> None:
    show("")
    show(title, style="bold")
