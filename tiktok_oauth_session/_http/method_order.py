"""Whose `request` and `send` the requests of a session pass through."""

from __future__ import annotations

import functools
import itertools
import types
from typing import Any

import requests
from requests.sessions import SessionRedirectMixin
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session._http.cached_replies import keeps_replies


class PastOAuth2Session(OAuth2Session):
    """Stands right before `OAuth2Session`, and passes over its `request`."""

    def request(  # type: ignore[override]  # the stubs spell out requests' own keywords
        self,
        method: str,
        url: str,
        data: Any = None,
        headers: Any = None,
        withhold_token: bool = False,  # noqa: FBT001, FBT002 - the parent's signature
        client_id: str | None = None,
        client_secret: str | None = None,
        files: Any = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Hand a request on to whatever stands after `OAuth2Session`, without what is that one's own."""
        return super(OAuth2Session, self).request(
            method, url, data=data, headers=headers, files=files, **kwargs
        )


def look_beside(cls: Any) -> None:
    """Look once at what stands beside ours in a class.

    Raises:
        TypeError: A class stands where nobody would call it.
    """
    _require_called(cls)
    cls._keeps_replies = keeps_replies(cls)
    cls._takes_positional = _takes_positional(cls)


def _require_called(cls: type) -> None:
    """Refuse a class behind requests' own, which call nobody.

    Raises:
        TypeError: There is one that has a `request` or a `send`.
    """
    order = cls.__mro__
    for each in order[order.index(SessionRedirectMixin) + 1 :]:
        if {"request", "send"} & vars(each).keys():
            raise TypeError(
                f"{each.__name__} stands behind requests.Session in {cls.__name__}, where nobody calls it: "
                "put it before the session, or a session of its kind (such as CachedSession) after it."
            )


def _takes_positional(cls: type) -> type | None:
    """Return the class that takes a session's first argument for something of its own, if one does."""
    first = next(each for each in cls.__mro__ if "__init__" in vars(each))
    code: types.CodeType | None = getattr(first.__init__, "__code__", None)  # type: ignore[misc]  # asks a class
    takes_one = code is not None and code.co_argcount > 1
    return first if takes_one and not issubclass(first, OAuth2Session) else None


def class_to_make(cls: type, mixin: type) -> type:
    """Return what a session is to be an instance of: nearly always the class itself.

    It becomes a subclass of it, made once, where `requests.Session` is another class now than when
    requests-oauthlib was imported, so that what was put there is called; and where a class stands between
    ours and `OAuth2Session`, whose `super().request` would end in the one that is to be passed over.

    Args:
        cls: The class that somebody makes an instance of.
        mixin: The class of ours whose `request` it has.
    """
    in_place: Any = requests.Session
    # A mock is no class.
    return _class_to_make(cls, mixin, in_place if isinstance(in_place, type) else object)


@functools.lru_cache(maxsize=64)
def _class_to_make(cls: type, mixin: type, in_place: type) -> type:
    order = cls.__mro__
    further: list[type] = []
    body: dict[str, Any] = {name: getattr(cls, name) for name in ("__doc__", "__module__", "__qualname__")}
    after = itertools.islice(order, order.index(mixin) + 1, order.index(OAuth2Session))
    if any("request" in vars(each) for each in after):
        further.append(PastOAuth2Session)
        body["_passed_over"] = mixin
    if (
        issubclass(in_place, OAuth2Session.__bases__)
        and in_place not in order
        and not issubclass(in_place, OAuth2Session)
    ):
        further.append(in_place)
    if not further:
        return cls
    return _unannounced(cls.__name__, (cls, *further), body)


def _unannounced(name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    """Make a class that no base is told of: to whoever wrote them it is none of their subclasses."""

    class First:
        """Stands before whoever else has an `__init_subclass__`."""

        __slots__ = ()

        def __init_subclass__(cls) -> None:
            """Hand nothing on."""

    made = types.new_class(name, (First, *bases), exec_body=lambda namespace: namespace.update(body))
    # Whoever derives from it in turn is announced as ever.
    del First.__init_subclass__
    look_beside(made)
    return made
