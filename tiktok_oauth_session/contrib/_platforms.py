"""Platforms on which no login of a web application could succeed."""

from __future__ import annotations

from tiktok_oauth_session.platforms import Platform


def complaint_about_platform(platform: Platform, scope: object) -> str:
    """Return why a platform is none for a web application's logins; an empty string if it is one.

    Args:
        platform: The platform.
        scope: The scopes that the application asks for, if any.
    """
    given = ("client_id", "redirect_uri", *["scope"] * bool(scope or platform.default_scope))
    lacking = [name for name in platform.required_for_authorization if name not in given]
    # A link of TikTok's portal has in its query what is registered.
    if lacking and "?" not in platform.authorization_endpoint:
        return (
            f"{platform.name} needs the {lacking[0]} that is registered for your app: "
            f"{'set it, or ' if lacking == ['scope'] else ''}make the link that TikTok's portal shows the "
            "authorization_endpoint, with dataclasses.replace()."
        )
    if not platform.tells_open_id:
        return f"{platform.name} does not say whose a token is, so nobody can log in with it."
    return ""
