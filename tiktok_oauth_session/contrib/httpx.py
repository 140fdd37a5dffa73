"""A session's token for the clients of httpx2, asynchronous and synchronous."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

try:
    import httpx2
    from anyio import CapacityLimiter, to_thread
    from anyio.lowlevel import RunVar
except ImportError as _missing:
    raise ImportError("TikTokAuth needs httpx2: pip install tiktok-oauth-session[httpx]") from _missing

from tiktok_oauth_session._http.allowed_hosts import origin_of
from tiktok_oauth_session._oauth.responses import says_token_is_dead
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.compliance import header_with, shows_token
from tiktok_oauth_session.session import TikTokOAuth2Mixin, TikTokOAuth2Session
from tiktok_oauth_session.tokens import TikTokToken

log: logging.Logger = logging.getLogger(__name__)

#: Threads of one event loop that wait for a token at the same time: as many as anyio lends for other work.
THREADS = 40

_threads: RunVar[CapacityLimiter] = RunVar("tiktok_oauth_threads")


class TikTokAuth(httpx2.Auth):
    """Shows a session's token, and keeps it alive: ``httpx2.AsyncClient(auth=TikTokAuth(session))``.

    A token that is about to expire is refreshed first, once, however many coroutines, threads, processes and
    machines share the store. If TikTok says that it is invalid, it is refreshed, and the request is sent once
    more if its body is in memory. The token goes to the hosts that the session shows it to; at a redirect to
    another one httpx2 itself takes it off.

    What may wait, for the store, for TikTok or for somebody else's refresh, waits in a thread, so that the
    event loop goes on; there a `token_updater` is called, too. A coroutine that is cancelled meanwhile loses
    nothing: the refresh goes on without it.

    A request raises what `TikTokOAuth2Session.fresh_token` raises, and InsecureTransportError for plain http
    to another machine.

    Args:
        session: Whose token it is. It may be used in other ways at the same time.

    Raises:
        ValueError: Tokens of the session's platform do not go into the Authorization header. At a redirect
            httpx2 would carry them to any host.
        TypeError: It is no session.
    """

    def __init__(self, session: TikTokOAuth2Session) -> None:
        if not _is_session(session):
            kind = type(session).__name__
            # It may be a token, which crash reporters would show.
            del session
            raise TypeError(f"TikTokAuth takes a TikTokOAuth2Session, not {kind}.")
        platform = session.platform
        where = platform.access_token_placement, platform.access_token_header.lower()
        if where != ("header", "authorization"):
            raise ValueError(
                f"{platform.name} shows tokens elsewhere than in the Authorization header, and httpx2 would "
                "carry them to any host at a redirect. Call its API with the session itself."
            )
        self._session = session

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Show the token; once more with another one if TikTok refuses it."""
        if not self._may_see_token(request.url):
            yield request
            return
        token = self._session.fresh_token()
        response = yield self._showing(token, request)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            response.read()
            if self._is_refused(token, response):
                newer = self._other_than(token)
                if _can_be_sent_again(request):
                    yield self._showing(newer, request)

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Show the token; once more with another one if TikTok refuses it."""
        if not self._may_see_token(request.url):
            yield request
            return
        held = self._session._held_token()  # noqa: SLF001 - the other half of the same session
        token = held or await _in_thread(self._session.fresh_token)
        response = yield self._showing(token, request)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            await response.aread()
            if self._is_refused(token, response):
                newer = await _in_thread(functools.partial(self._other_than, token))
                if _can_be_sent_again(request):
                    yield self._showing(newer, request)

    def _may_see_token(self, url: httpx2.URL) -> bool:
        session = self._session
        place = f"{url.scheme}://{url.netloc.decode('ascii')}/"
        # What is judged must be where it goes, and httpx2 takes a backslash for a part of the host's name.
        is_same = origin_of(place).host == url.raw_host.decode("ascii").rstrip(".")
        _, may_see_token = session._destination(place)  # noqa: SLF001 - the other half of the same session
        if not (is_same and may_see_token):
            session._tell_bare(place)  # noqa: SLF001 - see above
            return False
        return True

    @without_variables
    def _showing(self, token: TikTokToken, request: httpx2.Request) -> httpx2.Request:
        platform = self._session.platform
        request.headers[platform.access_token_header] = header_with(platform, token.access_token or "")
        return request

    def _is_refused(self, token: TikTokToken, response: Any) -> bool:
        platform = self._session.platform
        # A redirect may have led elsewhere, without the token.
        return shows_token(platform, response.request, token.access_token or "") and says_token_is_dead(
            platform, response
        )

    def _other_than(self, token: TikTokToken) -> TikTokToken:
        return self._session.fresh_token(refused=token.access_token)


def _is_session(it: object) -> bool:
    # Flask's proxy of one passes for one, too.
    return isinstance(it, TikTokOAuth2Mixin)


def _can_be_sent_again(request: httpx2.Request) -> bool:
    """Tell whether a request's body is in memory; where it is not, say what that means."""
    try:
        _ = request.content
    except httpx2.RequestNotRead:
        log.info("the token was refreshed; the request is not sent again, for its body is gone")
        return False
    return True


async def _in_thread(get: Callable[[], TikTokToken]) -> TikTokToken:
    """Get a token in a thread of our own, which nobody waits for who is cancelled."""
    try:
        threads = _threads.get()
    except LookupError:
        # Those that anyio lends belong to the application: Starlette runs its endpoints in them.
        threads = CapacityLimiter(THREADS)
        _threads.set(threads)
    return await to_thread.run_sync(get, abandon_on_cancel=True, limiter=threads)
