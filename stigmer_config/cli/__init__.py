"""The `stigmer` command's entry point."""

from __future__ import annotations

import contextlib
import gc
import os
import sys


def main() -> None:
    """The command's entry point. It never shows a traceback."""
    gc.set_threshold(50_000)  # a command ends soon: what it imports would be searched for garbage dozens of times
    try:
        _run()
    finally:
        gc.freeze()  # nor does Python's exit search it


def _run() -> None:
    import click  # imported here, like the groups: no garbage is searched for meanwhile

    from .groups import stigmer

    if "_STIGMER_COMPLETE" in os.environ:  # a shell requests completions
        from .completion.shells import answer

        answer(stigmer)
    try:
        _prepare_streams()
        stigmer(prog_name="stigmer")
    except OSError as error:
        if error.filename is not None:  # not a stream but a file, whose error should have been handled
            _internal(error)
        _close_quietly()
        click.echo(f"stigmer: the output cannot be written: {error.strerror}", err=True)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last resort: every known fault is handled below this
        _report(error)
        _internal(error)


def _report(error: Exception) -> None:
    """Prints the problems of a load that gave no configuration at all, and exits; returns for any other error."""
    from ..core.problems import ConfigError

    if isinstance(error, ConfigError):
        from .output.problems import FAULTY, print_problems

        print_problems(error.problems, apart=False)
        sys.exit(FAULTY)


def _internal(error: Exception) -> None:
    import traceback

    import click

    frame = traceback.extract_tb(error.__traceback__)[-1]
    # Only the place and the type: the message might contain a value.
    click.echo(f"stigmer: internal error: {type(error).__name__} at {frame.filename}:{frame.lineno}", err=True)
    click.echo("hint: this is a bug in stigmer-config; please report it with the command you ran", err=True)
    sys.exit(70)


def _prepare_streams() -> None:
    """Escapes characters that the terminal's encoding lacks. Raises `OSError` without standard output."""
    if sys.stdout is None:
        raise OSError(None, "it is closed")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _close_quietly() -> None:
    """Drops unwritten output, so that Python does not try again, and print an error, at its exit."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stdout.close()
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
