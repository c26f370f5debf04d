"""Completion in bash, zsh and fish: click's own, with fixes for its shortcomings.

A word that continues (`KEY=`, `provider:`, `section.`) gets no space after it. bash splits words at `=`, `:` and `@`;
here they are joined. `--option=VALUE` keeps its option. A note in fish may contain commas.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import NoReturn

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

VARIABLE = "_STIGMER_COMPLETE"
_BREAKS = frozenset(":=@")  # the characters of COMP_WORDBREAKS that occur in our words

_BASH_END = "\n    return 0\n"
_BASH_OPEN = "\n    [[ ${COMPREPLY[*]-} == *[=:.] && ${#COMPREPLY[@]} == 1 ]] && compopt -o nospace\n"
_ZSH_END = "compadd -U -V unsorted -a completions\n"
_ZSH_OPEN = (
    "local -a open=(${(M)completions:#*[=:.]})\n"
    "        completions=(${completions:#*[=:.]})\n"
    "        (( $#open )) && compadd -U -V unsorted -S '' -a open\n"
    "        (( $#completions )) && "
)
_FISH_SPLIT = 'string split ","'


class _Whole(ShellComplete):
    """Candidates that replace the whole word: with `--option=` if that was typed."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("-"):
            for item in items:
                item.value = f"{option}={item.value}"
        return items


class Bash(_Whole, BashComplete):
    """bash passes the parts of a word, and replaces only the last part."""

    source_template = BashComplete.source_template.replace(_BASH_END, _BASH_OPEN + _BASH_END, 1)
    kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        at = int(os.environ["COMP_CWORD"])
        parts = [*os.environ["COMP_WORDS"].split("\n"), ""][: at + 1]
        words: list[str] = []
        joins = False
        for part in parts:
            is_break = bool(part) and _BREAKS.issuperset(part)
            if words and part and (is_break or joins):
                words[-1] += part
            else:
                words.append(part)
            joins = is_break
        last = parts[-1]
        self.kept = words[-1] if joins else words[-1].removesuffix(last)
        plain = ["".join(split_arg_string(word)[:1]) for word in words]
        return plain[1:-1], plain[-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        items = super().get_completions(args, incomplete)
        for item in items:
            item.value = item.value.removeprefix(self.kept)
        return items


class Zsh(_Whole, ZshComplete):
    """zsh adds a space to a single candidate unless an option forbids it."""

    source_template = ZshComplete.source_template.replace(_ZSH_END, _ZSH_OPEN + _ZSH_END, 1)


class Fish(_Whole, FishComplete):
    """fish splits its fields at commas."""

    source_template = FishComplete.source_template.replace(_FISH_SPLIT, 'string split --max 1 ","', 1)


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}
for _name, _class in SHELLS.items():
    add_completion_class(_class, _name)


def script(cli: click.Command, shell: str) -> str:
    """The script that a shell evaluates. Raises `KeyError` for a shell that is not in `SHELLS`."""
    return SHELLS[shell](cli, {}, "stigmer", VARIABLE).source().rstrip("\n") + "\n"


def answer(cli: click.Command) -> NoReturn:
    """Prints the candidates for a shell, and exits. It never prints anything else, even after an error."""
    with contextlib.suppress(Exception, KeyboardInterrupt), contextlib.redirect_stderr(io.StringIO()):
        shell_complete(cli, {}, "stigmer", VARIABLE, os.environ[VARIABLE])
    sys.exit(0)
