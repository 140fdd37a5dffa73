"""Platforms on which no login of a web application could succeed."""

from __future__ import annotations

from tiktok_oauth_session.platforms import Platform

#: What a login is begun with here.
_KNOWN = {"client_id", "redirect_uri", "scope"}


def complaint_about_platform(platform: Platform) -> str:
    """Return why a platform is none for a web application's logins; an empty string if it is one."""
    unknown = [name for name in platform.required_for_authorization if name not in _KNOWN]
    # A link of TikTok's portal has in its query what is registered.
    if unknown and "?" not in platform.authorization_endpoint:
        return (
            f"{platform.name} needs the {unknown[0]} that is registered for your app: make the link that "
            "TikTok's portal shows the authorization_endpoint, with dataclasses.replace()."
        )
    if not platform.tells_open_id:
        return f"{platform.name} does not say whose a token is, so nobody can log in with it."
    return ""
