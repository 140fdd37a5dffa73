"""docs/cli.md says what ``--help`` says, and its examples are commands that there are."""

from __future__ import annotations

import re
import shlex

import pytest
from pages import blocks as code_blocks
from reference import PAGE, blocks, subcommands, written

from tiktok_oauth_session.cli import COMMANDS, exits, main, parser

#: A command's arguments, up to what belongs to the shell around it.
EXAMPLE = re.compile(r"""\btiktok-oauth ((?:'[^']*'|"[^"$]*\$TIKTOK[^"]*"|[^|)&;#\n'"])*)""")


@pytest.fixture(scope="module")
def page():
    """The page as it is."""
    return PAGE.read_text(encoding="utf-8")


def test_page__is_up_to_date(page):
    """Options, descriptions and exit codes are the command's own. Run tests/cli/reference.py if not."""
    assert written(page) == page


@pytest.mark.parametrize("mark", sorted(blocks()))
def test_page__has_everything(page, mark):
    """Every command, and the exit codes, have their place on the page, once."""
    assert 1 == page.count(f"<!-- {mark} -->\n")


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_help__says_the_same(capsys, name):
    """``--help`` has every option of the page with the same words."""
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", blocks()[f"command {name}"], re.MULTILINE)

    assert 0 == end.value.code
    for names, words in rows:
        assert names.partition(",")[0].partition(" ")[0] in said
        # argparse breaks lines at hyphens.
        assert words.replace("- ", "-") in said.replace("- ", "-")


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_help__usage(name):
    """The usage line begins with what has to be typed, and nothing else."""
    usage = subcommands()[name].format_usage()

    assert usage.startswith(f"usage: tiktok-oauth {name} [")


def test_help__every_command():
    """The help lists every command that there is, in the documented order."""
    assert list(COMMANDS) == list(subcommands())
    assert [] == [name for name in COMMANDS if f"    {name}" not in parser().format_help()]


def test_exit_codes__all_documented():
    """Every exit code has its meaning."""
    codes = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}

    assert codes == set(exits.MEANINGS) == set(exits.SUMMARIES)


@pytest.mark.parametrize(
    ("where", "at_least"),
    [("docs/cli.md", 10), ("docs/keep-alive.md", 1), ("docs/business.md", 4), ("docs/shop.md", 4)],
)
def test_page__examples_parse(where, at_least):
    """Every command line in a code block is one that the command understands."""
    lines = [line for code in code_blocks(where, "sh") for line in EXAMPLE.findall(code)]

    assert len(lines) >= at_least
    for line in lines:
        words = shlex.split(line)
        parser().parse_args(words)


def test_version(run):
    """The version is the package's."""
    assert re.fullmatch(r"tiktok-oauth \d+\.\d+\.\d+\S*\n", run("--version").out)


def test_no_command(run):
    """Without a command it shows the help: exit code 2."""
    code, out, _ = run()

    assert 2 == code
    assert out.startswith("usage: tiktok-oauth COMMAND")


def test_bad__unknown_command(run):
    """A command that there is not: exit code 2, one line."""
    code, out, err = run("dance")

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert "invalid choice: 'dance'" in err


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_bad__unknown_option(run, name):
    """An option that there is not: exit code 2, one line that names the command whose help to read."""
    operands = {"completion": ["bash"], "api": ["user/info"], "import": ["-"]}
    code, out, err = run(name, *operands.get(name, []), "--bogus")

    assert (2, "") == (code, out)
    assert f"tiktok-oauth: unrecognized arguments: --bogus (see tiktok-oauth {name} --help)\n" == err
