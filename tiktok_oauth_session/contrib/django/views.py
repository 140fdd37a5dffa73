"""Login, callback, and webhooks."""

from __future__ import annotations

import functools
import logging
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from tiktok_oauth_session.contrib._error_responses import (
    needs_a_new_login,
    reason_for_visitors,
    retry_after,
    status_of,
)
from tiktok_oauth_session.contrib._webhooks import read_body, take
from tiktok_oauth_session.contrib.django.models import TikTokAccount
from tiktok_oauth_session.contrib.django.sessions import new_session
from tiktok_oauth_session.contrib.django.signals import logged_in, webhook_received
from tiktok_oauth_session.contrib.django.stores import token_store
from tiktok_oauth_session.errors import AuthorizationError, StoreError, TokenError, TokenNotSaved
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores.sql.table import account_of
from tiktok_oauth_session.tokens import AccountKey, TikTokToken
from tiktok_oauth_session.webhooks import WebhookEvent

log: logging.Logger = logging.getLogger(__name__)

#: Where the visitor's web session keeps the logins that were begun: state -> (verifier, where to go then).
BEGUN = "tiktok_oauth_logins"
#: How many of them: one for every tab that a visitor leaves open.
REMEMBERED_LOGINS = 8
#: Characters of a path to go to then at most: the web session may be a cookie.
LONGEST_PATH = 300


@never_cache
@require_GET
def login(request: HttpRequest) -> HttpResponse:
    """Send the visitor to TikTok.

    ``?next=`` says where to go then, on this site; ``?disable_auto_auth=1`` lets them choose the account.
    """
    session = _session(request)
    choices = {name: request.GET[name] for name in ("disable_auto_auth",) if name in request.GET}
    page, state = session.authorization_url(**choices)
    then = _own_path(request.GET.get("next", ""))
    begun = {**request.session.get(BEGUN, {}), state: [session.code_verifier, then]}
    request.session[BEGUN] = dict(list(begun.items())[-REMEMBERED_LOGINS:])
    return HttpResponseRedirect(page)


# The token is kept whatever becomes of a request's transaction, which on SQLite would keep it out.
@never_cache
@transaction.non_atomic_requests
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Finish a login: keep its token, tell the application, and link the account to whoever is logged in."""
    begun = request.session.get(BEGUN, {})
    # Used only if this visitor began a login with it.
    state = request.GET.get("state", "")
    verifier, then = begun.get(state, (None, ""))
    session = _session(request)
    try:
        token = session.fetch_token(
            # Without the address, which a proxy may have changed: only this view is what TikTok leads to.
            authorization_response="?" + request.META["QUERY_STRING"],
            state=state if state in begun else "",
            code_verifier=verifier,
        )
    except (AuthorizationError, TokenError, StoreError) as error:
        can_be_reloaded = isinstance(error, StoreError) and not isinstance(error, TokenNotSaved)
        if not can_be_reloaded:
            _finish(request, state)
        level = logging.WARNING if needs_a_new_login(error) else logging.ERROR
        log.log(level, "a login with TikTok failed: %s", error)
        return _page(request, error, then, can_be_reloaded=can_be_reloaded)
    _finish(request, state)
    with transaction.atomic():
        _tell_login(request, session, token)
    return HttpResponseRedirect(then or resolve_url(settings.LOGIN_REDIRECT_URL))


# TikTok has no form of this site's. No transaction is held while a refresh is waited for.
@csrf_exempt
@transaction.non_atomic_requests
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Take a webhook: forget who has removed the app, and tell the application."""
    status = take(
        request.headers,
        read_body(request.read),
        settings.TIKTOK_OAUTH_CLIENT_KEY,
        settings.TIKTOK_OAUTH_CLIENT_SECRET,
        token_store(),
        functools.partial(_tell_event, request),
    )
    return HttpResponse(status=status)


def _own_path(path: str) -> str:
    """Return a path of this site, or nothing if it is another's page, or none."""
    is_own = path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    return path if is_own and len(path) <= LONGEST_PATH else ""


def _session(request: HttpRequest) -> TikTokOAuth2Session:
    redirect_uri = getattr(settings, "TIKTOK_OAUTH_REDIRECT_URI", None)
    here = request.build_absolute_uri(reverse("tiktok_oauth:callback"))
    return new_session(redirect_uri=redirect_uri or here)


def _finish(request: HttpRequest, state: str) -> None:
    """Forget a login that was begun: each state is good for one answer."""
    begun = request.session.get(BEGUN, {})
    if begun.pop(state, None):
        request.session[BEGUN] = begun


def _tell_login(request: HttpRequest, session: TikTokOAuth2Session, token: TikTokToken) -> None:
    """Tell the application, and link the account to the user who is logged in then."""
    key = AccountKey(settings.TIKTOK_OAUTH_CLIENT_KEY, session.open_id or "")
    logged_in.send(TikTokAccount, request=request, token=token, session=session, user=_user_of(key))
    if request.user.is_authenticated:
        TikTokAccount.objects.update_or_create(
            pk=account_of(key),
            defaults={**key._asdict(), "user": request.user, "logged_in_at": timezone.now()},
        )


def _tell_event(request: HttpRequest, event: WebhookEvent) -> None:
    user = _user_of(AccountKey(event.client_key, event.open_id)) if event.open_id else None
    with transaction.atomic():
        webhook_received.send(WebhookEvent, request=request, event=event, user=user)


def _user_of(key: AccountKey) -> Any:
    """Return the user whose TikTok account this is by what is known, or None."""
    known = TikTokAccount.objects.select_related("user").filter(pk=account_of(key)).first()
    return known.user if known else None


def _page(request: HttpRequest, error: Any, then: str, *, can_be_reloaded: bool) -> HttpResponse:
    status = status_of(error)
    # Anybody may have written the description: it is text, and the template escapes it.
    context = {
        "description": reason_for_visitors(error) if needs_a_new_login(error) else "",
        "next": then,
        "status": status,
        "can_be_reloaded": can_be_reloaded,
    }
    response = render(request, "tiktok_oauth/error.html", context, status=status)
    for name, value in retry_after(error).items():
        response[name] = value
    return response
