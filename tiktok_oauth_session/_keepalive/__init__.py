"""What keep-alive is made of: when it may ask TikTok, and which account is next."""

from __future__ import annotations

#: Seconds of waiting in one go: the end of a run, and a Ctrl-C just before a wait, are seen after it.
LOOK_UP_S = 0.5
