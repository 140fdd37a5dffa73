"""Which account is next."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

from tiktok_oauth_session import AccountKey
from tiktok_oauth_session._keepalive.agenda import Agenda

KEYS = [AccountKey("app", f"user-{n}") for n in range(3)]
#: Seconds for what takes milliseconds.
PATIENCE_S = 5.0


def taken(agenda):
    """Take all there is, one after the other."""
    keys = []
    while key := agenda.take():
        keys.append(key)
        agenda.done()
    return keys


def test_agenda__order():
    """Accounts are handed out in their order, each once."""
    assert KEYS == taken(Agenda(KEYS, threading.Event()))


def test_agenda__put_off():
    """One that was put off comes again when its time has come, after those that were not."""
    agenda = Agenda(KEYS, threading.Event())
    agenda.put_off(agenda.take(), 0.05)
    agenda.done()

    assert [*KEYS[1:], KEYS[0]] == taken(agenda)


def test_agenda__waits_for_others():
    """Whoever finds nothing left waits for those who are still at it: they may put theirs off."""
    agenda = Agenda(KEYS[:1], threading.Event())
    key = agenda.take()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(taken, agenda)
        wait([other], timeout=0.1)

        assert not other.done()

        agenda.put_off(key, 0.0)
        agenda.done()

        assert [key] == other.result(PATIENCE_S)


def test_agenda__stop():
    """A run that ends hands out no more, and nobody waits for what was put off."""
    stop = threading.Event()
    agenda = Agenda(KEYS, stop)
    agenda.put_off(agenda.take(), 3600.0)
    agenda.done()
    stop.set()

    assert None is agenda.take()
