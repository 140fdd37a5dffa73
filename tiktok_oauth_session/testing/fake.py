"""The fake TikTok that tests talk to: one object, with or without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

from . import qr
from .adapter import FakeAdapter
from .app import REDIRECT_URIS, SCOPES, App, Policy, Rotation
from .authorize import ALLOW, CANCEL, FakePageError
from .checks import LATEST_S, Rule, check, is_number
from .exchange import ROUTES, Hook, RequestHandler
from .faults import Fault
from .grants import SCOPES_OF_SURFACE
from .records import RequestRecord
from .routes import ENDPOINTS
from .server import FakeServer
from .shop import SERVICE_ID
from .users import User
from .webhooks import signed, signed_by_shop

CLIENT_KEY = "sbaw-test-key"
CLIENT_SECRET = "sbaw-test-secret"
#: The surfaces that issue tokens.
SURFACES = ("v2", "v1", "business", "advertiser", "shop")


class FakeTikTok:
    """TikTok's OAuth and a little of its API, in memory: Login Kit, TikTok for Business and TikTok Shop.

    The app's client key is also its app id, client id and app key there.

    It refuses what TikTok is documented or known to refuse. What is merely undocumented it accepts, and notes
    in `warnings`.

    Safe to use from many threads. Nothing leaves this machine.

    Args:
        client_key: The app's client key.
        client_secret: The app's client secret.
        redirect_uris: What the app has registered; a loopback URI may have the port ``*``.
        scopes: What the app has been approved for.
        access_lifetime: Seconds that a user's access token lives.
        refresh_lifetime: Seconds that a refresh token lives, counted from each refresh; on Business and Shop
            from the login.
        client_token_lifetime: Seconds that a token of the app itself lives.
        code_lifetime: Seconds that an authorization code lives, other than an advertiser's (an hour) and
            Shop's (half an hour).
        qr_lifetime: Seconds in which a QR code must be scanned, confirmed and collected.
        rotation: What a refresh does to the refresh token: ``hard`` spends it at once,
            ``grace`` accepts the previous one again for a while and returns the same
            successor, ``none`` returns the same one.
        grace_period: Seconds of that while.
        reuse_revokes: Whether a refused, already spent refresh token ends the user's
            connection (RFC 9700, section 4.14.2).
        error_status: HTTP status of the v2 OAuth errors; TikTok documents none.
        revoke_body: The reply to a revocation: ``b"{}"`` or ``b""``.
        strict: Whether to refuse what is merely undocumented, too.
        app_name: The name on the consent page.
        users: Who has a TikTok account; if nobody is named, one who is called Fake User.
        clock: Returns Unix seconds; None reads `time.time` at every call.

    Attributes:
        client_key: The app's client key.
        client_secret: The app's client secret.

    Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
    """

    def __init__(
        self,
        client_key: str = CLIENT_KEY,
        client_secret: str = CLIENT_SECRET,
        redirect_uris: Iterable[str] = REDIRECT_URIS,
        *,
        scopes: Iterable[str] = SCOPES,
        access_lifetime: float = 7200,
        refresh_lifetime: float = 15_552_000,
        client_token_lifetime: float = 7200,
        code_lifetime: float = 600,
        qr_lifetime: float = 120,
        rotation: Rotation = "hard",
        grace_period: float = 30,
        reuse_revokes: bool = False,
        error_status: int = 200,
        revoke_body: bytes = b"{}",
        strict: bool = False,
        app_name: str = "Test App",
        users: Iterable[User] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        app = App(client_key, client_secret, tuple(redirect_uris), tuple(scopes), app_name)
        policy = Policy(
            access_lifetime=access_lifetime,
            refresh_lifetime=refresh_lifetime,
            client_token_lifetime=client_token_lifetime,
            code_lifetime=code_lifetime,
            qr_lifetime=qr_lifetime,
            rotation=rotation,
            grace_period=grace_period,
            reuse_revokes=reuse_revokes,
            error_status=error_status,
            revoke_body=revoke_body,
            strict=strict,
        )
        self.client_key = client_key
        self.client_secret = client_secret
        self._handler = RequestHandler(app, policy, clock, tuple(users))
        self._tiktok = self._handler.tiktok
        self._lock = self._handler.lock

    def __repr__(self) -> str:
        """Show the app and how much happened, but no secret."""
        return f"<FakeTikTok {self.client_key}: {len(self._handler.records)} requests>"

    @property
    def service_id(self) -> str:
        """The app's number that TikTok Shop's authorization page wants in place of its key."""
        return SERVICE_ID

    # -- reaching it ---------------------------------------------------------------------

    def adapter(self) -> FakeAdapter:
        """Return an adapter to mount on a `requests` session; it needs no socket."""
        return FakeAdapter(self._handler)

    def serve(self, port: int = 0) -> FakeServer:
        """Start a server on 127.0.0.1; port 0 takes a free one."""
        return FakeServer(self._handler, port)

    def authorize(
        self,
        url: str,
        *,
        grant: Iterable[str] | None = None,
        deny: bool = False,
        user: User | str | None = None,
    ) -> str:
        """Play the browser of a user who is sent to `url`, and return the callback URL.

        Args:
            url: An authorization URL on TikTok's host or any other.
            grant: The scopes that the user leaves ticked; None grants all that were asked, for
                advertisers and Shop all that there are. `user.info.basic` cannot be unticked.
            deny: Whether the user cancels instead.
            user: Who is logged in; None is the first user.

        Raises:
            FakePageError: TikTok shows an error page of its own; no callback ever arrives.
            requests.HTTPError: A planned fault answered instead of the page.
        """
        with requests.Session() as browser:
            browser.trust_env = False
            for scheme in ("http://", "https://"):
                browser.mount(scheme, self.adapter())
            page = browser.get(url, allow_redirects=False)
            if not page.is_redirect:
                page.raise_for_status()
                asked = self._asked(url)
                granted = asked if grant is None else list(grant)
                if not set(granted) <= set(asked):
                    raise ValueError(f"asked were {', '.join(asked)}; cannot grant {granted}")
                answers = dict.fromkeys(granted, "on")
                answers["decision"] = CANCEL if deny else ALLOW
                answers["open_id"] = self._tiktok.user(user).open_id
                page = browser.post(url, answers, allow_redirects=False)
                page.raise_for_status()
        location = page.headers["Location"]
        FakePageError.check(urljoin(url, location))
        return location

    def _asked(self, url: str) -> Iterable[str]:
        """Return the scopes that an authorization URL, or the app itself, asks for."""
        page = urlsplit(url)
        surface = ROUTES[page.path].surface if page.path in ROUTES else "v2"
        if surface in SCOPES_OF_SURFACE:
            return self._tiktok.scopes_of(surface)
        return dict(parse_qsl(page.query)).get("scope", "").split(",")

    # -- its clock and its accidents -----------------------------------------------------

    def now(self) -> float:
        """Return Unix seconds on the fake's clock."""
        return self._tiktok.now()

    def advance(self, seconds: float) -> None:
        """Move the fake's clock, and only that, forward.

        Raises:
            ValueError: That is no number, or no time that has a date.
        """
        with self._lock:
            now = self.now()
            rule = Rule(
                "a number that leaves the clock between the years 1970 and 9999",
                lambda value: is_number(value) and -now <= value <= LATEST_S - now,
            )
            check("seconds", seconds, rule)
            self._tiktok.offset_s += seconds

    def fail(self, endpoint: str, kind: str, *, times: int | None = 1, **details: Any) -> None:
        """Plan an accident; accidents of one endpoint happen in the order they were planned.

        ==============  ========================================================================
        kind            what happens, and the details with their defaults
        ==============  ========================================================================
        `refuse`        No connection. A server can only reset it: use `stop_listening()` there.
        `reset_before`  The connection is reset, nothing was done.
        `reset_after`   Everything was done, then the connection is reset: the reply is lost.
        `slow`          `seconds=60`; `processed=True`: done even if nobody waits for the reply.
        `truncated`     The reply ends before its JSON does; `processed=True`.
        `html`          A gateway's HTML page; `status=502`, `processed=False`.
        `status`        `status=503`, `retry_after=None`, `body=None` (JSON; ``b""`` for none).
        `error`         TikTok tells an error in the endpoint's own form: `error`,
                        `description`, `code` (for the API and v1), `status`.
        `body`          Any bytes: `body=b""`, `status=200`, `headers={}`, `processed=False`.
        `redirect`      `location`, `status=307`.
        ==============  ========================================================================

        Args:
            endpoint: One of the endpoint names of `RequestRecord`, or `*` for any.
            kind: One of the above.
            times: For how many requests; None until `heal()`.
            **details: As above.

        Raises:
            ValueError: An unknown endpoint, kind or detail, or a detail that is none.
        """
        fault = Fault.plan(kind, details)
        with self._lock:
            self._handler.faults.plan(endpoint, fault, times)

    def heal(self) -> None:
        """Cancel every planned accident."""
        with self._lock:
            self._handler.faults.clear()

    def before(self, endpoint: str, hook: Hook) -> None:
        """Call `hook(record)` when a request has arrived, before anything is done with it.

        It runs without the lock, so it may call the fake, wait, or plan an accident.
        """
        self._add_hook("before", endpoint, hook)

    def after(self, endpoint: str, hook: Hook) -> None:
        """Call `hook(record)` when a request has been processed, before its reply leaves."""
        self._add_hook("after", endpoint, hook)

    def _add_hook(self, moment: str, endpoint: str, hook: Hook) -> None:
        if endpoint not in (*ENDPOINTS, "*"):
            raise ValueError(f"no endpoint {endpoint!r}; there are {', '.join(ENDPOINTS)} and *")
        with self._lock:
            self._handler.hooks[moment, endpoint].append(hook)

    # -- what happened -------------------------------------------------------------------

    @property
    def requests(self) -> list[RequestRecord]:
        """What was sent and what became of it, oldest first."""
        with self._lock:
            return list(self._handler.records)

    def requests_to(self, endpoint: str) -> list[RequestRecord]:
        """Return the requests to one endpoint, oldest first."""
        return [record for record in self.requests if record.endpoint == endpoint]

    @property
    def reuse_attempts(self) -> int:
        """How often a refresh token was presented that had been spent already."""
        return self._tiktok.reuse_attempts

    @property
    def warnings(self) -> list[str]:
        """What was accepted although nobody documents that TikTok does."""
        return list(self._tiktok.warnings)

    def assert_no_token_reuse(self) -> None:
        """Fail the test if a spent refresh token was ever presented.

        Raises:
            AssertionError: It was; with hard rotation the user would have to log in again.
        """
        if self.reuse_attempts:
            raise AssertionError(
                f"a spent refresh token was presented {self.reuse_attempts} times in "
                f"{len(self.requests_to('refresh'))} refresh requests"
            )

    # -- users and their tokens ----------------------------------------------------------

    @property
    def users(self) -> list[User]:
        """The users, those that it began with first."""
        with self._lock:
            return list(self._tiktok.users.values())

    def add_user(
        self,
        open_id: str | None = None,
        display_name: str | None = None,
        videos: int | Iterable[Mapping[str, Any]] | None = None,
    ) -> User:
        """Add a user, or change the one who has this open_id already: what is not given stays.

        Args:
            open_id: Their id; None makes a random UUID.
            display_name: Their name; at first "Another User".
            videos: How many, or the fields that matter of each; at first 3.

        Raises:
            ValueError: That is no id, no name, or no videos.
        """
        with self._lock:
            return self._tiktok.put_user(open_id, display_name, videos)

    def issue_token(
        self,
        scopes: Iterable[str] | None = None,
        user: User | str | None = None,
        *,
        surface: str = "v2",
    ) -> dict[str, Any]:
        """Return what the token endpoint would after a login, without a browser or a request.

        The names are Login Kit's, whatever the surface. An advertiser's token has no end, no refresh token
        and no open_id.

        Args:
            scopes: The granted scopes; None grants all that there are for the app.
            user: Whose; None is the first user.
            surface: Where the token is good: `v2`, `v1` (which take each other's), `business`,
                `advertiser` or `shop`.

        Raises:
            ValueError: There is no such surface.
        """
        if surface not in SURFACES:
            raise ValueError(f"no surface {surface!r}; there are {', '.join(SURFACES)}")
        with self._lock:
            known = self._tiktok
            granted = known.scopes_of(surface) if scopes is None else scopes
            of = "v2" if surface == "v1" else surface
            return known.describe(known.issue(known.user(user), granted, surface=of))

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """The token bodies whose refresh token still works, oldest first."""
        with self._lock:
            sets = self._tiktok.by_refresh.items()
            return [self._tiktok.describe(s) for token, s in sets if self._tiktok.is_alive(token)]

    def is_alive(self, token: str) -> bool:
        """Tell whether an access, refresh or client token would still be accepted."""
        with self._lock:
            return self._tiktok.is_alive(token)

    def remove_connection(self, open_id: str) -> None:
        """Let a user remove the app in TikTok: all their tokens die.

        Raises:
            KeyError: No such user.
        """
        with self._lock:
            self._tiktok.disconnect(self._tiktok.user(open_id).open_id)

    def webhook(
        self, event: str, user: User | str | None = None, **content: Any
    ) -> tuple[dict[str, str], bytes]:
        """Return a webhook as TikTok sends it: its headers, signed now, and its body.

        Nothing else happens: `remove_connection` ends a connection.

        Args:
            event: TikTok's name of what has happened, such as ``authorization.removed``.
            user: Whose event it is, if it is somebody's.
            **content: What else there is to say, such as ``reason=1``.

        Source: https://developers.tiktok.com/doc/webhooks-events
        """
        open_id = None if user is None else self._tiktok.user(user).open_id
        return signed(self._tiktok.app, event, open_id, content, now=int(self.now()))

    def shop_webhook(
        self,
        type: int | str,  # noqa: A002 - TikTok's name for it
        *,
        shop_id: str | None = None,
        user: User | str | None = None,
        **data: Any,
    ) -> tuple[dict[str, str], bytes]:
        """Return a webhook as TikTok Shop sends it: its headers and its body, of now.

        Nothing else happens, as with `webhook`.

        Args:
            type: TikTok's number of what has happened, such as 6.
            shop_id: Of which shop, if it is of one.
            user: Which creator's event it is, if it is one's.
            **data: What else there is to say.

        Source: https://partner.tiktokshop.com/docv2/page/tts-webhooks-overview
        """
        creator = None if user is None else self._tiktok.user(user).open_id
        return signed_by_shop(self._tiktok.app, type, shop_id, creator, data, now=int(self.now()))

    def reset(self) -> None:
        """Forget tokens, codes, further users, requests, accidents and hooks; reset the clock."""
        with self._lock:
            self._tiktok.reset()
            self._handler.records.clear()
            self._handler.faults.clear()
            self._handler.hooks.clear()

    # -- the phone of a login by QR code -------------------------------------------------

    def scan_qr(
        self,
        scan_url: str,
        user: User | str | None = None,
        grant: Iterable[str] | None = None,
    ) -> None:
        """Scan a QR code: give its URL as drawn, with your own ticket filled in.

        Args:
            scan_url: The QR code's URL.
            user: Who holds the phone; None is the first user.
            grant: The scopes they leave ticked; None grants all that were asked.

        Raises:
            ValueError: It is not one of this app's, not new any more, or `grant` exceeds it.
        """
        with self._lock:
            qr.scan(self._tiktok, scan_url, user, grant)

    def confirm_qr(
        self,
        scan_url: str,
        user: User | str | None = None,
        grant: Iterable[str] | None = None,
    ) -> None:
        """Allow a login by QR code, scanning it first if nobody has.

        Args:
            scan_url: The QR code's URL.
            user: Who holds the phone; None is who scanned it.
            grant: The scopes they leave ticked; None is what they chose when scanning.

        Raises:
            ValueError: It is not waiting to be confirmed, or `grant` exceeds what was asked.
        """
        with self._lock:
            qr.confirm(self._tiktok, scan_url, user, grant)

    def expire_qr(self, scan_url: str) -> None:
        """End a QR code's life early.

        Raises:
            ValueError: It is not one of this app's.
        """
        with self._lock:
            qr.expire(self._tiktok, scan_url)
