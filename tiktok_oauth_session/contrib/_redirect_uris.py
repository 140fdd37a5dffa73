"""Redirect URIs that a web application cannot use."""

from __future__ import annotations


def complaint_about_redirect_uri(redirect_uri: str | None) -> str:
    """Return why a redirect URI is none of a web application's; an empty string if there is nothing to say.

    Source: https://developers.tiktok.com/doc/login-kit-desktop (a registered ``*`` stands for any port)
    """
    if ":*" not in (redirect_uri or ""):
        return ""
    return (
        f"The redirect URI {redirect_uri} has * for its port. It may be registered like that, but TikTok has "
        "to be asked with the port that this application listens on."
    )
