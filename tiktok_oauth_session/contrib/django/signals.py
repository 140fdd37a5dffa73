"""What the application is told."""

from __future__ import annotations

from django.dispatch import Signal

#: Sent by the callback when a login is finished and its token is in the store, inside a transaction. With
#: ``request``; ``token``; ``session``, which has it; and ``user``, whose TikTok account this is by what is
#: known, or None. A receiver logs the visitor in (`django.contrib.auth.login`); once all receivers are done,
#: the account is linked to whoever is logged in.
logged_in: Signal = Signal()

#: Sent when TikTok has told an event (a webhook) and whoever has removed the app is forgotten, inside a
#: transaction. With ``request``; ``event``, a `tiktok_oauth_session.webhooks.WebhookEvent`; and ``user``,
#: whose TikTok account it is about, or None. TikTok may tell it again, and does so if a receiver fails.
webhook_received: Signal = Signal()
