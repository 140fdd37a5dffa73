"""``accounts``."""

from __future__ import annotations

import json


def test_accounts__list(run, fake, logged_in):
    """One open_id on each line, for scripts."""
    keys = sorted(logged_in(user=user)[0] for user in (fake.users[0], fake.add_user()))

    assert (0, "".join(f"{key.open_id}\n" for key in keys), "") == run("accounts")
    assert [{**key._asdict(), "display_name": None, "default": False} for key in keys] == json.loads(
        run("accounts", "--json").out
    )


def test_accounts__none(run):
    """No accounts are no error and no output."""
    assert (0, "", "") == run("accounts")
