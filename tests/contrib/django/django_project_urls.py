"""The pages of the tests' project."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import JsonResponse
from django.urls import include, path

from tiktok_oauth_session.contrib.django import session_for


def profile(request):
    """Tell what TikTok says of whoever is logged in."""
    # Something read and something written, as in most requests.
    request.user.save()
    return JsonResponse(session_for(request.user).get("/v2/user/info/?fields=open_id").json())


def failing(request):
    """Call TikTok, and fail afterwards."""
    profile(request)
    User.objects.create_user("undone")
    raise KeyError("the application's")


urlpatterns = [
    path("tiktok/", include("tiktok_oauth_session.contrib.django.urls")),
    path("accounts/", include("allauth.urls")),
    path("profile/", profile),
    path("failing/", failing),
]
