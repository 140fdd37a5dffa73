"""``python -m tiktok_oauth_session``: the command ``tiktok-oauth``."""

from __future__ import annotations

import sys

from tiktok_oauth_session.cli import main

sys.exit(main())
