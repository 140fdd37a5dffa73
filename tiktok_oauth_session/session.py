"""The session: the face that `requests` sees."""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.exceptions import InvalidSchema
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session._connection.process_memory import Updater, memory, pending
from tiktok_oauth_session._connection.session_token import SessionTokenMixin
from tiktok_oauth_session._http.allowed_hosts import (
    goes_past_proxies,
    origin_of,
    past_proxies,
    require_secure,
    verdict_on,
)
from tiktok_oauth_session._http.cached_replies import mark_of, marked, without_mark
from tiktok_oauth_session._http.method_order import class_to_make, look_beside
from tiktok_oauth_session._http.redaction import filter_logs, has_secret_in_query, redact, redact_query
from tiktok_oauth_session._http.rewind import rewinder
from tiktok_oauth_session._http.transport import TOKEN_TIMEOUT_S, Transport
from tiktok_oauth_session._oauth.authorization import AuthorizationMixin
from tiktok_oauth_session._oauth.responses import says_token_is_dead
from tiktok_oauth_session._process import PerProcess
from tiktok_oauth_session._tracebacks import clear_frames, without_variables
from tiktok_oauth_session.compliance import (
    TikTokClient,
    add_token_to_json,
    dialect_hooks,
    header_with,
    shows_token,
    take_token_off,
)
from tiktok_oauth_session.errors import ReauthorizationRequired, RevocationError, TokenError, TokenExpired
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import Freshness, TikTokToken, split_scopes

# What only refreshes, logins and revocations need is imported by them: most processes call the API first.
if TYPE_CHECKING:
    from tiktok_oauth_session._connection.connection import Connection
    from tiktok_oauth_session._connection.token_source import TokenSource
    from tiktok_oauth_session.events import OnEvent
    from tiktok_oauth_session.qr import QRLogin

log: logging.Logger = logging.getLogger(__name__)

_Made = TypeVar("_Made", bound="TikTokOAuth2Mixin")

#: The kinds of hooks that requests-oauthlib knows.
_HOOKS = (
    "access_token_request",
    "access_token_response",
    "protected_request",
    "refresh_token_request",
    "refresh_token_response",
)

#: How many hosts a session says of that they do not see its token.
TOLD_BARE = 100

_leaving_parents_connections = PerProcess(threading.Lock)


class _InOrder(dict[Callable[..., Any], None]):
    """Compliance hooks in the order they were registered; requests-oauthlib's set has none."""

    __slots__ = ()

    def add(self, hook: Callable[..., Any]) -> None:
        self[hook] = None


def _client_key(client_key: str | None, client_id: str | None, pkce: str | None) -> str | None:
    """Return the app's key, by whichever name it came."""
    if pkce not in (None, "S256"):
        raise ValueError(f'pkce={pkce!r}: TikTok knows "S256" only (None: where TikTok requires it).')
    if client_key and client_id and client_key != client_id:
        raise ValueError("client_key and client_id are two names of one thing; they differ.")
    return client_key or client_id


def _complaint_about(store: object, platform: object) -> str:
    """Return what is wrong if one of them is none, without quoting it: it may be a URL with a password."""
    if store is not None and not isinstance(store, TokenStore):
        return f'store= takes a TokenStore, such as FileStore("tokens"), not {type(store).__name__}.'
    if not isinstance(platform, Platform):
        example = 'LOGIN_KIT.at("http://127.0.0.1:9400")'
        return f"platform= takes a Platform, such as {example}, not {type(platform).__name__}."
    return ""


def _as_asked(response: requests.Response, access_token: str, mark: str) -> requests.Response:
    """Let a response say the URL that the caller asked for, which `raise_for_status` quotes.

    What was sent stands in its `request`.
    """
    for each in (response, *response.history):
        url = without_mark(each.url or "", mark) if mark else each.url
        each.url = url and redact_query(redact(url, [access_token]))
    return response


class TikTokOAuth2Mixin(AuthorizationMixin, SessionTokenMixin, OAuth2Session):
    """What makes an `OAuth2Session`, of whatever framework, speak TikTok and stay logged in.

    See `TikTokOAuth2Session` for what it does. Whatever class stands beside it in the method resolution
    order, or in the place of `requests.Session` when a session is made, has its `request` and `send`
    called; but for requests-oauthlib's own `request`, which logs secrets and refreshes by itself.
    """

    # Defaults of what few sessions have: instances of a class share the keys of up to 29 attributes.
    api_hosts: tuple[str, ...] = ()
    on_event: OnEvent | None = None
    _hooks: dict[str, _InOrder] | None = None
    _client_token: str | None = None
    _client_token_guard: PerProcess[threading.Lock] | None = None
    _told_where_it_went = False
    _told_of_no_account = False
    _told_bare: frozenset[str] = frozenset()
    #: The next class after it is asked to send.
    _passed_over: type = OAuth2Session
    #: Whether a class beside it gives replies out again; and which one takes what is passed by position.
    _keeps_replies = False
    _takes_positional: type | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Look once at what stands beside it.

        Raises:
            TypeError: A class stands where nobody would call it.
        """
        super().__init_subclass__(**kwargs)
        look_beside(cls)

    def __new__(cls: type[_Made], *args: Any, **kwargs: Any) -> _Made:  # noqa: PYI019 - Python 3.10 has no Self
        """Make an instance of the class that calls everybody who is to be called.

        Raises:
            TypeError: A class that stands first would take the client key for something of its own.
        """
        first = cls._takes_positional
        if args and first and not {"client_key", "client_id"} & kwargs.keys():
            # Crash reporters would show what they hold.
            del args, kwargs
            raise TypeError(
                f"{first.__name__} stands before TikTokOAuth2Session in {cls.__name__} and takes what is "
                "passed by position: pass client_key= by name."
            )
        made: _Made = super().__new__(class_to_make(cls, TikTokOAuth2Mixin))
        return made

    def __init__(
        self,
        client_key: str | None = None,
        *,
        client_id: str | None = None,
        client: Any = None,
        client_secret: str | None = None,
        scope: str | Iterable[str] | None = None,
        redirect_uri: str | None = None,
        token: Mapping[str, Any] | None = None,
        token_updater: Updater | None = None,
        store: TokenStore | None = None,
        open_id: str | None = None,
        platform: Platform = LOGIN_KIT,
        pkce: str | None = None,
        api_hosts: Iterable[str] = (),
        token_timeout: float | tuple[float, float] = TOKEN_TIMEOUT_S,
        on_event: OnEvent | None = None,
        **parent_kwargs: Any,
    ) -> None:
        if wrong := _complaint_about(store, platform):
            # Crash reporters would show what they hold.
            del client_secret, token, store, platform, parent_kwargs
            raise TypeError(wrong)
        key: Any = _client_key(client_key, client_id, pkce)  # None will do, whatever oauthlib's stubs say
        self.platform = platform
        self.client_secret = client_secret
        self.store = store
        if api_hosts:
            self.api_hosts = (api_hosts,) if isinstance(api_hosts, str) else tuple(api_hosts)
        self.token_timeout = token_timeout
        if on_event is not None:
            self.on_event = on_event
        self._open_id = open_id
        if open_id is not None:
            self._open_id_is_given = True
        self._pid = os.getpid()
        super().__init__(
            client_id=key,
            client=TikTokClient.of(client, platform) if client else TikTokClient(key, platform=platform),
            scope=scope,
            redirect_uri=redirect_uri,
            token=token if store is None else None,
            token_updater=token_updater,
            pkce=pkce,
            **parent_kwargs,
        )
        if platform.default_scope and not split_scopes(self.scope):
            self._scope = list(platform.default_scope)
        if token and store is not None:
            outer = sys.exc_info()[1]
            try:
                self._begin_with(store, TikTokToken(token))
            except BaseException as error:
                client_secret = token = None
                clear_frames(error, outer)
                raise

    @property
    def compliance_hook(self) -> Any:
        """The compliance hooks, TikTok's dialect first among them, by their kind."""
        if self._hooks is None:
            # When the first is needed or registered: an API call needs none.
            dialect = dialect_hooks(self._client, self.platform)
            self._hooks = {
                kind: _InOrder({dialect[kind]: None} if kind in dialect else ()) for kind in _HOOKS
            }
        return self._hooks

    @compliance_hook.setter
    def compliance_hook(self, hooks: Any) -> None:
        # The parent's constructor begins with none.
        self._hooks = hooks if any(hooks.values()) else None

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"A {type(self).__name__} cannot be copied or pickled: two copies of one refresh token log the "
            "user out. Make another session with the same store= and open_id= instead."
        )

    # --- calling the API ---------------------------------------------------------------------------

    def request(  # type: ignore[override]  # the stubs spell out requests' own keywords
        self,
        method: str,
        url: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        withhold_token: bool = False,  # noqa: FBT001, FBT002 - the parent's signature
        client_id: str | None = None,
        client_secret: str | None = None,
        files: Any = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send a request, with a token that is fresh, to where a token may go.

        Order of operations:

        1. A path, such as ``/v2/user/info/``, is completed with the platform's `api_base`. Plain http to
           another machine is refused.
        2. Unless the URL is on one of the API's hosts, the request is sent without the token.
        3. A token that is about to expire is refreshed first; see `fresh_token`.
        4. ``protected_request`` hooks run; where they led to another URL, it is judged as the first one was.
           The token is added, the request is sent. At each redirect the token goes on only to where it may.
        5. If TikTok says that the access token is invalid, it is refreshed once, and the request is
           sent once more if its body can be.

        Args:
            method: As for `requests.Session.request`, like all that is not named here.
            url: Where to, or a path of the API.
            data: The body.
            headers: The headers; the dict is not changed.
            withhold_token: Send it without the token.
            client_id: Taken for `requests_oauthlib`'s sake: with `client_secret`, the credentials of a
                refresh that this request may need.
            client_secret: See `client_id`.
            files: As for `requests.Session.request`.
            **kwargs: As for `requests.Session.request`. None of it reaches an OAuth endpoint.

        Raises:
            InsecureTransportError: Plain http to another machine.
            ReauthorizationRequired: Only a new login helps.
            TokenError: The token could not be refreshed and no longer works. ``retry_after`` says in how
                many seconds it is worth another call, where that is known.
            TokenNotSaved: It was refreshed and could not be saved.
            StoreError: The store failed, and no token is known that works.
            requests.RequestException: Whatever requests raises, for a URL that is none among others. It does
                not quote the token.
        """
        outer = sys.exc_info()[1]
        try:
            secret = client_secret or self.client_secret
            kwargs.update(data=data, headers=headers, files=files)
            return self._sent(method, url, kwargs, secret, withhold_token=withhold_token)
        except BaseException as error:
            client_secret = secret = None
            clear_frames(error, outer)
            raise

    def _sent(
        self, method: str, url: str, kwargs: dict[str, Any], secret: str | None, *, withhold_token: bool
    ) -> requests.Response:
        """Send a request, with the token if its destination may see it, and again with a newer one."""
        url, may_see_token = self._destination(url)
        token: Any = None
        if may_see_token and not withhold_token:
            token = self.token
            # Most calls end here: the token is there, and fresh for longer than any window.
            if type(token) is not TikTokToken or pending or not token.is_good_for_long():
                token = self._usable_token(secret)
        if not token:
            if not withhold_token and not may_see_token:
                self._tell_bare(url)
            return self._send_on(method, url, **kwargs)
        data, files = kwargs["data"], kwargs["files"]
        rewind = None if data is None and not files else rewinder(data, files)
        response = self._send_with(method, url, kwargs, token)
        platform, access_token = self.platform, token.access_token or ""
        # The caller's own `auth=` may have replaced our token, and a redirect may have lost it.
        if says_token_is_dead(platform, response) and shows_token(platform, response.request, access_token):
            newer = self._renewed(token, secret, response)
            if rewind is None or rewind():
                return self._send_with(method, url, kwargs, newer)
            log.info("the token was refreshed; the request is not sent again, for its body is gone")
        return response

    def _send_on(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        """Hand a request on to whoever comes next."""
        onward: Any = super(self._passed_over, self)
        response: requests.Response = onward.request(method, url, **kwargs)
        return response

    def _destination(self, url: Any) -> tuple[str, bool]:
        """Return where a request goes, and whether the token may go there.

        Raises:
            InsecureTransportError: Plain http to another machine.
            requests.RequestException: It is no URL at all.
        """
        if type(url) is not str:
            # As requests reads it.
            url = url.decode() if isinstance(url, bytes) else str(url)
        platform = self.platform
        if url[:1] == "/" and url[1:2] != "/" and "\\" not in url and platform.api_base:
            url = platform.api_base + url
        hosts = (*platform.api_hosts, *self.api_hosts) if self.api_hosts else platform.api_hosts
        may_travel, may_see_token = verdict_on(url, hosts, platform.insecure_hosts)
        if not may_travel:
            requests.PreparedRequest().prepare_url(url, None)
            require_secure(url, platform.insecure_hosts)
        return url, may_see_token

    def _may_see_token(self, url: str | None) -> bool:
        hosts = (*self.platform.api_hosts, *self.api_hosts)
        return verdict_on(url or "", hosts, self.platform.insecure_hosts).may_see_token

    def _tell_bare(self, url: str) -> None:
        """Say once that a host does not see the token."""
        scheme, host, _ = origin_of(url)
        # What has no scheme, requests refuses: it is no host's.
        if scheme and host and host not in self._told_bare and len(self._told_bare) < TOLD_BARE:
            self._told_bare |= {host}
            log.warning(
                "requests to %s go without the token; api_hosts= names further hosts that may see it", host
            )

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """At a redirect, take the token off where it may not go on, wherever in the request it is.

        That is to another host than the API's, and wherever requests takes off an Authorization header.
        """
        ours: Any = super()  # the stubs give these methods no types
        here, there = response.request.url, prepared_request.url
        if self._may_see_token(here) and (
            ours.should_strip_auth(here, there) or not self._may_see_token(there)
        ):
            take_token_off(self.platform, prepared_request)
        ours.rebuild_auth(prepared_request, response)

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> Any:
        """At a redirect, go past all proxies where the token goes to this machine over plain http."""
        url = prepared_request.url or ""
        if goes_past_proxies(url) and self._may_see_token(url):
            prepared_request.headers.pop("Proxy-Authorization", None)
            return {}
        ours: Any = super()  # the stubs give it no types
        return ours.rebuild_proxies(prepared_request, proxies)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Go past all proxies where the token goes to this machine over plain http."""
        settings: Any = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return past_proxies(url, settings) if url[:5] == "http:" and self._may_see_token(url) else settings

    def get_adapter(self, url: str) -> BaseAdapter:
        """Return what sends a request to a URL; in a forked child, over connections of its own."""
        if self._pid != os.getpid():
            self._leave_parents_connections()
        return super().get_adapter(url)

    def _leave_parents_connections(self) -> None:
        with _leaving_parents_connections.value:
            if self._pid == os.getpid():
                return
            for adapter in self.adapters.values():
                if isinstance(adapter, HTTPAdapter):
                    # Not closed: that would wait for a lock that a thread of the parent may hold.
                    pooled: Any = adapter  # its stubs leave out how it is pickled
                    pooled.__setstate__(pooled.__getstate__())
            self._pid = os.getpid()

    def _send_with(
        self, method: str, url: str, kwargs: dict[str, Any], token: TikTokToken
    ) -> requests.Response:
        """Send a request with a token, unless a hook has led it where none may be seen."""
        if self._hooks and self._hooks["protected_request"]:
            url, may_see_token, kwargs = self._hooked(url, kwargs)
            if not may_see_token:
                self._tell_bare(url)
                return self._send_on(method, url, **kwargs)
        platform, access_token = self.platform, token.get("access_token") or ""
        in_header = platform.access_token_placement == "header"
        shown = header_with(platform, access_token) if in_header and access_token else ""
        if shown and type(self._client) is TikTokClient:
            # What its `add_token` would do.
            kwargs = {**kwargs, "headers": {**(kwargs["headers"] or {}), platform.access_token_header: shown}}
        else:
            url, kwargs = self._shown(method, url, kwargs, token)
        mark = mark_of(self.client_id, self.open_id or access_token) if self._keeps_replies else ""
        # Of the caller's own: TikTok for Business has a call that wants the app's secret there.
        has_secret = has_secret_in_query(url, kwargs.get("params"))
        if has_secret:
            filter_logs()
        try:
            response = self._send_on(method, marked(url, mark) if mark else url, **kwargs)
        except requests.RequestException as error:
            words = redact_query(redact(str(error), [access_token]))
            if words != str(error):
                # Nor may what led to it hold the text with the token in it.
                error.args, error.__cause__, error.__context__ = (words,), None, None
            raise
        if in_header and not (mark or has_secret):
            return response
        return _as_asked(response, access_token, mark)

    def _hooked(self, url: str, kwargs: dict[str, Any]) -> tuple[str, bool, dict[str, Any]]:
        """Return a request as hooks want it, and whether the token may go where it goes now."""
        data, headers = kwargs["data"], kwargs["headers"]
        for hook in self.compliance_hook["protected_request"]:
            url, headers, data = hook(url, headers, data)
        url, may_see_token = self._destination(url)
        return url, may_see_token, {**kwargs, "data": data, "headers": headers}

    def _shown(
        self, method: str, url: str, kwargs: dict[str, Any], token: TikTokToken
    ) -> tuple[str, dict[str, Any]]:
        """Return a request that shows the token where a surface wants it, whatever a client would do."""
        where: dict[str, Any] = {"token_placement": "auth_header"}
        if self.platform.access_token_placement == "parameter":
            where = {}
            filter_logs()
        # Beside other data requests sends no JSON.
        json = None if kwargs["data"] or kwargs["files"] else kwargs.get("json")
        body = add_token_to_json(self.platform, json, token.access_token or "")
        if body is not None:
            return url, {**kwargs, "json": body}
        # A copy of its own for each request: threads share the session's client.
        client = copy.copy(self._client)
        client.token = token
        client.populate_token_attributes(token)
        # Whether it is time for another token has been decided.
        client._expires_at = None  # noqa: SLF001 - oauthlib has no public name for it
        url, headers, data = client.add_token(
            url, http_method=method, body=kwargs["data"], headers=dict(kwargs["headers"] or {}), **where
        )
        return url, {**kwargs, "headers": headers, "data": data}

    # --- keeping the token fresh -------------------------------------------------------------------

    @without_variables
    def fresh_token(self, *, refused: str | None = None) -> TikTokToken:
        """Return a token that works now, refreshed first if it is due, for handing to another client.

        Args:
            refused: An access token that TikTok has just refused, although its time is not up. Another one is
                returned then: at once, if the session or the store has one by now, or one that is asked for.

        Raises:
            ReauthorizationRequired: There is no token, or only a new login helps.
            TokenError: It could not be refreshed and no longer works. ``retry_after`` says in how many
                seconds it is worth another call, where that is known.
            TokenNotSaved: It was refreshed and could not be saved.
            StoreError: The store failed.
        """
        secret = self.client_secret
        if refused is not None and refused == (token := self._own_token()).access_token:
            return self._renewed(token, secret)
        token = self._usable_token(secret)
        if not token:
            raise ReauthorizationRequired("There is no token. The user has to log in first.")
        return token

    def _held_token(self) -> TikTokToken | None:
        """Return the token if it is here and fresh; None where that takes asking somebody."""
        token = None if self._framework_token else self._client.token
        is_here = type(token) is TikTokToken and not pending and token.is_good_for_long()
        return token if is_here else None

    @without_variables
    def _usable_token(self, secret: str | None) -> TikTokToken:
        token = self._own_token()
        if not token:
            if self.store is not None and self.open_id:
                raise ReauthorizationRequired(
                    "The store holds no token for this account. The user has to log in (again)."
                )
            if self.store is not None and not self._told_of_no_account:
                self._told_of_no_account = True
                log.warning(
                    "requests go without a token: open_id= says which of the store's accounts is meant"
                )
            return token
        if not pending and token.freshness() is Freshness.FRESH:
            return token
        if self._holds_client_token(token):
            return self._renewed_client_token(token)
        if lacking := self._lacking(token, secret):
            if token.access_token and (
                token.expires_at is None or token.freshness() is not Freshness.EXPIRED
            ):
                return token
            self._refuse(lacking)
        return self._adopt(token, self._connection(token, secret).fresh(token))

    @without_variables
    def _renewed(
        self, token: TikTokToken, secret: str | None, response: requests.Response | None = None
    ) -> TikTokToken:
        """Return another token than the one that TikTok has just refused."""
        if self._holds_client_token(token):
            return self._renewed_client_token(token, is_refused=True)
        if lacking := self._lacking(token, secret):
            self._refuse(lacking)
        try:
            new = self._connection(token, secret).renew(token, is_refused=True)
        except TokenError as error:
            # What was asked for was an API call, and this is what it brought.
            if error.response is None:
                error.response = response
            raise
        return self._adopt(token, new)

    def _lacking(self, token: TikTokToken, secret: str | None) -> str:
        """Return what a refresh would need and is not there, or an empty string."""
        if not token.refresh_token:
            return "refresh token"
        if not self._refresh_url():
            return "refresh endpoint"
        needed = self.platform.refresh_parameters or {}
        if "client_secret" in needed and not (secret or "client_secret" in self.auto_refresh_kwargs):
            return "client_secret"
        return ""

    @staticmethod
    def _refuse(lacking: str) -> NoReturn:
        if lacking == "client_secret":
            raise TokenError(
                "The session has no client_secret to refresh the access token with: pass `client_secret=`.",
                error="invalid_client",
            )
        raise TokenExpired(
            f"There is no {lacking} to renew the access token with: once it no longer works, the user has to "
            "log in again."
        )

    def _refresh_url(self) -> str | None:
        return self.auto_refresh_url or self.platform.refresh_endpoint

    def _connection(
        self,
        token: TikTokToken,
        secret: str | None,
        transport: Transport | None = None,
        *,
        url: str | None = None,
        **sent: Any,
    ) -> Connection:
        """Return what keeps a token alive.

        Args:
            token: The token.
            secret: The app's secret.
            transport: How to reach TikTok; None: with `token_timeout`.
            url: Where to refresh; None: where the platform says.
            **sent: What else a refresh sends.
        """
        from tiktok_oauth_session._connection.connection import Connection
        from tiktok_oauth_session._oauth.grants import RefreshGrant, basic_credentials

        transport = transport or Transport(
            timeout=self.token_timeout,
            auth=basic_credentials(self.platform, self.client_id, secret),
        )
        grant = RefreshGrant(self, url or self._refresh_url() or "", secret, transport, **sent)
        return Connection(self._source(token), grant, self.on_event)

    def _source(self, token: TikTokToken) -> TokenSource:
        from tiktok_oauth_session._connection.token_source import ProcessSource, StoreSource

        key = self._key() or self._unnamed
        if self.store is not None and key:
            return StoreSource(self.store, key, self.token_updater, self.platform.issuer)
        session = None if self._reaches_a_network() else self
        app = self.platform.issuer, self.client_id
        return ProcessSource(app, token, self.token_updater, session, self._key(token))

    def _reaches_a_network(self) -> bool:
        """Tell it from a session whose TikTok is a stand-in, as in tests: its tokens are nobody else's."""
        try:
            adapter = self.get_adapter(self._refresh_url() or "")
        except InvalidSchema:
            return False
        # A stand-in is mounted, or put in the place of `send` (requests-mock, responses). Who only watches
        # there, as OpenTelemetry does, keeps the name of the module.
        sends = (type(adapter).send.__module__, OAuth2Session.send.__module__)
        return type(adapter).send is HTTPAdapter.send and sends == ("requests.adapters", "requests.sessions")

    def _adopt(self, old: TikTokToken, new: TikTokToken) -> TikTokToken:
        """Use a token that is safely kept from now on, unless another thread has a newer one.

        Args:
            old: The token that the session held.
            new: The one to use.
        """
        if self.store is not None and not self._open_id and new is not old:
            # Whose token it is, only this reply has told.
            new = self._name(self.store, new)
        # Equal, not the same: a framework may keep its own copy.
        if new is not old and self._client.token == old:
            self._use(new)
        if new.refresh_token != old.refresh_token and self.store is None and not self.token_updater:
            if not self._told_where_it_went:
                log.warning(
                    "a refreshed token lives in memory only and its predecessor is spent: pass store= or "
                    "token_updater= or the user has to log in again when this process ends"
                )
            self._told_where_it_went = True
        return new

    @without_variables
    def refresh_token(
        self,
        token_url: str | None = None,
        refresh_token: str | None = None,
        body: str = "",
        auth: Any = None,
        timeout: Any = None,
        headers: Mapping[str, str] | None = None,
        verify: Any = None,
        proxies: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> TikTokToken:
        """Refresh now, unless somebody who shares the store has done it since this session last looked.

        Args:
            token_url: The endpoint; the platform's, if None.
            refresh_token: Another refresh token than the session's. The store's, where it holds the
                account, comes before it.
            body: Parameters to add, form-encoded. Only those that TikTok documents are sent.
            auth: As for `requests`; not sent unless given.
            timeout: Seconds, or (seconds to connect, seconds to read); `token_timeout` if None.
            headers: The request's headers, in place of the usual ones.
            verify: As for `requests`.
            proxies: As for `requests`.
            **kwargs: More parameters, as in `body`.

        Returns:
            The new token, which the session uses from now on and the store holds.

        Raises:
            ReauthorizationRequired: TikTok refused the refresh token, or there is none.
            TokenError: TikTok gave no token for another reason, or was not asked, because it refused or did
                not answer a moment ago: ``retry_after`` says for how many seconds.
            TokenNotSaved: The new token could not be saved.
            StoreError: The store failed, and no new token was issued.
            InsecureTransportError: `token_url` is plain http to another machine.

        Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
        """
        secret = kwargs.pop("client_secret", None) or self.client_secret
        held = self._own_token()
        mine = TikTokToken({**held.marked(), "refresh_token": refresh_token}) if refresh_token else held
        lacking = self._lacking(mine, secret)
        if lacking and not (lacking == "refresh endpoint" and token_url):
            self._refuse(lacking)
        if mine.refresh_token != held.refresh_token and self.store is not None and self.open_id:
            self._begin_with(self.store, mine)
            held = self._own_token()
        transport = Transport(
            timeout=self.token_timeout if timeout is None else timeout,
            auth=auth,
            verify=verify,
            proxies=proxies,
        )
        sent: dict[str, Any] = {"headers": headers, "body": body, "extra": kwargs}
        return self._adopt(held, self._connection(mine, secret, transport, url=token_url, **sent).renew(mine))

    # --- other logins ------------------------------------------------------------------------------

    @without_variables
    def start_qr_login(self, scope: str | Iterable[str] | None = None, state: str | None = None) -> QRLogin:
        """Begin a login by QR code: show the code that is returned, and wait for it.

        Args:
            scope: The scopes to ask for; None asks for the session's.
            state: A state of one's own; a new random one, if None.

        Returns:
            The login, with ``.url`` to draw, ``.poll()`` for its status, ``.wait(timeout)`` for the token.

        Raises:
            AuthorizationError: TikTok gave no QR code.
            TokenError: No reply came.
            ValueError: This surface has no login by QR code.

        Source: https://developers.tiktok.com/doc/login-kit-qr-code-authorization
        """
        from tiktok_oauth_session.qr import QRLogin

        return QRLogin(self, scope, state)

    @without_variables
    def fetch_client_token(self) -> TikTokToken:
        """Fetch a token for the app itself (client credentials): no user, no refresh token.

        The session renews it when it expires. It goes to no store and no updater: asking again costs nothing.

        Raises:
            TokenError: TikTok gave none.
            InsecureTransportError: The token endpoint is plain http to another machine.

        Source: https://developers.tiktok.com/doc/client-access-token-management
        """
        from tiktok_oauth_session._oauth.grants import client_credentials

        token = client_credentials(self, Transport(timeout=self.token_timeout))
        self._client_token = token.access_token
        self._client_token_guard = self._client_token_guard or PerProcess(threading.Lock)
        self._use(token)
        return token

    def _holds_client_token(self, token: TikTokToken) -> bool:
        return self._client_token is not None and token.access_token == self._client_token

    def _renewed_client_token(self, token: TikTokToken, *, is_refused: bool = False) -> TikTokToken:
        """Return another client token than one that will not do."""
        if not is_refused and token.freshness() <= Freshness.ADVISORY:
            return token
        assert self._client_token_guard is not None  # noqa: S101 - for mypy: made with the first client token
        app = self.platform.token_endpoint, self.client_id, "client token"
        with self._client_token_guard.value:
            current = self._own_token()
            if self._holds_client_token(current) and current.access_token != token.access_token:
                # Another thread was faster.
                return current
            try:
                return self._paced_client_token(app)
            except TokenError as error:
                if is_refused or token.freshness() is Freshness.EXPIRED:
                    raise
                log.warning("the app's token could not be renewed and still works: %s", error)
                return token

    def _paced_client_token(self, app: Hashable) -> TikTokToken:
        memory().require_app(app)
        try:
            token = self.fetch_client_token()
        except TokenError as error:
            pause = memory().refuse_app(app, error.error or "no_reply")
            error.retry_after = error.retry_after or pause
            raise
        memory().accept_app(app)
        return token

    # --- ending it ---------------------------------------------------------------------------------

    @without_variables
    def revoke_token(self) -> None:
        """End the connection: at TikTok, then in the session and the store.

        Nobody who shares the store can refresh meanwhile. A token that has expired, or that TikTok refuses
        here, is refreshed first, since only a live access token can be revoked.

        Raises:
            RevocationError: TikTok did not revoke it; session and store still hold it.
            ReauthorizationRequired: There was nothing to revoke: the connection was ended before, such as by
                the user. Session and store still hold the token.
            TokenError: It has expired and could not be refreshed.
            StoreError: The store failed.

        Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
        """
        from tiktok_oauth_session.revocation import require_revocable, revoke

        token = self._own_token()
        if not token:
            raise RevocationError("There is no token to revoke.")
        require_revocable(self.platform)

        held = token

        def end(live: TikTokToken) -> None:
            nonlocal held
            if self._client.token == held:
                # It may have been refreshed for this, and has to be here though it is not revoked.
                self._use(live)
                held = live
            revoke(
                self,
                self.platform,
                client_key=self.client_id,
                client_secret=self.client_secret,
                token=live.access_token or "",
                open_id=live.open_id or self.open_id,
                transport=Transport(timeout=self.token_timeout),
            )
            key = self._key() or self._unnamed
            if self.store is not None and key and not self._holds_client_token(live):
                stored = self.store.load(key)
                # Another one is that of a login that came meanwhile.
                if stored is None or stored.refresh_token == live.refresh_token:
                    self.store.delete(key)
            self._use(TikTokToken())

        if self._holds_client_token(token):
            end(token)
            return
        may_refresh = not self._lacking(token, self.client_secret)
        try:
            self._connection(token, self.client_secret).end(token, end, may_refresh=may_refresh)
        except RevocationError as error:
            if may_refresh or error.error_code not in self.platform.invalid_token_codes:
                raise
            raise TokenExpired(f"{error} It was ended before: the user has to log in again.") from None


class TikTokOAuth2Session(TikTokOAuth2Mixin, OAuth2Session):
    """An `OAuth2Session` that speaks TikTok and keeps its connection alive.

    Use it like the `requests.Session` that it is: a token that is about to expire is refreshed
    first, once, however many threads, processes and machines share the store.

    Args:
        client_key: The app's client key. ``client_id=`` is accepted as the same thing.
        client_secret: The app's secret. Without it nothing can be fetched, refreshed or revoked on v2.
        scope: The scopes to ask for: a list, or one string with commas or spaces. None asks for
            ``user.info.basic``.
        redirect_uri: Where TikTok sends the user back to, exactly as registered.
        token: A token to begin with, as in `OAuth2Session`. The dict is copied. With a store that holds
            the account already, the store's token is used; one that does not hold it gets this one, so do
            not pass what may be older than a logout, such as a token in a cookie.
        token_updater: Called with the new token after every refresh, in the thread that asked for it; not
            after a login, whose token `fetch_token` returns. If it raises, `TokenNotSaved` is raised in turn,
            with the new token, and the next call tells it again.
        store: Where tokens live; see `tiktok_oauth_session.stores`.
        open_id: Which of the store's accounts this session is for. It stays the account's key, whatever a
            reply says, and may be an id of your own. None until somebody logs in.
        platform: Which of TikTok's OAuth surfaces.
        pkce: ``"S256"`` uses PKCE with TikTok's hex challenge; None uses it where TikTok requires it,
            which is for loopback redirect URIs.
        api_hosts: Further hosts that may be shown the token. ``"*"`` allows every host, and so hands the
            token to whoever a URL in your data names: unsafe.
        token_timeout: Seconds to connect and seconds to wait for a reply, for OAuth endpoints only. Together
            they are the deadline of a whole request, whatever takes its time; one number counts as both.
        on_event: Called with a `tiktok_oauth_session.events.ConnectionEvent` for each refresh and revocation,
            once it is over and the store's lock is free. A refresh that many sessions wait for is told to the
            one that began it: give them all the same function. It may use the session.
        **parent_kwargs: ``client``, ``state``, ``auto_refresh_url``, ``auto_refresh_kwargs`` as in
            `OAuth2Session`.

    Raises:
        TypeError: `store` is no store, or `platform` no platform.
        ValueError: `pkce` is neither ``"S256"`` nor None, or `client_key` and `client_id` differ.
        StoreError: There are a store and a token, and the store failed.

    Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
    """
