"""Logging in by QR code: the app shows a code, the user scans it with TikTok and confirms.

Source: https://developers.tiktok.com/doc/login-kit-qr-code-authorization
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from tiktok_oauth_session._http.allowed_hosts import is_loopback
from tiktok_oauth_session._http.oauth_request import NoReply, post
from tiktok_oauth_session._http.redaction import secrets_in
from tiktok_oauth_session._http.transport import Transport
from tiktok_oauth_session._oauth.authorization_response import authorization_code, matching_state
from tiktok_oauth_session._oauth.grants import exchange_code
from tiktok_oauth_session._oauth.pending_logins import Consent
from tiktok_oauth_session._oauth.responses import checked, read_reply
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.errors import AuthorizationError, new_error
from tiktok_oauth_session.tokens import TikTokToken, split_scopes

if TYPE_CHECKING:
    from tiktok_oauth_session._oauth.authorization import AuthorizationMixin
    from tiktok_oauth_session.platforms import Parameters

#: How far a QR code has got. ``utilised`` means that its authorization code was handed out before.
QRStatus = Literal["new", "scanned", "confirmed", "utilised", "expired"]

#: Seconds between two polls. TikTok documents no interval.
POLL_INTERVAL_S = 2.0
#: Seconds that `QRLogin.wait` waits if nobody says how long. TikTok documents no lifetime of a QR code.
WAIT_TIMEOUT_S = 300.0
#: Random bytes of a ticket. Once URL-encoded it has to stay below 512 characters.
TICKET_BYTES = 32

_STATUSES = get_args(QRStatus)
#: From here on TikTok tells the ticket of the code that was scanned.
_SCANNED = ("scanned", "confirmed", "utilised")
_BUSY = (429, 500, 502, 503, 504)
# On the legacy surface the ticket's place occurs a second time, in a URL within the URL.
_TICKET = re.compile(r"((?:[?&]|%3F|%26)client_ticket(?:=|%3D))[^&%#]*", re.IGNORECASE)


class QRLogin:
    """One QR code, from its first display to the token.

    The code holds a ticket of our own. Whatever TikTok says was scanned must carry the same ticket:
    otherwise somebody else's code was put before the user, or before us.

    Args:
        session: The session that logs in.
        scope: The scopes to ask for; None asks for the session's.
        state: Comes back with the code; None makes a new one.

    Attributes:
        url: What to draw as a QR code.
        status: The status that the last poll brought.

    Raises:
        AuthorizationError: TikTok gave no QR code.
        NoReply: Nor did it say anything.
        ValueError: This surface has no login by QR code.

    Source: https://developers.tiktok.com/doc/login-kit-qr-code-authorization
    """

    @without_variables
    def __init__(
        self,
        session: AuthorizationMixin,
        scope: str | Iterable[str] | None = None,
        state: str | None = None,
    ) -> None:
        platform = session.platform
        self._session = session
        self._scope = platform.scope_separator.join(split_scopes(session.scope if scope is None else scope))
        self._state = state or secrets.token_urlsafe(TICKET_BYTES)
        self._ticket = secrets.token_urlsafe(TICKET_BYTES)
        self._token = ""
        self._answer: dict[str, str] = {}
        self._redirect_uri: str | None = None
        self._failure: AuthorizationError | None = None
        self.status: QRStatus = "new"
        reply = self._ask(platform.qr_code_endpoint, platform.qr_code_parameters, "TikTok gave no QR code")
        self._token = _text(reply, "token")
        url, places = _TICKET.subn(rf"\g<1>{self._ticket}", _text(reply, "scan_qrcode_url"))
        self.url: str = url
        if not self._token or not places:
            raise _refused("invalid_response", "TikTok gave no QR code that has a place for a ticket.")

    def __repr__(self) -> str:
        """Show the status and no secret."""
        return f"<{type(self).__name__}: {self.status}>"

    @without_variables
    def poll(self) -> QRStatus:
        """Ask TikTok how far the login has got.

        Returns:
            ``new``, ``scanned``, ``confirmed`` (now `wait` returns the token at once), ``expired`` or
            ``utilised``. The last two are final: begin again. TikTok hands the authorization code out
            once, so ``utilised`` means that the reply with the code was lost, unless this object has it.

        Raises:
            AuthorizationError: The ticket or the state is another one, the user refused, or TikTok
                answered something else. This login is over.
            NoReply: TikTok did not answer. Ask again.
        """
        if self._failure is not None:
            raise self._failure
        if self.status in ("confirmed", "utilised", "expired"):
            return self.status
        platform = self._session.platform
        what = "The login by QR code failed"
        reply = self._ask(platform.qr_status_endpoint, platform.qr_status_parameters, what)
        try:
            self.status = self._judged(reply)
        except AuthorizationError as error:
            self._failure = error
            raise
        return self.status

    @without_variables
    def wait(
        self,
        timeout: float = WAIT_TIMEOUT_S,
        *,
        on_status: Callable[[QRStatus], object] = lambda _: None,
    ) -> TikTokToken:
        """Poll until the user has confirmed, then exchange the code.

        Args:
            timeout: Seconds; 0 polls once.
            on_status: Called with each new status.

        Returns:
            The token, which the session uses from now on and the store has.

        Raises:
            AuthorizationError: As for `poll`; or it expired, the code is lost, or time is up (``error``
                is ``expired``, ``utilised`` or ``timeout``).
            TokenError: TikTok gave no token for the code, or answered no poll at the end.
            TokenNotSaved: It gave one that could not be saved.
        """
        end = time.monotonic() + timeout
        told: QRStatus = "new"
        while not self._answer:
            silence: NoReply | AuthorizationError | None = None
            try:
                status = self.poll()
            except (NoReply, AuthorizationError) as error:
                if self._failure is not None or not _may_pass(error):
                    raise
                status, silence = told, error
            if status != told:
                on_status(status)
            told = status
            if status in ("expired", "utilised"):
                self._give_up(status)
            left = end - time.monotonic()
            if not self._answer and left <= 0:
                raise silence or _refused(
                    "timeout", "Nobody confirmed the login in time. Begin again with a new QR code."
                )
            if not self._answer:
                wanted = silence.retry_after if silence else None
                time.sleep(min(max(POLL_INTERVAL_S, wanted or 0.0), left))
        return self._fetch()

    # --- what TikTok says --------------------------------------------------------------------------

    def _ask(self, url: str | None, names: Parameters, what: str) -> dict[str, Any]:
        session = self._session
        if url is None:
            raise ValueError(f"{session.platform.name} has no login by QR code.")
        url, headers, fields = session._client.prepare_qr_request(  # noqa: SLF001 - requests-oauthlib has no public name for it
            url,
            names,
            scope=self._scope,
            state=self._state,
            token=self._token,
            client_secret=session.client_secret,
            redirect_uri=session.redirect_uri,
        )
        request = {session.platform.parameters_keyword: fields}
        transport = Transport(timeout=session.token_timeout)
        response = post(session, "POST", url, headers, request, transport, may_replay=True)
        flat = read_reply(session.platform, response)
        return checked(flat, AuthorizationError, what, sent=secrets_in(fields))

    def _judged(self, reply: dict[str, Any]) -> QRStatus:
        status: Any = reply.get("status")
        if status not in _STATUSES:
            raise _refused(
                "invalid_response", "TikTok tells a status of the QR code that it does not document."
            )
        if status in _SCANNED and not hmac.compare_digest(
            _text(reply, "client_ticket").encode("utf-8", "replace"), self._ticket.encode()
        ):
            raise _refused(
                "ticket_mismatch",
                "What was scanned is not the QR code of this login. Nobody was logged in; begin again.",
            )
        if status == "confirmed":
            answer, redirect_uri = _callback_of(reply)
            if "state" in answer:
                matching_state(answer["state"], [self._state])
            if not answer.get("code") and not answer.get("error"):
                raise _refused(
                    "missing_code", "TikTok says that it was confirmed, and gave no code. Begin again."
                )
            authorization_code(answer)
            self._answer, self._redirect_uri = answer, redirect_uri
        return status  # type: ignore[no-any-return]  # one of the five

    def _give_up(self, status: QRStatus) -> NoReturn:
        if status == "expired":
            raise _refused("expired", "The QR code has expired. Begin again with a new one.")
        raise _refused(
            "utilised",
            "TikTok has handed this login's code out already, in a reply that never arrived. Begin again "
            "with a new QR code.",
        )

    def _fetch(self) -> TikTokToken:
        session = self._session
        session._require_writable_store()  # noqa: SLF001 - the other half of the same session
        # TikTok picks the redirect URI of these logins, and it is never one of this machine.
        own = None if is_loopback(session.redirect_uri) else session.redirect_uri
        answer, self._answer = self._answer, {}
        self._failure = _refused("utilised", "This QR code has served its login. Begin again with a new one.")
        token = exchange_code(
            session,
            session.platform.token_endpoint,
            Consent(answer["code"], scopes=answer.get("scopes")),
            Transport(timeout=session.token_timeout),
            client_secret=session.client_secret,
            include_client_id=None,
            method=None,
            in_query=False,
            headers=None,
            parameters={"body": "", "redirect_uri": own or self._redirect_uri or ""},
        )
        return session._keep_login(token)  # noqa: SLF001 - the other half of the same session


def _callback_of(reply: dict[str, Any]) -> tuple[dict[str, str], str | None]:
    """Return the parameters of a confirmed reply, and the redirect URI they were appended to.

    The documentation has two shapes: ``redirect_uri`` with the code in its query (the sample), and
    ``code``, whose example is such a URL again (the table). The state may be in either.
    """
    known = {name: _text(reply, name) for name in ("code", "state", "scopes", "error", "error_description")}
    answer = {name: text for name, text in known.items() if text}
    redirect_uri = None
    for name in ("code", "redirect_uri"):
        try:
            parts = urlsplit(_text(reply, name))
        except ValueError as error:
            raise _refused("invalid_response", "TikTok says that it was confirmed, with no URL.") from error
        if not parts.scheme or not parts.netloc:
            continue
        if name == "code":
            del answer["code"]
        answer |= parse_qsl(parts.query)
        redirect_uri = urlunsplit(parts._replace(query="", fragment=""))
    return answer, redirect_uri


def _may_pass(error: NoReply | AuthorizationError) -> bool:
    """Tell whether asking again later may get an answer."""
    return isinstance(error, NoReply) or error.status_code in _BUSY


def _text(reply: dict[str, Any], name: str) -> str:
    value = reply.get(name)
    return value if isinstance(value, str) else ""


def _refused(error: str, message: str) -> AuthorizationError:
    refusal: Any = new_error(AuthorizationError, message, error=error)
    return refusal  # type: ignore[no-any-return]  # it is what was asked for
