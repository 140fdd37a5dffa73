"""The pages of a login: the callback's URL is the redirect URI to register at TikTok."""

from __future__ import annotations

from django.urls import URLPattern, path

from tiktok_oauth_session.contrib.django import views

app_name = "tiktok_oauth"
urlpatterns: list[URLPattern] = [
    path("login/", views.login, name="login"),
    path("callback/", views.callback, name="callback"),
]
