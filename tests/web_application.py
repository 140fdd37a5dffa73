"""A web application whose store and sessions are made and used when it is loaded."""

from __future__ import annotations

import contextlib
import json
import os

from scenarios import call, opened, session_on

facts = json.loads(os.environ["TEST_WEB_APPLICATION"])
lent = contextlib.ExitStack()
store = lent.enter_context(opened(facts["opens"]))
# Made and used before a server forks its workers, if it does so afterwards.
sessions = {
    key.open_id: session_on(facts["url"], store, key.open_id)
    for key in store.keys()  # noqa: SIM118 - a store is no dict
}
assert all(session.authorized for session in sessions.values())


def application(environ, start_response):
    """Call TikTok's API for the account that the path names; answer with what came of it."""
    answer = call(sessions[environ["PATH_INFO"].strip("/")], facts["url"])
    start_response("200 OK", [("X-Worker", str(os.getpid())), ("Connection", "close")])
    return [repr(answer).encode()]
