"""`stigmer config trust`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click
import msgspec

from ...core.problems import is_word, printable, quoted
from ...core.provenance import Layer
from ...files.atomic_write import SaveError
from ...llm.provider_selection import CredentialGrant
from ...loading.load import Loaded
from ...loading.request import Request
from ...sources.discovery import NO_HOME
from ...trust import grants
from ..options import CommandContext, common, read_quietly
from ..output import render
from ..output.problems import FAULTY, OK, print_problems
from ..output.table import fold, terminal_width


@click.command("trust")
@click.option("--show", "shows", is_flag=True, help="Show what is granted, and change nothing.")
@click.option("--revoke", "revokes", is_flag=True, help="Withdraw the grant.")
@click.option(
    "--with-credentials",
    "credentials",
    is_flag=True,
    help="Also allow your keys to be sent to the project's endpoints.",
)
@common
def command(where: CommandContext, *, shows: bool, revokes: bool, credentials: bool) -> None:
    """Allow the project's file to set endpoints, providers and other protected settings.

    It lists exactly what would change and asks for confirmation; the default is No. The grant covers these
    settings as they are now, and ends when one of them changes. A project can never set secrets, the mode or
    locked keys.

    Without a terminal, STIGMER_TRUST_PROJECT=DIGEST grants the same for one process; --show prints the digest.

    \b
    Examples:
      stigmer config trust
      stigmer config trust --show
      stigmer config trust --with-credentials
      stigmer config trust --revoke
    """
    if shows + revokes + credentials > 1:
        raise click.UsageError("--show, --revoke and --with-credentials exclude each other")
    request = where.request()
    if request.environment.state_dir is None and not shows:
        click.echo(f"a grant cannot be kept: {NO_HOME}\nhint: set HOME, or STIGMER_HOME", err=True)
        raise SystemExit(FAULTY)
    loaded = read_quietly(request)
    project = _project(loaded)
    if revokes:
        had = grants.revoke(request.environment, project.source)
        shown = printable(render.from_home(project.source))
        click.echo(f"the grant for {shown} is revoked" if had else f"there was no grant for {shown}")
    elif shows:
        _show(request, loaded, project)
    else:
        _ask(request, credentials=credentials)
    raise SystemExit(OK)


def _project(loaded: Loaded) -> Layer:
    project = next(layer for layer in loaded.layers if layer.name == "project")
    if project.text is None:
        click.echo(f"there is no project file to trust: {printable(project.why)}", err=True)
        print_problems([problem for problem in loaded.problems if problem.origin and problem.origin.layer == "project"])
        raise SystemExit(FAULTY)
    return project


def _whole(project: Layer) -> Layer:
    """The project's layer before vetting, with the whole content of the file."""
    refused = {key: refusal.entry for key, refusal in project.refused.items()}
    return msgspec.structs.replace(project, entries={**project.entries, **refused})


def _show(request: Request, loaded: Loaded, project: Layer) -> None:
    whole = _whole(project)
    covered = grants.covered(whole)
    _, grant = grants.recorded_grant(request.environment, project.source)
    digest = grants.digest(covered)
    trusted = bool(grants.decide(request.environment, whole).covered)
    click.echo(f"project: {printable(render.from_home(project.source))}")
    state = "trusted" if trusted else "not trusted" if covered else "nothing in it needs trust"
    if grant is not None and not trusted and covered:
        state = "not trusted any more: it was changed since it was granted"
    doubts = grants.decide(request.environment, whole).problems
    if doubts:
        state = f"not trusted: {printable(doubts[0].message)}\nhint:    {printable(doubts[0].hint)}"
    click.echo(f"state:   {state}")
    click.echo(f"digest:  {digest}")
    for key, value in covered.items():
        _echo_change(loaded, whole, key, value)
    for allowed in grant.credential_grants if grant is not None and trusted else ():
        click.echo(f"  {_named(allowed)} may go to {allowed.endpoint}")


def _ask(request: Request, *, credentials: bool) -> None:
    """Shows the changes, asks for confirmation, reads the file again, and records only what was shown."""
    while True:
        loaded = read_quietly(request)
        project = _whole(_project(loaded))
        covered = grants.covered(project)
        if not covered:
            click.echo(f"nothing in {printable(render.from_home(project.source))} needs trust")
            return
        granted = _granted(request, project)
        withheld = granted.derivation.withheld_credentials()
        _list(loaded, granted, project, withheld, credentials=credentials)
        if not click.confirm("Trust these settings?", default=False, err=True):
            click.echo("nothing was granted", err=True)
            raise SystemExit(FAULTY)
        again = _whole(_project(read_quietly(request)))
        if grants.covered(again) == covered:
            _record(request, project, withheld if credentials else ())
            return
        click.echo("the file has changed in the meantime; this is what it says now", err=True)


def _record(request: Request, project: Layer, credentials: Iterable[CredentialGrant]) -> None:
    path = printable(render.from_home(str(grants.path_of(request.environment, project.source))))
    try:
        grants.record(request.environment, project, credentials)
    except (OSError, SaveError) as error:
        why = str(error) if isinstance(error, SaveError) else error.strerror or str(error)
        click.echo(f"nothing was granted: {path} cannot be written: {printable(why)}", err=True)
        raise SystemExit(FAULTY) from None
    click.echo(f"granted; recorded in {path}")


def _granted(request: Request, project: Layer) -> Loaded:
    """The load with these settings granted, but no credential."""
    world = request.environment
    variables = {**world.variables, "STIGMER_TRUST_PROJECT": grants.digest(grants.covered(project))}
    # Ignore the record of an earlier grant: its credentials need a new confirmation.
    environment = msgspec.structs.replace(world, variables=variables, state_dir=None)
    return read_quietly(msgspec.structs.replace(request, environment=environment))


def _list(
    loaded: Loaded, granted: Loaded, project: Layer, withheld: tuple[CredentialGrant, ...], *, credentials: bool
) -> None:
    """Prints exactly what would change."""
    click.echo(f"{printable(render.from_home(project.source))} asks for:")
    for key, value in grants.covered(project).items():
        _echo_change(loaded, project, key, value)
    llm = granted.config.llm
    click.echo(f"then {llm.provider} serves {llm.model or 'no model'} at {llm.base_url or 'no address'}")
    for allowed in withheld:
        goes = "goes" if credentials else "does not go"
        click.echo(f"  and {_named(allowed)} {goes} to {allowed.endpoint}")
    if withheld and not credentials:
        click.echo("  --with-credentials would allow it")


def _named(allowed: CredentialGrant) -> str:
    """A credential's key and origin."""
    return f"{allowed.key} from {printable(render.from_home(allowed.source))}"


def _echo_change(loaded: Loaded, project: Layer, key: str, value: Any) -> None:
    click.echo("\n".join(fold(_change(loaded, project, key, value), terminal_width(sys.stdout), 4)))


def _change(loaded: Loaded, project: Layer, key: str, value: Any) -> str:
    """A setting's current value and the project's; only the project's when it is in force."""
    origin, current = project.entries[key].origin, loaded.config.explain(key)
    wanted = f"{_value(value)} (line {origin.line})"
    if current.origin == origin:
        return f"  {printable(key)}: {wanted}"
    place = f" ({printable(render.from_home(str(current.origin)))})" if current.origin is not None else ""
    return f"  {printable(key)}: {_value(current.value)}{place} → {wanted}"


def _value(value: Any) -> str:
    """A value for the list: quoted unless it is a word, and cut, so that it does not scroll others off the screen."""
    if isinstance(value, str):
        return value if is_word(value) else quoted(value, 200)
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(name))}: {_value(part)}" for name, part in value.items())
    return render.text(value)[:200]
