"""The site's pages."""

from django.urls import include, path

from mysite import views

urlpatterns = [
    path("", views.home, name="home"),
    path("me", views.me, name="me"),
    path("logout", views.log_out, name="log-out"),
    path("disconnect", views.disconnect, name="disconnect"),
    path("tiktok/", include("tiktok_oauth_session.contrib.django.urls")),
]
