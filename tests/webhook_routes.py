"""What every framework's route for webhooks has to do: its tests subclass this, and say how to reach it."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
import threading
import time
import traceback

import pytest

from tiktok_oauth_session import AccountKey, MemoryStore, ReauthorizationRequired, StoreError, webhooks
from tiktok_oauth_session.contrib._webhooks import BODY_CAP
from tiktok_oauth_session.webhooks import AUTHORIZATION_REMOVED

#: Where the route is on every site of these tests, but for a slash at the end of Django's.
PATH = "/tiktok/webhook"
#: A header at which a site's own part reads the body before the route does.
READ_BEFORE = "X-Read-Before"


class SwitchableStore(MemoryStore):
    """A store that can be switched off."""

    is_down = False

    def load(self, key):
        if self.is_down:
            raise StoreError("The disk of the tokens is full.")
        return super().load(key)


class Site:
    """An application with a route. A framework's own says how to post, and calls `hear`."""

    def __init__(self):
        self.store, self.told, self.trouble = SwitchableStore(), [], None

    def hear(self, event):
        """Be told of an event, as the application is."""
        self.told.append(event)
        if self.trouble:
            raise self.trouble


class Part(bytes):
    """A part of a body that knows how many bytes were copied to append it to those before."""

    copied = 0

    def __radd__(self, before):
        type(self).copied += len(before)
        return b"".join([before, self])


class EndlessBody(io.RawIOBase):
    """A body as WSGI servers hand it in, of which there is always more."""

    read_so_far = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.read_so_far += len(buffer)
        return len(buffer)

    def readall(self):
        raise AssertionError("nobody reads all of it")


def signed(fake, body, *, secret=None, sent_at=None):
    """Return the headers and the body of a webhook of any body."""
    sent_at = int(time.time()) if sent_at is None else sent_at
    key = (secret or fake.client_secret).encode()
    signature = hmac.new(key, b"%d." % sent_at + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "TikTok-Signature": f"t={sent_at},s={signature}"}, body


def without(body, name):
    """Return a body without one of its fields."""
    return json.dumps({each: value for each, value in json.loads(body).items() if each != name}).encode()


def with_(body, **changed):
    """Return a body with other fields."""
    return json.dumps({**json.loads(body), **changed}).encode()


REFUSED = {
    "no signature": (401, lambda fake, body: ({"Content-Type": "application/json"}, body)),
    "malformed signature": (401, lambda fake, body: ({"TikTok-Signature": "fake"}, body)),
    "wrong secret": (401, lambda fake, body: signed(fake, body, secret="another")),
    "wrong body": (401, lambda fake, body: (signed(fake, body)[0], body + b" ")),
    "too old": (401, lambda fake, body: signed(fake, body, sent_at=int(time.time()) - 259_201)),
    "not JSON": (400, lambda fake, body: signed(fake, b"no JSON")),
    "not UTF-8": (400, lambda fake, body: signed(fake, b"\xff\x00")),
    "empty": (400, lambda fake, body: signed(fake, b"")),
    "content is not JSON": (400, lambda fake, body: signed(fake, with_(body, content="{"))),
    "nobody's": (400, lambda fake, body: signed(fake, without(body, "user_openid"))),
    "another app's": (400, lambda fake, body: signed(fake, with_(body, client_key="another-app"))),
    "too large": (413, lambda fake, body: signed(fake, body.ljust(BODY_CAP + 1))),
}


class WebhookRoute:
    """The tests; whoever subclasses them has a fixture `site`."""

    @pytest.fixture
    def key(self, fake, site, issue, clock):
        """An account that logged in a minute ago."""
        token = issue()
        key = AccountKey(fake.client_key, token.open_id)
        site.store.save(key, token)
        clock.advance(60)
        return key

    @pytest.fixture
    def removal(self, fake, key):
        """What TikTok sends when its user has removed the app."""
        return fake.webhook(AUTHORIZATION_REMOVED, key.open_id, reason=1)

    def test_removed(self, fake, clock, site, key, removal, make_session):
        """Who has removed the app is forgotten, the application is told, and nothing asks TikTok for them."""
        assert (200, b"") == site.deliver(*removal)
        assert site.store.load(key) is None
        (event,) = site.told
        assert (AUTHORIZATION_REMOVED, *key, {"reason": 1}) == (
            event.event,
            event.client_key,
            event.open_id,
            event.content,
        )
        clock.advance(7200)
        with pytest.raises(ReauthorizationRequired):
            make_session(store=site.store, open_id=key.open_id).get("/v2/user/info/?fields=open_id")
        assert [] == fake.requests

    def test_removed__delivered_again(self, clock, site, key, removal, issue):
        """What comes twice is answered twice, and ends no login that was made since."""
        assert [(200, b"")] * 2 == [site.deliver(*removal) for _ in range(2)]
        assert (2, None) == (len(site.told), site.store.load(key))
        clock.advance(60)
        site.store.save(key, issue())
        assert (200, b"") == site.deliver(*removal)
        assert site.store.load(key) is not None

    def test_removed__delivered_late(self, clock, site, key, removal):
        """What TikTok delivers again for the last time, three days later, is taken if not signed anew."""
        clock.advance(72 * 3600)

        assert (200, b"") == site.deliver(*removal)
        assert site.store.load(key) is None

    def test_another_event(self, fake, site, key):
        """The application is told of every event, and nobody is forgotten for another one."""
        events = [
            fake.webhook("post.publish.complete", key.open_id, publish_id="v_pub.1"),
            fake.webhook("portability.download.ready", request_id=1),
        ]

        assert [(200, b"")] * 2 == [site.deliver(*each) for each in events]
        assert ["post.publish.complete", "portability.download.ready"] == [each.event for each in site.told]
        assert site.store.load(key) is not None

    @pytest.mark.parametrize("why", REFUSED)
    def test_refused(self, fake, site, key, removal, caplog, why):
        """What is not TikTok's, or says nothing, changes nothing, is told nobody, and is in the log."""
        status, damage = REFUSED[why]
        with caplog.at_level(logging.WARNING, "tiktok_oauth_session"):
            assert (status, b"") == site.deliver(*damage(fake, removal[1]))

        assert [] == site.told
        assert site.store.load(key) is not None
        (record,) = [each for each in caplog.records if each.name.startswith("tiktok_oauth_session")]
        assert record.getMessage().startswith("a webhook was refused: ")
        assert fake.client_secret not in caplog.text

    def test_largest(self, fake, site, key, removal):
        """A body of a mebibyte is taken."""
        assert (200, b"") == site.deliver(*signed(fake, removal[1].ljust(BODY_CAP)))
        assert site.store.load(key) is None

    def test_endless(self, site):
        """A body that does not end is refused when more than a mebibyte of it has come."""
        status, read_bytes = site.deliver_endlessly()

        assert 413 == status
        assert BODY_CAP < read_bytes < 2 * BODY_CAP

    def test_read_before(self, site, key, removal):
        """Something of the application's, such as what writes a log, may have read the body before."""
        headers, body = removal

        assert (200, b"") == site.deliver({**headers, READ_BEFORE: "yes"}, body)
        assert site.store.load(key) is None

    def test_get(self, site, key):
        """It takes nothing but POST."""
        assert 405 == site.get()
        assert [] == site.told

    def test_store_is_down(self, site, key, removal, caplog):
        """While the store is down TikTok is asked to come again; then the account goes."""
        site.store.is_down = True
        assert (503, b"") == site.deliver(*removal)
        assert [] == site.told
        assert "The disk of the tokens is full." in caplog.text

        site.store.is_down = False
        assert (200, b"") == site.deliver(*removal)
        assert (1, None) == (len(site.told), site.store.load(key))

    def test_locked(self, site, key, removal, monkeypatch, caplog):
        """While somebody holds the account's lock for too long, TikTok is asked to come again."""
        monkeypatch.setattr(webhooks, "LOCK_WAIT_S", 0.0)
        held, go_on = threading.Event(), threading.Event()

        def hold():
            with site.store.lock(key):
                held.set()
                go_on.wait(20)

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(20)
        assert (503, b"") == site.deliver(*removal)
        assert [] == site.told
        assert "was not free within" in caplog.text

        go_on.set()
        holder.join(20)
        assert (200, b"") == site.deliver(*removal)
        assert site.store.load(key) is None

    def test_application_fails(self, fake, site, key, removal, caplog):
        """The account is gone whatever the application does; TikTok is asked to come again."""
        site.trouble = KeyError("the application's")
        assert (500, b"") == site.deliver(*removal)
        assert site.store.load(key) is None
        (record,) = [each for each in caplog.records if each.name.startswith("tiktok_oauth_session")]
        assert (logging.ERROR, site.trouble) == (record.levelno, record.exc_info[1])

        assert not [
            name
            for frame, _ in traceback.walk_tb(record.exc_info[2])
            for name, value in frame.f_locals.items()
            if fake.client_secret in repr(value)
        ], "crash reporters send variables away"
        site.trouble = None
        assert (200, b"") == site.deliver(*removal)
        assert 2 == len(site.told)
