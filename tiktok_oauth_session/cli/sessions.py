"""The session that the commands use."""

from __future__ import annotations

from tiktok_oauth_session.cli.interrupts import finishing_first
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.tokens import TikTokToken


class PatientSession(TikTokOAuth2Session):
    """A session whose refreshes no signal cuts short, wherever they happen."""

    def usable_token(self) -> TikTokToken:
        """Return a token that works, refreshed if it is time, as every API call begins."""
        return self._usable_token(self.client_secret)

    def _usable_token(self, secret: str | None) -> TikTokToken:
        with finishing_first():
            return super()._usable_token(secret)

    def _renewed(self, token: TikTokToken, secret: str | None) -> TikTokToken:
        with finishing_first():
            return super()._renewed(token, secret)
