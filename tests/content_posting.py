"""TikTok's Content Posting API, as much of it as one page needs, in front of a fake TikTok.

Sources:
    https://developers.tiktok.com/doc/content-posting-api-reference-direct-post
    https://developers.tiktok.com/doc/content-posting-api-media-transfer-guide
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

MB = 1_000_000
UPLOAD = "https://open-upload.tiktokapis.com/video/?upload_id=1&upload_token=fake"


class ContentPosting(HTTPAdapter):
    """Takes one video in chunks, and publishes it after a while; what it does not know goes to the fake."""

    def __init__(self, fake, *, outcome="PUBLISH_COMPLETE"):
        super().__init__()
        self._fake, self._outcome = fake, outcome
        self.source, self.about, self.chunks, self.looks = None, None, [], 0

    def send(self, request, **options):
        url = urlsplit(request.url)
        answers = {
            "/v2/post/publish/video/init/": self._begin,
            "/v2/post/publish/status/fetch/": self._tell,
            "/video/": self._take,
        }
        if url.path not in answers:
            return self._fake.adapter().send(request, **options)
        response = requests.Response()
        response.request, response.url = request, request.url
        response.status_code, content = answers[url.path](request)
        response._content = json.dumps(content).encode()
        return response

    def _may(self, request):
        scheme, _, token = request.headers["Authorization"].partition(" ")
        (granted,) = {each["scope"] for each in self._fake.tokens}
        return scheme == "Bearer" and self._fake.is_alive(token) and "video.publish" in granted.split(",")

    def _begin(self, request):
        if not self._may(request):
            return 401, says("access_token_invalid")
        asked = json.loads(request.body)
        self.about, self.source = asked["post_info"], asked["source_info"]
        size, chunk, count = (self.source[name] for name in ("video_size", "chunk_size", "total_chunk_count"))
        if not 5 * MB <= chunk <= 64 * MB and not (size < 5 * MB and chunk == size):
            return 400, says("invalid_params", "The chunk size is invalid")
        if count != size // chunk or size - (count - 1) * chunk > 128 * MB:
            return 400, says("invalid_params", "The total chunk count is invalid")
        return 200, says("ok", data={"publish_id": "v_pub_file~v2.1", "upload_url": UPLOAD})

    def _take(self, request):
        assert (UPLOAD, "PUT", "video/mp4") == (request.url, request.method, request.headers["Content-Type"])
        assert "Authorization" not in request.headers
        first, last, size = map(
            int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", request.headers["Content-Range"]).groups()
        )
        came = sum(map(len, self.chunks))
        is_last = len(self.chunks) + 1 == self.source["total_chunk_count"]
        length = size - came if is_last else self.source["chunk_size"]
        assert (came, came + length - 1, self.source["video_size"]) == (first, last, size)
        assert length == len(request.body) == int(request.headers["Content-Length"])
        self.chunks.append(request.body)
        return (201 if is_last else 206), {}

    def _tell(self, request):
        if not self._may(request):
            return 401, says("access_token_invalid")
        assert {"publish_id": "v_pub_file~v2.1"} == json.loads(request.body)
        self.looks += 1
        state = {"status": "PROCESSING_UPLOAD"} if self.looks < 3 else {"status": self._outcome}
        if state["status"] == "FAILED":
            state["fail_reason"] = "auth_removed"
        return 200, says("ok", data=state)


def says(code, message="", data=None):
    """Return TikTok's envelope."""
    return {"data": data or {}, "error": {"code": code, "message": message, "log_id": "20261129"}}
