"""Those whose process gevent has patched; a script only, since that cannot be taken back."""

from gevent import monkey

monkey.patch_all()

import random  # noqa: E402 - patched

import gevent  # noqa: E402 - patched
from child_processes import hear, say  # noqa: E402 - patched
from scenarios import USER_INFO, call, session_on  # noqa: E402 - patched

from tiktok_oauth_session import FileStore  # noqa: E402 - patched

SEED = 20_261_126
#: Seconds after which a time limit cuts a call off at the latest.
LATEST_S = 0.06


def cut_off(session, url, seconds):
    """Call the API under a time limit; tell whether it was cut off."""
    try:
        with gevent.Timeout(seconds):
            session.get(url + USER_INFO)
    except gevent.Timeout:
        return True
    return False


def call_under_time_limits(url, directory, open_ids):
    """Call the API for each account under a time limit of its own, and then without any."""
    store, dice = FileStore(directory), random.Random(SEED)
    sessions = [session_on(url, store, open_id) for open_id in open_ids]
    cut = sum(cut_off(session, url, dice.uniform(0, LATEST_S)) for session in sessions)
    say(cut=cut, again=[repr(call(session, url)) for session in sessions])


if __name__ == "__main__":
    call_under_time_limits(**hear())
