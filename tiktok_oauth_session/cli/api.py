"""``api PATH``: one call of TikTok's API."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.sessions import session_for
from tiktok_oauth_session.cli.settings.surface import platform
from tiktok_oauth_session.cli.stores.account_option import add_options, choose
from tiktok_oauth_session.cli.terminal.output import print_json
from tiktok_oauth_session.cli.terminal.signals import finishing_first

if TYPE_CHECKING:
    import requests

    from tiktok_oauth_session.platforms import Platform
    from tiktok_oauth_session.session import TikTokOAuth2Session

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "api",
        help="call TikTok's API",
        description="Call TikTok's API with an account's token, refreshed first if it is time, and print the "
        "reply as JSON. Exits with 0 only if TikTok says ok, whatever the HTTP status.",
        epilog="Example: tiktok-oauth api user/info -f fields=open_id,display_name",
    )
    parser.add_argument("path", metavar="PATH", help="such as user/info or v2/video/list/")
    parser.add_argument(
        "-f",
        "--field",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="a query parameter; may be repeated",
    )
    parser.add_argument(
        "-d",
        "--data",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="a member of the JSON body: JSON if VALUE is JSON, else text; may be repeated; makes it a POST",
    )
    parser.add_argument("--input", metavar="FILE", help="take the JSON body from a file, or from - for stdin")
    parser.add_argument(
        "-X",
        "--method",
        choices=_METHODS,
        metavar="METHOD",
        help="the HTTP method (default: GET, or POST with a body)",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Call the API and print its reply."""
    from tiktok_oauth_session._oauth.responses import json_object, unwrap

    body = _body(arguments)
    url, query = _address(arguments.path, platform())
    store = stores.open_store(arguments.store)
    session = session_for(store, choose(store, arguments))
    method = arguments.method or ("GET" if body is None else "POST")
    response = _call(session, method, url, params=[*query, *arguments.field], json=body)
    reply = json_object(response)
    if reply is not None:
        print_json(reply)
    unwrap(response)
    return EXIT_OK


def _call(session: TikTokOAuth2Session, method: str, url: str, **content: Any) -> requests.Response:
    """Call the API; a signal waits for a refresh, before the call or within it, and for nothing else."""
    from tiktok_oauth_session._oauth.responses import says_token_is_dead

    with finishing_first():
        session.fresh_token()
    refused = False
    with contextlib.ExitStack() as refreshing:

        def look(reply: requests.Response, **_: object) -> None:
            nonlocal refused
            # Read here: of a body that is yet to be read nobody knows what it says.
            if reply.content and not refused and says_token_is_dead(session.platform, reply):
                # What comes next may be a refresh. There is none after the second refusal.
                refused = True
                refreshing.enter_context(finishing_first())

        hooks = {"response": look}
        return session.request(method, url, timeout=session.token_timeout, hooks=hooks, **content)


def _address(path: str, surface: Platform) -> tuple[str, list[tuple[str, str]]]:
    """Return a call's URL and the query that was part of what the user gave.

    Raises:
        Stop: It is not on the host that may see the token.
    """
    try:
        parts = urlsplit(path)
    except ValueError:
        raise Stop(f"{path} is no path of TikTok's API.", EXIT_USAGE) from None
    if parts.scheme or parts.netloc:
        if not path.startswith(f"{surface.api_base}/"):
            raise Stop(f"{path} is not on TikTok's API host, so the token is not shown there.", EXIT_USAGE)
        return path.partition("?")[0], parse_qsl(parts.query)
    before, _, after = surface.api_path.partition("{}")
    below = urlsplit(surface.api_base or "").path.strip("/")
    name = parts.path.strip("/").removeprefix(f"{below}/").removeprefix(before.lstrip("/"))
    if not name or ".." in name.split("/"):
        raise Stop(f"{path} is no path of TikTok's API.", EXIT_USAGE)
    return f"{surface.api_base}{before}{name}{after}", parse_qsl(parts.query)


def _body(arguments: argparse.Namespace) -> Any:
    if arguments.input is not None and arguments.data:
        raise Stop("Give the body with --data or with --input, not with both.", EXIT_USAGE)
    if arguments.input is None:
        return {name: _value(text) for name, text in arguments.data} or None
    try:
        with sys.stdin if arguments.input == "-" else open(arguments.input, encoding="utf-8") as file:  # noqa: PTH123 - or stdin
            return json.load(file)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise Stop(f"The body in {arguments.input} cannot be used: {what}.", EXIT_USAGE) from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
