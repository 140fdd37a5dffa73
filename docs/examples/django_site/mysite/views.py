"""What the site's pages do."""

import contextlib
import os

from django.contrib import auth
from django.contrib.auth.models import User
from django.dispatch import receiver
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from tiktok_oauth_session import AccountKey, ReauthorizationRequired, unwrap
from tiktok_oauth_session.contrib.django import logged_in, session_for
from tiktok_oauth_session.contrib.django.stores import token_store


@receiver(logged_in)
def sign_in(request, user, session, **_):
    """Log in the user whose TikTok account this is, or a new one."""
    auth.login(request, user or User.objects.create_user(session.open_id))


def profile(user):
    """Ask TikTok who a user is."""
    return unwrap(session_for(user).get("/v2/user/info/?fields=open_id,display_name"))["user"]


def home(request):
    """Show who is logged in, or how to log in."""
    try:
        name = profile(request.user)["display_name"]
    except ReauthorizationRequired:
        name = None
    return render(request, "home.html", {"name": name})


def me(request):
    """Say who is logged in, and which worker says so."""
    try:
        return JsonResponse({**profile(request.user), "worker": os.getpid()})
    except ReauthorizationRequired:
        return JsonResponse({"error": "Log in first."}, status=401)


@require_POST
def log_out(request):
    """Forget the visitor; the connection stays."""
    auth.logout(request)
    return redirect("home")


@require_POST
def disconnect(request):
    """End the connection, at TikTok and here."""
    with contextlib.suppress(ReauthorizationRequired):  # not logged in
        session = session_for(request.user)
        try:
            if session.authorized:
                session.revoke_token()
        except ReauthorizationRequired:  # they have removed the app at TikTok themselves
            token_store().delete(AccountKey(session.client_id, session.open_id))
    auth.logout(request)
    return redirect("home")
