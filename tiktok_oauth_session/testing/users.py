"""The people who have a TikTok account, their profiles and their videos.

Sources:
    https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info
    https://developers.tiktok.com/doc/tiktok-api-v2-video-list
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from .checks import NAME, TEXT, Rule, check, is_whole

FIELDS_OF_SCOPE = {
    "user.info.basic": (
        "open_id",
        "union_id",
        "avatar_url",
        "avatar_url_100",
        "avatar_large_url",
        "display_name",
    ),
    "user.info.profile": (
        "bio_description",
        "profile_deep_link",
        "profile_web_link",
        "is_verified",
        "username",
    ),
    "user.info.stats": ("follower_count", "following_count", "likes_count", "video_count"),
}
SCOPE_OF_FIELD = {field: scope for scope, fields in FIELDS_OF_SCOPE.items() for field in fields}
VIDEO_FIELDS = (
    "id",
    "create_time",
    "cover_image_url",
    "share_url",
    "video_description",
    "duration",
    "height",
    "width",
    "title",
    "embed_html",
    "embed_link",
    "like_count",
    "comment_count",
    "share_count",
    "view_count",
)
DEFAULT_PAGE_VIDEOS = 10
MAX_PAGE_VIDEOS = 20
MAX_VIDEOS = 20_000  # one a day since 1970

_NEWEST_VIDEO_AT = 1_750_000_000  # Unix seconds; any fixed moment keeps the pages reproducible
_DAY_S = 86_400
_FIRST_ID = 7_000_000_000_000_000_000


def make_video(number: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `number`-th newest video with every documented field, `known` values first."""
    video_id = str(known.get("id", _FIRST_ID + number))
    link = f"https://www.tiktok.com/@fake/video/{video_id}"
    video: dict[str, Any] = {
        "id": video_id,
        "create_time": _NEWEST_VIDEO_AT - number * _DAY_S,
        "cover_image_url": f"https://cdn.example/{video_id}.jpeg",
        "share_url": link,
        "video_description": f"Video {number} #fake",
        "title": f"Video {number}",
        "embed_html": f'<blockquote cite="{link}"></blockquote>',
        "embed_link": link,
    }
    numbers = dict.fromkeys(VIDEO_FIELDS[-4:], 0) | {"duration": 15, "height": 1024, "width": 576}
    return video | numbers | dict(known)


def _known(videos: int | Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what is known of each video.

    Raises:
        ValueError: That is neither a number of videos nor what is known of each.
    """
    if isinstance(videos, Iterable) and not isinstance(videos, (str, bytes, Mapping)):
        videos = list(videos)
    check("videos", videos, _VIDEOS)
    return videos if isinstance(videos, list) else [{}] * cast("int", videos)


def _are_videos(videos: object) -> bool:
    if not isinstance(videos, list):
        return is_whole(videos) and 0 <= cast("int", videos) <= MAX_VIDEOS
    return len(videos) <= MAX_VIDEOS and all(
        isinstance(each, Mapping) and all(is_whole(each.get(name, 0)) for name in _NUMBERS) for each in videos
    )


_NUMBERS = ("create_time", "duration", "height", "width", *VIDEO_FIELDS[-4:])
_VIDEOS = Rule(
    f"a number from 0 to {MAX_VIDEOS}, or a list of videos, whose {', '.join(_NUMBERS)} are whole numbers",
    _are_videos,
)


@dataclass(frozen=True)
class User:
    """A TikTok user as the app sees them: `open_id` is per app, `union_id` per developer."""

    open_id: str
    union_id: str
    display_name: str
    videos: tuple[dict[str, Any], ...]

    @classmethod
    def make(cls, open_id: str | None, display_name: str, videos: int | Iterable[Mapping[str, Any]]) -> User:
        """Return a user with a random identity where none is given, and videos newest first.

        Raises:
            ValueError: What is given is no id, no name, or no videos.
        """
        check("open_id", "" if open_id is None else open_id, TEXT)
        check("display_name", display_name, NAME)
        known = _known(videos)
        made = [make_video(number, video) for number, video in enumerate(known)]
        made.sort(key=lambda video: -int(video["create_time"]))
        return cls(open_id or str(uuid.uuid4()), str(uuid.uuid4()), display_name, tuple(made))

    def number(self) -> str:
        """Return the id of what is theirs where ids are numbers: an advertiser's, a shop's."""
        return str(_FIRST_ID + zlib.crc32(self.open_id.encode()))

    def profile(self) -> dict[str, Any]:
        """Return every profile field that some scope grants."""
        username = "".join(self.display_name.lower().split())
        avatar = f"https://cdn.example/avatar/{self.union_id}"
        return {
            "open_id": self.open_id,
            "union_id": self.union_id,
            "avatar_url": f"{avatar}.jpeg",
            "avatar_url_100": f"{avatar}_100.jpeg",
            "avatar_large_url": f"{avatar}_large.jpeg",
            "display_name": self.display_name,
            "bio_description": "",
            "profile_deep_link": f"https://vm.tiktok.com/{username}/",
            "profile_web_link": f"https://www.tiktok.com/@{username}",
            "is_verified": False,
            "username": username,
            "follower_count": 0,
            "following_count": 0,
            "likes_count": sum(int(video["like_count"]) for video in self.videos),
            "video_count": len(self.videos),
        }

    def page(self, fields: Iterable[str], cursor: int | None, max_count: int) -> dict[str, Any]:
        """Return one page of videos older than `cursor`, which is a Unix time in milliseconds."""
        older = [video for video in self.videos if not cursor or video["create_time"] * 1000 < cursor]
        shown = older[:max_count]
        return {
            "videos": [{field: video[field] for field in fields} for video in shown],
            "cursor": shown[-1]["create_time"] * 1000 if shown else cursor or 0,
            "has_more": len(older) > max_count,
        }
