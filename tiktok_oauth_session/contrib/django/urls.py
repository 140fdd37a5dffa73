"""The pages of a login, and webhooks. TikTok has to know the callback's URL, and the webhook's."""

from __future__ import annotations

from django.urls import URLPattern, path

from tiktok_oauth_session.contrib.django import views

app_name = "tiktok_oauth"
urlpatterns: list[URLPattern] = [
    path("login/", views.login, name="login"),
    path("callback/", views.callback, name="callback"),
    path("webhook/", views.webhook, name="webhook"),
]
