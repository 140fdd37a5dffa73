"""The pages of the documentation, and the code in them, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[1]
#: Every page, from the top of the checkout.
PAGES = [
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    *(str(page.relative_to(TOP)) for page in sorted((TOP / "docs").rglob("*.md"))),
]


def blocks(page, language="python"):
    """Return the blocks of a language that begin at the left edge of a page, in their order."""
    found = re.findall(r"^```(\S*)\n(.*?)^```$", (TOP / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [code for each, code in found if each == language]


def run(code, page, names):
    """Run a block of a page."""
    exec(compile(code, page, "exec"), names)  # noqa: S102 - our own documentation
