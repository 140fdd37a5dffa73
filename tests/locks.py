"""What can be seen of an account's lock from outside."""

from __future__ import annotations

from tiktok_oauth_session.testing.conformance import KEY


def is_free(store, key=KEY, **options):
    """Tell whether somebody else could have an account's lock now."""
    with store.try_lock(key, **options) as held:
        return held
