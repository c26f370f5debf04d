"""Shared parts of the commands: common options, loading, and checking keys."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from ..config.config import RESOLVED
from ..core.environment import Environment
from ..core.problems import Problem, did_you_mean, printable
from ..core.provenance import Layer
from ..settings.schema import Schema
from .app_discovery import KnownApps, applications, mentions, quiet

if TYPE_CHECKING:
    from ..loading.load import Loaded
    from ..loading.request import Request


def _folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """A parameter for which the shell completes folders."""
    del ctx, param
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --mode, --project-dir and --no-project; the command gets them as one `where`."""

    @click.option("--mode", type=click.Choice(["local", "cloud"]), help="Load as if in this mode.")
    @click.option(
        "--project-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        shell_complete=_folders,
        help="Use DIR's .stigmer/config.yaml instead of searching upwards from here.",
    )
    @click.option("--no-project", is_flag=True, help="Read no project file.")
    @click.option(
        "--app",
        "apps",
        multiple=True,
        metavar="MODULE:CLASS",
        help="Include this application's settings. Repeatable.",
    )
    @functools.wraps(command)
    def wrapped(
        mode: str | None, project_dir: Path | None, apps: tuple[str, ...], *, no_project: bool, **rest: Any
    ) -> None:
        where = CommandContext(mode, False if no_project else project_dir, apps, mentioned=mentions(rest.values()))
        command(where=where, **rest)

    return wrapped


def html_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--html FILE`; the command gets the open file, or None, as `page`."""
    option = click.option(
        "--html",
        "page",
        type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
        metavar="FILE",
        help="Write one self-contained HTML page to FILE instead (-: standard output). Secrets are masked.",
    )
    return option(command)


class CommandContext:
    """The configuration that a command uses."""

    def __init__(
        self,
        mode: str | None = None,
        project_dir: Path | Literal[False] | None = None,
        apps: tuple[str, ...] = (),
        *,
        mentioned: bool = False,
    ) -> None:
        """`apps` are the values of `--app`; `mentioned`: whether the arguments name an application's key."""
        self.mode = mode
        self.project_dir = project_dir
        self._apps = apps
        self._mentioned = mentioned

    @functools.cached_property
    def applications(self) -> KnownApps:
        """The applications that the command knows."""
        return applications(Environment.capture(), self.project_dir, self._apps, mentioned=self._mentioned)

    @property
    def schema(self) -> Schema:
        """The settings that the command knows."""
        return self.applications.schema

    def load(self, flags: tuple[Layer, Sequence[Problem]] | None = None) -> Loaded:
        """Loads it, even with faults."""
        request = self.request()
        if flags is not None:
            layer, problems = flags
            request = msgspec.structs.replace(request, flags=(layer, tuple(problems)))
        return read_quietly(request)

    def request(self) -> Request:
        """The request for `load`."""
        from ..loading.request import Request  # imported late: completion of a key loads nothing

        # Only workers run the commands of secrets.
        found = self.applications
        return Request(
            Environment.capture(),
            self.mode,
            "--mode",
            self.project_dir,
            runs_commands=False,
            schema=found.schema,
            app_problems=found.problems,
        )


def read_quietly(request: Request) -> Loaded:
    """Loads a request; what an application's own check prints goes to standard error."""
    from ..loading.load import read

    with quiet() if request.schema.apps else contextlib.nullcontext():
        return read(request)


def capture() -> Environment:
    """This process's environment."""
    return Environment.capture()


def require_key(key: str, schema: Schema, *, sections: bool = False) -> str:
    """Returns an existing key (or, with `sections`, a section). Raises a usage error (exit 2) with the nearest."""
    if key and sections and schema.is_section(key):
        return key
    if (schema.find(key) is not None or key in RESOLVED) and not _is_neighbour(key, schema):
        return key
    if key and schema.is_section(key):
        raise click.UsageError(f"{key} is a section; its keys and values: stigmer config show {key}")
    name, equals, _ = key.partition("=")
    if equals and schema.find(name) is not None:
        raise click.UsageError(f"write a space instead of the =: {name} VALUE")
    whole, _, part = key.rpartition(".")
    if whole.endswith((".parameters", ".headers")) and schema.find(whole) is not None:
        hint = f"it is part of {whole}: stigmer config set {whole} '{{{part}: VALUE}}'"
        raise click.UsageError(f"there is no key '{printable(key)}': {printable(hint)}")
    near = schema.suggest(key) if key else None
    lists = f"sections: {', '.join(schema.children[''])}; stigmer config show --all lists every key"
    hint = f"did you mean {near}?" if near else did_you_mean(key, schema.children, lists)
    raise click.UsageError(f"there is no key '{printable(key)}': {hint}")


def _is_neighbour(key: str, schema: Schema) -> bool:
    """Whether an unregistered application's name is nearly a registered one's."""
    from ..sources.app_entries import neighbour  # imported late: most machines have no applications

    names = schema.children["apps"]
    return bool(names) and schema.is_unregistered(key) and neighbour(key.split(".")[1], names) is not None


def require_alias(loaded: Loaded, key: str) -> None:
    """Raises a usage error (exit 2) for an `aliases.<name>` that is in no layer."""
    aliases = loaded.config.aliases
    if not key.startswith("aliases.") or key.removeprefix("aliases.") in aliases or _in_vain(loaded, key):
        return
    known = [f"aliases.{name}" for name in aliases]
    hint = did_you_mean(key, known, "stigmer config aliases lists them")
    raise click.UsageError(f"there is no key '{printable(key)}': {hint}")


def _in_vain(loaded: Loaded, key: str) -> bool:
    refused = any(key in layer.refused for layer in loaded.layers)
    return refused or any(p.key == key or p.key.startswith(f"{key}.") for p in loaded.problems)


def concerning(loaded: Loaded, key: str) -> list[Problem]:
    """The problems that affect a key's value.

    These are its own; for an `llm` key those of the provider's setting and of the aliases behind it; and those of the
    sections that contain these keys and of whole files, which might have set the value, unless the file's layer is
    below the layer of the value.
    """
    field = "model" if key in RESOLVED else key.removeprefix("llm.")
    concerned = {key}
    if key.startswith("llm."):
        concerned |= {f"llm.{field}", f"providers.{loaded.config.llm.provider}.{field}"}
    if field == "model":
        concerned |= {f"aliases.{hop.name}" for hop in loaded.config.explain("llm.model").hops}
        concerned.add(f"aliases.{loaded.config.llm.model}")  # the values that it might have had
    if key.startswith("aliases."):
        concerned |= {problem.key for problem in loaded.problems if problem.key.startswith(f"{key}.")}
    children = loaded.config.schema.children
    sections = {"", *(section for section in children if any(one.startswith(f"{section}.") for one in concerned))}
    return [
        problem
        for problem in loaded.problems
        if problem.key in concerned
        or (problem.key in sections and problem.severity == "error" and not _is_below(loaded, problem, key))
    ]


def _is_below(loaded: Loaded, problem: Problem, key: str) -> bool:
    """Whether a key's value is in a layer above a problem's layer, whose value would lose."""
    if key in RESOLVED or key in ("locked", "enforced"):  # the union of all layers
        return False
    origin = loaded.config.explain(key).origin
    if origin is None or problem.origin is None:
        return False
    order = [layer.name for layer in loaded.layers]
    return order.index(problem.origin.layer) < order.index(origin.layer)
