"""The whole life of a connection, against a fake TikTok on this machine."""

from __future__ import annotations

import json
import tempfile
import textwrap
import time
import webbrowser
from collections.abc import Mapping

from tiktok_oauth_session._http.redaction import SECRET_PARAMETERS
from tiktok_oauth_session._oauth.responses import unwrap
from tiktok_oauth_session.cli.login.callback_server import CallbackServer
from tiktok_oauth_session.errors import ReauthorizationRequired, TokenError
from tiktok_oauth_session.platforms import LOGIN_KIT, LOGIN_KIT_V1, Platform
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores.file import FileStore
from tiktok_oauth_session.testing import FakeTikTok, RequestRecord

#: Seconds that the demo's access tokens live, so that one can be watched dying.
ACCESS_LIFETIME_S = 3
SCOPES = ("user.info.basic", "video.list")
#: Seconds that a user has to answer the consent page.
CONSENT_TIMEOUT_S = 300.0
#: Characters of a secret that are shown: enough to see that it changed.
SHOWN = 8

_HEADERS = ("Authorization", "Content-Type")


def demo(*, browser: bool) -> None:
    """Run the demo on both surfaces.

    Args:
        browser: Let the user answer the consent page in a browser.

    Raises:
        TokenError: The connection died, which is what this package is there to prevent.
    """
    fake = FakeTikTok(access_lifetime=ACCESS_LIFETIME_S, strict=True)
    with fake.serve() as server, tempfile.TemporaryDirectory() as directory:
        for platform in (LOGIN_KIT, LOGIN_KIT_V1):
            print(f"\n{'=' * 78}\n{platform.name} on a fake TikTok at {server.url}\n{'=' * 78}")
            Demo(fake, platform.at(server.url), FileStore(directory), browser=browser).run()
    print("\nThat was the life of a connection. Every secret above was made up and is gone.")


class Demo:
    """One connection's life on one surface.

    Args:
        fake: The fake TikTok.
        platform: The surface, at the fake's address.
        store: Where the token is kept.
        browser: Let the user answer the consent page in a browser.
    """

    def __init__(self, fake: FakeTikTok, platform: Platform, store: FileStore, *, browser: bool) -> None:
        self._fake = fake
        self._platform = platform
        self._browser = browser
        self._callback_server = CallbackServer()
        self._printed = len(fake.requests)
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
        self._step("Call the API", "session.get() is requests' own, with the token shown in the right place.")
        self._call_api()
        self._step(
            "Expire, and call again",
            f"The access token lived {ACCESS_LIFETIME_S} s. The session refreshes it inside the call: the "
            "refresh token is spent, and its successor is in the store before the call goes on.",
        )
        time.sleep(ACCESS_LIFETIME_S)
        self._call_api()
        self._step("Revoke", "At TikTok first, then in the session and the store.")
        self._session.revoke_token()
        self._show_traffic()
        self._step("Call once more", "Nobody is logged in any more, and the error says what to do.")
        try:
            self._call_api()
        except ReauthorizationRequired as error:
            print(f"   {type(error).__name__}: {error}")
        else:
            raise TokenError("A revoked connection went on working.")

    def _log_in(self) -> None:
        self._step("Authorise", f"Asking for {' and '.join(SCOPES)}; the user grants the first only.")
        url, state = self._session.authorization_url()
        if self._browser:
            self._callback_server.expect(state)
            print(f"   Opening {url}\n")
            webbrowser.open(url)
            callback = self._callback_server.wait(CONSENT_TIMEOUT_S)
            if callback is None:
                raise TokenError("Nobody answered the consent page.")
        else:
            callback = self._fake.authorize(url, grant=SCOPES[:1])
        self._show_traffic()
        self._step("Fetch the token", "The callback's state is checked, then its code is exchanged.")
        self._session.fetch_token(authorization_response=callback)
        self._show_traffic()
        print(f"   granted scopes: {', '.join(self._session.granted_scopes)}")
        print(f"   missing scopes: {', '.join(self._session.missing_scopes) or 'none'}")

    def _call_api(self) -> None:
        host = self._platform.token_endpoint.partition("/oauth/")[0]
        if self._platform.access_token_placement == "header":
            response = self._session.get(f"{host}/user/info/", params={"fields": "open_id,display_name"})
        else:
            response = self._session.post(f"{host}/user/info/", json={"fields": ["open_id", "display_name"]})
        self._show_traffic()
        print(f"   data: {json.dumps(unwrap(response))}")

    # --- showing it --------------------------------------------------------------------------------

    def _step(self, title: str, text: str) -> None:
        print(f"\n{title}")
        print(textwrap.fill(text, 76, initial_indent="   ", subsequent_indent="   ") + "\n")

    def _show_traffic(self) -> None:
        for record in self._fake.requests[self._printed :]:
            self._printed += 1
            print(f"   → {record.method} {record.url.partition('?')[0]}")
            for name in _HEADERS:
                if name in record.headers:
                    kind, _, secret = record.headers[name].rpartition(" ")
                    shown = f"{kind} {_masked(secret)}" if name == "Authorization" else record.headers[name]
                    print(f"       {name}: {shown}")
            _show(record.parameters)
            print(f"   ← {record.status} {_kind(record)}".rstrip())
            _show(_reply(record))
        print()


def _reply(record: RequestRecord) -> dict[str, object]:
    try:
        body = json.loads(record.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _kind(record: RequestRecord) -> str:
    if record.error:
        return str(record.error)
    if record.endpoint == "authorize":
        return "consent page" if record.method == "GET" else "back to the app, with a code"
    return ""


def _show(fields: Mapping[str, object], indent: str = "       ") -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            print(f"{indent}{name}:")
            _show(value, indent + "  ")
        else:
            shown = _masked(str(value)) if name in SECRET_PARAMETERS and value else value
            print(f"{indent}{name}: {shown}")


def _masked(secret: str) -> str:
    return f"{secret[:SHOWN]}…" if len(secret) > SHOWN else secret
