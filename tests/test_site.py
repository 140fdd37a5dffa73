"""The documentation's site: what has to be on it. `.ci/run` builds it, without a warning."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path

import pytest

import tiktok_oauth_session

DOCS = Path(__file__).parents[1] / "docs"
PACKAGE = Path(tiktok_oauth_session.__file__).parent
ROOT = tiktok_oauth_session.__name__

#: Modules whose names are public, beside the root and `contrib`.
MODULES = """
    errors events keepalive qr shop_signature webhooks
    stores stores.encrypted stores.redis stores.sql
    testing testing.conformance testing.pytest_plugin
"""
#: What has no underscore and is for this package's own use, or pytest's.
OWN = {
    "errors.new_error",
    "errors.reason_of",
    "events.tell",
    "testing.pytest_plugin.pytest_configure",
}
#: Modules that Django or a project's settings name, and no program imports.
DJANGOS = {"apps", "checks", "columns", "engines", "management", "migrations", "urls"}


def path_of(module):
    """Return the file of a module of ours."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def names_in(module):
    """Return what a module defines and imports from others of ours: each name, and the module it is of.

    Nothing is imported: not every framework is installed, and Django wants settings.
    """
    names = {}
    tree = ast.parse(path_of(module).read_text("utf-8"))
    package = module if path_of(module).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            if source.startswith(ROOT):
                names.update({alias.asname or alias.name: source for alias in node.names})
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names[node.name] = module
    return names


def home(module, name):
    """Return the full name of something in the module that defines it."""
    source = names_in(module).get(name, module)
    return f"{module}.{name}" if source == module else home(source, name)


def public_names(module):
    """Return the public names of a module: by its own word, or else what it defines."""
    text = path_of(module).read_text("utf-8")
    if own_word := re.search(r"^__all__ = (\[.*?\])", text, re.DOTALL | re.MULTILINE):
        return set(ast.literal_eval(own_word[1]))
    return {name for name, source in names_in(module).items() if source == module and name[0] != "_"}


def described():
    """Return everything that the reference describes, by its full name."""
    names, module = set(), None
    for page in (DOCS / "api").glob("*.md"):
        for directive, name in re.findall(r"^\.\. (\w+):: ([\w.]+)", page.read_text("utf-8"), re.MULTILINE):
            if directive in ("automodule", "module", "currentmodule"):
                module = name
            else:
                names.add(name if name.startswith(ROOT) else f"{module}.{name}")
    return names


def frameworks():
    """Return the modules for frameworks."""
    for path in sorted((PACKAGE / "contrib").rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if "._" not in name and not DJANGOS & set(name.split(".")):
            yield name


def test_reference__root():
    """Every name of the root is described under that name."""
    assert {f"{ROOT}.{name}" for name in tiktok_oauth_session.__all__} <= described()


@pytest.mark.parametrize("name", [*MODULES.split(), *frameworks()])
def test_reference__module(name):
    """So is every public name of a public module, there or where else it can be imported from."""
    module = f"{ROOT}.{name}"
    homes = {home(*each.rpartition(".")[::2]) for each in described()}
    public = {each for each in public_names(module) if f"{name}.{each}" not in OWN}

    assert {each for each in public if home(module, each) not in homes} == set()


def test_reference__everything_there_is():
    """What is exempt exists, and so does every module that is listed."""
    assert {
        each for each in OWN if each.rpartition(".")[2] in names_in(f"{ROOT}.{each.rpartition('.')[0]}")
    } == OWN
    assert all(path_of(f"{ROOT}.{name}").is_file() for name in MODULES.split())
