"""A fake with controls, as tests in another language reach it."""

from __future__ import annotations


class Remote:
    """Sends what a test in any language would send."""

    def __init__(self, url, http):
        self.url, self.http = url, http

    def post(self, name, **asked):
        return self.http.post(f"{self.url}/_control/{name}", json=asked)

    def get(self, name):
        return self.http.get(f"{self.url}/_control/{name}")

    def token(self, **form):
        fields = {"client_key": "sbaw-test-key", "client_secret": "sbaw-test-secret"}
        return self.http.post(
            f"{self.url}/v2/oauth/token/", {**fields, "grant_type": "client_credentials", **form}
        )
