"""How Sphinx makes the site of these pages: ``sphinx-build -W -n --keep-going -b html docs OUT``."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import django
from django.conf import settings
from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import inspect

from tiktok_oauth_session import LOGIN_KIT

# Models are read, and no database.
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "tiktok_oauth_session.contrib.django",
    ],
)
django.setup()

project = "tiktok-oauth-session"
author = "tiktok-oauth-session contributors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = importlib.metadata.version(project)
html_theme = "furo"
html_title = f"{project} {release}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
exclude_patterns = ["examples"]

myst_heading_anchors = 4  # the anchors that code hosts make, too
myst_fence_as_directive = ["mermaid"]
mermaid_fullscreen = False

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_mock_imports = ["allauth", "pytest"]  # fixtures are then the functions that they were made of
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# There is no net where this is built, so nothing leads to the documentation of others.
nitpick_ignore_regex = [
    (r"py:.*", r"(abc|collections|contextlib|enum|os|threading|types|typing)\..*"),  # Python's
    (
        r"py:.*",
        r"(allauth|blinker|django|flask|flask_dance|httpx2|oauthlib|redis|requests|requests_oauthlib)\..*",
    ),
    (r"py:.*", r"(sqlalchemy|starlette)\..*"),
    (r"py:exc", r"ImproperlyConfigured|InsecureTransportError"),  # Django's, and oauthlib's
]

#: What single backticks are in a docstring: see `find_name`.
default_role = "py:obj"


def find_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: Element) -> Element | None:
    """Lead from a name in single backticks to where it is described; a parameter's name is just code.

    Names in annotations are not spared: one that is not described here has to be in `nitpick_ignore_regex`.
    """
    if (node["refdomain"], node["reftype"]) != ("py", "obj"):
        return None
    target = node["reftarget"].removesuffix("()")
    found = env.domains.python_domain.find_obj(
        env, node.get("py:module"), node.get("py:class"), target, None, 1
    )
    # An attribute of some other class is not what a parameter's name means.
    named = "." in target or (found and found[0][1].objtype in ("class", "data", "exception", "function"))
    if len(found) != 1 or not named:
        return contnode
    return env.domains.python_domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", found[0][0], node, contnode
    )


def show_parameters(
    _app: Sphinx, what: str, _name: str, obj: Any, _options: Any, signature: str | None, _returns: str | None
) -> tuple[str, None] | None:
    """Show the constructor's parameters where ``__new__`` takes just any."""
    if what != "class" or not (signature or "").startswith("(*args"):
        return None
    parameters = inspect.signature(obj.__init__, bound_method=True)
    shown = inspect.stringify_signature(parameters, show_annotation=False)
    return shown.replace(repr(LOGIN_KIT), "LOGIN_KIT"), None


def adapt_links(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Read links as a code host does: those to pages outside this folder, and the lists of a first page.

    The former become downloads; the latter are the table of contents.
    """
    source[0] = re.sub(r"\]\((\.\./[A-Z]+\.md)\)", r"](<path:\1>)", source[0])
    if docname.rpartition("/")[2] != "index":
        return
    for section in source[0].split("\n## ")[1:]:
        caption = section.partition("\n")[0]
        pages = "\n".join(re.findall(r"^- \[.*?\]\(([\w/-]+)\.md\)", section, re.MULTILINE))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Have them called."""
    app.connect("missing-reference", find_name)
    app.connect("autodoc-process-signature", show_parameters)
    app.connect("source-read", adapt_links)
