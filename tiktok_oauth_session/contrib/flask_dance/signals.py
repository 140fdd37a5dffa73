"""What the application is told, beside Flask-Dance's own signals."""

from __future__ import annotations

from blinker import NamedSignal, Namespace

#: Sent by the blueprint when TikTok has told it an event and whoever has removed the app is forgotten; with
#: ``event``, a `tiktok_oauth_session.webhooks.WebhookEvent`. TikTok may tell it again, and does so if a
#: handler fails.
webhook_received: NamedSignal = Namespace().signal("webhook-received")
