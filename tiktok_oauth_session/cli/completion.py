"""``completion SHELL``: a script that completes the command's own words."""

from __future__ import annotations

import argparse
from typing import Any

from tiktok_oauth_session.cli.exits import EXIT_OK

SHELLS = ("bash", "zsh", "fish")

#: The subcommand that takes an account without ``--account``, and the accounts as each shell lists them.
_SWITCH = "switch"
_BASH_ACCOUNTS = ' "$(tiktok-oauth accounts 2>/dev/null)"'
_ZSH_ACCOUNTS = ' ${(f)"$(tiktok-oauth accounts 2>/dev/null)"}'
_FISH_ACCOUNTS = "'(tiktok-oauth accounts 2>/dev/null)'"

_HOW = 'Load it with eval "$(tiktok-oauth completion bash)", or zsh; tiktok-oauth completion fish | source'

# Not compgen -W: it runs what stands in $(...), and an account's name is whatever a store says.
_BASH = """\
# Completion for tiktok-oauth in bash.
_tiktok_oauth() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words="" each
    if [ "$COMP_CWORD" -gt 1 ] && [ "$before" = --account ]; then
        words=$(tiktok-oauth accounts 2>/dev/null)
    elif [ "$COMP_CWORD" -eq 1 ]; then
        words=$(printf '%s\\n' {commands})
    else
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    fi
    COMPREPLY=()
    while IFS= read -r each; do
        [[ -n $each && $each == "$word"* ]] && COMPREPLY+=("$(printf %q "$each")")
    done <<< "$words"
}}
complete -o default -F _tiktok_oauth tiktok-oauth
"""
_ZSH = """\
#compdef tiktok-oauth
# Completion for tiktok-oauth in zsh.
_tiktok_oauth() {{
    local -a options
    if (( CURRENT == 2 )); then
        options=({commands})
    elif [[ $words[CURRENT-1] == --account ]]; then
        options=(${{(f)"$(tiktok-oauth accounts 2>/dev/null)"}})
    else
        case $words[2] in
{cases}
        esac
    fi
    compadd -a options
}}
compdef _tiktok_oauth tiktok-oauth
"""


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "completion",
        help="print a shell's completion script",
        description=f"Print a script that completes commands, options and accounts. {_HOW}.",
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    words = known_words(arguments.whole_parser())
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](words), end="")
    return EXIT_OK


def known_words(command: argparse.ArgumentParser) -> dict[str, dict[str, str]]:
    """Return each subcommand's options and what their help says; under an empty name, the subcommands."""
    groups = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - argparse tells nobody else
    summaries = {each.dest: each.help or "" for each in groups[0]._choices_actions}  # noqa: SLF001 - see above
    words = {"": summaries}
    for name, subcommand in groups[0].choices.items():
        options = [(option, action) for action in subcommand._actions for option in action.option_strings]  # noqa: SLF001 - see above
        choices = [c for a in subcommand._actions if not a.option_strings for c in a.choices or ()]  # noqa: SLF001 - see above
        words[name] = {option: str(action.help) for option, action in options} | dict.fromkeys(choices, "")
    return words


def _bash(words: dict[str, dict[str, str]]) -> str:
    offers = _offers(words, _BASH_ACCOUNTS)
    cases = [f"            {name}) words=$(printf '%s\\n' {offered}) ;;" for name, offered in offers]
    return _BASH.format(commands=" ".join(words[""]), cases="\n".join(cases))


def _zsh(words: dict[str, dict[str, str]]) -> str:
    offers = _offers(words, _ZSH_ACCOUNTS)
    cases = [f"            {name}) options=({offered}) ;;" for name, offered in offers]
    return _ZSH.format(commands=" ".join(words[""]), cases="\n".join(cases))


def _offers(words: dict[str, dict[str, str]], accounts: str) -> list[tuple[str, str]]:
    """Return what a shell offers after each subcommand."""
    return [
        (name, " ".join(options) + accounts * (name == _SWITCH)) for name, options in words.items() if name
    ]


def _fish(words: dict[str, dict[str, str]]) -> str:
    lines = ["# Completion for tiktok-oauth in fish.", "complete -c tiktok-oauth -f"]
    for name, summary in words[""].items():
        lines.append(f"complete -c tiktok-oauth -n __fish_use_subcommand -a {name} -d {_quoted(summary)}")
    for name, options in words.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        for option, text in options.items() if name else ():
            lines.append(f"complete -c tiktok-oauth -n {seen} {_fish_option(option)} -d {_quoted(text)}")
    lines.append(f"complete -c tiktok-oauth -n '__fish_seen_subcommand_from {_SWITCH}' -a {_FISH_ACCOUNTS}")
    return "\n".join(lines) + "\n"


def _fish_option(option: str) -> str:
    if option == "--account":
        return f"-l account -x -a {_FISH_ACCOUNTS}"
    if option.startswith("--"):
        return f"-l {option[2:]}"
    return f"-s {option[1:]}" if option.startswith("-") else f"-a {option}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
