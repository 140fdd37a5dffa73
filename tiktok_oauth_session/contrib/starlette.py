"""Login with TikTok for Starlette and FastAPI: its routes, a session for endpoints, answers to errors."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

try:
    from anyio import from_thread
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
    from starlette.routing import Route, Router
except ImportError as _missing:
    raise ImportError(
        "TikTokRouter needs Starlette: pip install tiktok-oauth-session[starlette]"
    ) from _missing

from tiktok_oauth_session.contrib._error_responses import (
    needs_a_new_login,
    reason_for_visitors,
    retry_after,
    status_of,
)
from tiktok_oauth_session.contrib._platforms import complaint_about_platform
from tiktok_oauth_session.contrib._redirect_uris import complaint_about_redirect_uri
from tiktok_oauth_session.contrib._webhooks import BODY_CAP, take
from tiktok_oauth_session.errors import (
    AuthorizationError,
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuthError,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session.platforms import LOGIN_KIT
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.webhooks import WebhookEvent

log: logging.Logger = logging.getLogger(__name__)

#: Called with the request and the session of who has just logged in.
OnLogin = Callable[[Request, TikTokOAuth2Session], Any]
#: Called with the request and what TikTok says has happened.
OnWebhook = Callable[[Request, WebhookEvent], Any]

#: In the visitor's web session: who they are, and the logins that they have begun.
OPEN_ID = "tiktok_open_id"
LOGINS = "tiktok_logins"
#: How many of those: one for every tab, while all of them fit into a cookie of 4096 bytes.
REMEMBERED_LOGINS = 4
#: Characters of an address to go on to after a login, as URLs have it.
NEXT_CAP = 255
#: A path of the application's own: what begins with two slashes, or with one and a backslash, names a host.
_OWN_PATH = re.compile(r"/(?!/)[^\\\x00-\x1f\x7f]*")
#: What an address that is quoted already keeps as it is: RFC 3986's reserved characters, and ``%``.
_KEPT_IN_URLS = ":/?#[]@!$&'()*+,;=%"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>TikTok</title>
<p>{words}</p>
<p><a href="{login}">Log in with TikTok</a></p>
</html>
"""


class TikTokRouter(Router):
    """Logs visitors in with TikTok, and hands their sessions to endpoints.

    Mount it where the redirect URI lies: for ``https://app.example/tiktok/callback`` that is
    ``app.mount("/tiktok", tiktok)``. The login is then at ``/tiktok/login``, and webhooks are taken at
    ``/tiktok/webhook``. The application needs Starlette's `SessionMiddleware`, which keeps the state, the
    PKCE verifier and the `open_id` of each visitor, and ``exception_handlers=tiktok.exception_handlers``.

    ``login?next=/path`` leads on to a path of the application, and ``login?disable_auto_auth=1`` lets the
    visitor choose another account.

    Args:
        client_key: The app's client key.
        client_secret: The app's secret.
        redirect_uri: Where TikTok sends visitors back to, exactly as registered.
        store: Where tokens live, which all workers share.
        scope: The scopes to ask for, as for `TikTokOAuth2Session`.
        on_login: Called with the request and the session of who has logged in, whose token is in the store
            by then. A function is called in a thread, a coroutine function in the event loop. What it raises
            and the application answers, such as an HTTPException, leaves the visitor logged out, also of the
            account before; a response that it returns is sent in place of the redirect.
        on_webhook: Called in the same way with the request and each event that TikTok tells, when whoever has
            removed the app is forgotten. TikTok may tell an event again, and does so if this raises.
        **options: As for `TikTokOAuth2Session`: ``platform``, ``pkce`` and others.

    Raises:
        ValueError: The redirect URI ends in ``/login`` or ``/webhook``, or its port is ``*``; or no login
            on this platform could succeed.
    """

    def __init__(
        self,
        client_key: str,
        *,
        client_secret: str,
        redirect_uri: str,
        store: TokenStore,
        scope: str | Iterable[str] | None = None,
        on_login: OnLogin | None = None,
        on_webhook: OnWebhook | None = None,
        **options: Any,
    ) -> None:
        platform = options.get("platform", LOGIN_KIT)
        if complaint := complaint_about_redirect_uri(redirect_uri) or complaint_about_platform(
            platform, scope
        ):
            raise ValueError(complaint)
        path = urlsplit(redirect_uri).path
        prefix = path.rstrip("/").rpartition("/")[0]
        #: Where a login begins, as browsers see it, beside the callback.
        self.login_url: str = f"{prefix}/login"
        callback = path.removeprefix(prefix)
        if (taken := callback.strip("/")) in ("login", "webhook"):
            raise ValueError(
                f"The {taken} is at that path: let the redirect URI end otherwise, as in /callback."
            )
        routes = [Route("/login", self._login), Route(callback, self._callback)]
        for route in routes:
            # Starlette adds HEAD, which would spend a code.
            route.methods = {"GET"}
        super().__init__([*routes, Route("/webhook", self._webhook, methods=["POST"])])
        self._client_key, self._on_login, self._on_webhook = client_key, on_login, on_webhook
        self._options = {
            "client_secret": client_secret,
            "redirect_uri": redirect_uri,
            "store": store,
            "scope": scope,
            **options,
        }

    # --- for the application -----------------------------------------------------------------------

    def session(self, request: Request) -> TikTokOAuth2Session:
        """Return a session of the visitor's; with FastAPI a dependency: ``Depends(tiktok.session)``.

        It blocks when it is used: use it in a ``def`` endpoint, through `run_in_threadpool`, or with
        `tiktok_oauth_session.contrib.httpx.TikTokAuth`.

        Raises:
            ReauthorizationRequired: The visitor is not logged in.
        """
        open_id = request.session.get(OPEN_ID)
        if not open_id:
            raise ReauthorizationRequired("This visitor is not logged in.")
        return self.session_for(open_id)

    def session_for(self, open_id: str | None = None) -> TikTokOAuth2Session:
        """Return a session for one of the store's accounts, without any request: for jobs."""
        return TikTokOAuth2Session(self._client_key, open_id=open_id, **self._options)

    def log_out(self, request: Request) -> None:
        """Forget who the visitor is. The connection stays: `TikTokOAuth2Session.revoke_token` ends that."""
        request.session.pop(OPEN_ID, None)

    @property
    def exception_handlers(self) -> dict[Any, Any]:
        """What the application answers to errors of ours.

        Who has to log in is led to the login, or gets a 401 if it is no browser that opens a page. A login
        that failed is a 400. What passes, at TikTok or in the store, is a 503, with ``Retry-After`` where
        that is known.
        """
        kinds = AuthorizationError, RevocationError, StoreError, TokenError
        return dict.fromkeys(kinds, self._answer)

    def page(self, request: Request, status: int, words: str, headers: Mapping[str, str]) -> Response:
        """Return what somebody is told who cannot be served: to be overridden by who wants other looks.

        Args:
            request: The request.
            status: The HTTP status.
            words: What to say: text, not HTML, for strangers may have written some of it.
            headers: The response's headers.
        """
        if not _opens_a_page(request):
            return JSONResponse({"detail": words}, status, headers)
        text = _PAGE.format(words=html.escape(words), login=html.escape(self.login_url))
        return HTMLResponse(text, status, headers)

    # --- its routes --------------------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        session, asked = self.session_for(), request.query_params
        chosen: dict[str, Any] = {"disable_auto_auth": 1} if asked.get("disable_auto_auth") == "1" else {}
        url, state = session.authorization_url(**chosen)
        begun = [*request.session.get(LOGINS, {}).items()][1 - REMEMBERED_LOGINS :]
        request.session[LOGINS] = {
            **dict(begun),
            state: [session.code_verifier, _own_path(asked.get("next"))],
        }
        return RedirectResponse(url, 302)

    async def _callback(self, request: Request) -> Response:
        with self.session_for() as session:
            try:
                onward = await self._finish_login(request, session)
            except TikTokOAuthError as error:
                return self._failed(request, error)
            # Whoever was logged in here is so no more, whatever becomes of this login.
            self.log_out(request)
            try:
                answer = await self._decided(request, session)
            except ReauthorizationRequired as error:
                # Not led to the login, and back to this page, whose code is spent.
                return self._failed(request, error)
        request.session[OPEN_ID] = session.open_id
        return answer or RedirectResponse(onward, 303)

    async def _finish_login(self, request: Request, session: TikTokOAuth2Session) -> str:
        """Exchange the code, and return where to go on to."""
        # A stranger's, unless this visitor began a login with it.
        state = request.query_params.get("state", "")
        begun = dict(request.session.get(LOGINS, {}))
        is_open = is_over = state in begun
        verifier, onward = begun.pop(state, (None, "/"))
        try:
            await run_in_threadpool(
                session.fetch_token,
                # Without the address: only this route is what the redirect URI names, and behind a proxy the
                # application may be called by another host's name.
                authorization_response="?" + _query(request),
                state=state if is_open else "",
                code_verifier=verifier,
            )
        except StoreError as error:
            # If the store could not be written the code is not spent, and the page can be reloaded.
            is_over = isinstance(error, TokenNotSaved)
            raise
        finally:
            if is_over:
                request.session[LOGINS] = begun
        return str(onward)

    async def _decided(self, request: Request, session: TikTokOAuth2Session) -> Response | None:
        if self._on_login is None:
            return None
        answer = await run_in_threadpool(self._on_login, request, session)
        if inspect.isawaitable(answer):
            answer = await answer
        return answer  # type: ignore[no-any-return]  # the application's

    async def _webhook(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body.extend(part)
            if len(body) > BODY_CAP:
                break
        status = await run_in_threadpool(
            take,
            request.headers,
            bytes(body),
            self._client_key,
            self._options["client_secret"],
            self._options["store"],
            functools.partial(self._tell, request),
        )
        return Response(status_code=status)

    def _tell(self, request: Request, event: WebhookEvent) -> None:
        if self._on_webhook is not None and inspect.isawaitable(told := self._on_webhook(request, event)):
            from_thread.run(_result_of, told)

    async def _answer(self, request: Request, error: Any) -> Response:
        if not isinstance(error, ReauthorizationRequired):
            return self._failed(request, error)
        log.info("%s", error)
        if request.method == "GET" and _opens_a_page(request):
            here = "?".join(filter(None, [quote(request.scope["path"]), _query(request)]))
            return RedirectResponse(f"{self.login_url}?{urlencode({'next': here})}", 303)
        return self.page(request, 401, "You are not logged in.", {})

    def _failed(self, request: Request, error: Any) -> Response:
        if needs_a_new_login(error):
            log.warning("%s", error)
            words = f"The login did not succeed. {reason_for_visitors(error)}"
        else:
            log.error("%s", error)
            words = "This does not work just now. Please try again later."
        return self.page(request, status_of(error), words, retry_after(error))


async def _result_of(told: Awaitable[Any]) -> Any:
    return await told


def _own_path(path: str | None) -> str:
    """Return where to go on to after a login, which is nobody else's address."""
    # Quoted: in the JSON of a web session, a character that is not ASCII takes up to twelve.
    quoted = quote(path, safe=_KEPT_IN_URLS) if path and _OWN_PATH.fullmatch(path) else "/"
    return quoted if len(quoted) <= NEXT_CAP else "/"


def _query(request: Request) -> str:
    """Return the query as it came: `request.url` takes no bytes that are not UTF-8."""
    return str(request.scope["query_string"].decode("latin-1"))


def _opens_a_page(request: Request) -> bool:
    return "text/html" in request.headers.get("Accept", "")
