"""The options of every command, as docs/cli.md lists them; run it to write them anew."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tiktok_oauth_session.cli import parser
from tiktok_oauth_session.cli.exits import MEANINGS

PAGE = Path(__file__).parents[2] / "docs/cli.md"


def subcommands():
    """Return each subcommand's parser."""
    (group,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return group.choices


def options(name):
    """Return a subcommand's description and options in Markdown."""
    command = subcommands()[name]
    lines = [command.description, *([command.epilog] if command.epilog else []), ""]
    rows = [_row(action) for action in command._actions if action.dest != "help"]
    if rows:
        lines += ["| option | |", "| --- | --- |", *rows]
    return "\n".join(lines).rstrip()


def _row(action):
    value = "" if action.nargs == 0 else f" {action.metavar}"
    names = ", ".join(action.option_strings) + value if action.option_strings else action.metavar
    return f"| `{names}` | {action.help} |"


def exit_codes():
    """Return the table of exit codes in Markdown."""
    rows = [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | |", "| --- | --- |", *rows])


def blocks():
    """Return what the page has to say between its marks, by mark."""
    return {"exit-codes": exit_codes(), **{f"command {name}": options(name) for name in subcommands()}}


def written(page):
    """Return a page with every marked block written anew."""
    for mark, text in blocks().items():
        pattern = rf"(<!-- {re.escape(mark)} -->\n).*?(\n<!-- end -->)"
        page = re.sub(pattern, lambda found, text=text: found[1] + text + found[2], page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
