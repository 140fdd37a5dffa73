"""Which TikTok the command talks to: which surface of it, and whether a fake or a proxy in its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop
from tiktok_oauth_session.cli.terminal.output import tell

if TYPE_CHECKING:
    from tiktok_oauth_session.platforms import Platform
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

BASE_URL = "TIKTOK_OAUTH_BASE_URL"
PLATFORM = "TIKTOK_OAUTH_PLATFORM"
DEFAULT_PLATFORM = "login-kit"


def choose(name: str) -> None:
    """Choose a surface, for this process and those that it starts."""
    os.environ[PLATFORM] = name


def login_command() -> str:
    """Return the command that logs in on the chosen surface."""
    name = os.environ.get(PLATFORM, "").strip() or DEFAULT_PLATFORM
    return "tiktok-oauth login" + (f" --platform {name}" if name != DEFAULT_PLATFORM else "")


def constant() -> str:
    """Return what the chosen surface is called in Python, such as ``SHOP``."""
    name = os.environ.get(PLATFORM, "").strip() or DEFAULT_PLATFORM
    return name.upper().replace("-", "_")


def official() -> Platform:
    """Return the surface that was chosen, where TikTok has it.

    Raises:
        Stop: There is no surface of that name.
    """
    from tiktok_oauth_session.platforms import BY_NAME

    name = os.environ.get(PLATFORM, "").strip() or DEFAULT_PLATFORM
    if name not in BY_NAME:
        raise Stop(f"There is no platform {name!r}; there are {', '.join(BY_NAME)}.", EXIT_USAGE)
    return BY_NAME[name]


def platform() -> Platform:
    """Return the surface that was chosen, where the command talks to it: at TikTok or elsewhere.

    Raises:
        Stop: There is no such surface; or elsewhere is no URL, has a password in it, or is plain http on
            another machine.
    """
    surface = official()
    base = os.environ.get(BASE_URL, "").strip()
    if not base:
        return surface
    from tiktok_oauth_session._http.loopback import is_loopback_host

    try:
        parts = urlsplit(base)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Stop(f"{BASE_URL} is no http or https URL.", EXIT_USAGE)
    if "@" in parts.netloc:
        # They would stand in addresses that are shown, and take the token's place in the header.
        raise Stop(f"{BASE_URL} has to be without user and password.", EXIT_USAGE)
    if parts.scheme == "http" and not is_loopback_host((parts.hostname or "").rstrip(".")):
        raise Stop(f"{BASE_URL}: plain http is for this machine only; secrets travel over https.", EXIT_USAGE)
    return surface.at(base)


def tell_where() -> None:
    """Say which address it is, if it is not TikTok's own.

    Raises:
        Stop: As for `platform`.
    """
    if platform().issuer != official().issuer:
        elsewhere = os.environ[BASE_URL].strip().rstrip("/")
        tell(f"This talks to {elsewhere}, not to TikTok ({BASE_URL} is set).")


def require_issuer(token: TikTokToken) -> None:
    """Refuse a token that was issued elsewhere. One that does not say where goes everywhere.

    Raises:
        Stop: It was.
    """
    from tiktok_oauth_session.tokens import ISSUER

    here = platform().issuer
    theirs = token.get(ISSUER, here)
    if theirs != here:
        raise Stop(
            f"{theirs} issued the token of {token.open_id or 'this account'}, and this talks to {here}: "
            f"nothing was sent. {_way_to(theirs, here)}; or log in here, with another --store.",
            EXIT_USAGE,
        )


def _way_to(theirs: str, here: str) -> str:
    """Return what to set for the commands to talk to another issuer than they do."""
    from tiktok_oauth_session.platforms import BY_NAME

    paths = {name: urlsplit(surface.token_endpoint).path for name, surface in BY_NAME.items()}
    names = [name for name, path in paths.items() if theirs.endswith(path)]
    if not names:
        return "Use what it was issued for"
    base = theirs.removesuffix(paths[names[0]])
    pass_platform = f"pass --platform {' or '.join(names)}"
    if here.startswith(base + "/") and os.environ.get(BASE_URL, "").strip():
        return pass_platform[:1].upper() + pass_platform[1:]
    if theirs in (surface.issuer for surface in BY_NAME.values()):
        steps = [f"unset {BASE_URL}"] if os.environ.get(BASE_URL, "").strip() else []
    else:
        # Not as a line to be copied: in a store that others share, anybody may have written it.
        steps = [f"if {base} is yours, set {BASE_URL} to it"]
    if official() not in (BY_NAME[name] for name in names):
        steps.append(pass_platform)
    words = " and ".join(steps)
    return words[:1].upper() + words[1:]


def bound(store: TokenStore) -> TokenStore:
    """Return a store whose tokens go nowhere but to who issued them: to TikTok, where they do not say."""
    if not os.environ.get(BASE_URL, "").strip():
        return store
    from tiktok_oauth_session.tokens import ISSUER

    load = store.load

    def load_bound(key: AccountKey) -> TikTokToken | None:
        token = load(key)
        if token is not None:
            token.setdefault(ISSUER, official().issuer)
        return token

    store.load = load_bound  # type: ignore[method-assign]  # as a subclass of each kind of store would
    return store
