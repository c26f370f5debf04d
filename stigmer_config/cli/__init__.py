"""The `stigmer` command. One file per subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import sys
import traceback

import click

# name → one-line help: the list must not import every command.
COMMANDS = {
    "show": "Show every effective value, and with --origin where it comes from.",
    "get": "Print one effective value.",
    "explain": "Tell why a key has its value.",
    "validate": "Report every problem of the configuration, or of files.",
    "path": "List every place that was looked at.",
    "aliases": "Tell what each alias means now, for each provider.",
}


class _Lazy(click.Group):
    """A group whose commands stand in modules of their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".{cmd_name}", __name__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stigmer-config", prog_name="stigmer")
def stigmer() -> None:
    """Layered configuration with hot reload for LLM agent workers."""


@stigmer.group(cls=_Lazy)
def config() -> None:
    """Tell what is in force, and why.

    \b
    Layers, lowest first: packaged defaults, vendor variables (ANTHROPIC_API_KEY, …), the site file,
    ~/.stigmer/config.yaml, the project's .stigmer/config.yaml, STIGMER_LLM_* variables, flags.

    \b
    Start here:
      stigmer config show --origin
      stigmer config explain llm.model
    """


def main() -> None:
    """The command's entry point. No fault of ours reaches a person as a traceback."""
    try:
        stigmer(prog_name="stigmer")
    except Exception as error:  # noqa: BLE001 - the last resort: every known fault is handled below this
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # Only the place and the type: the message might quote a value.
        click.echo(f"stigmer: internal error: {type(error).__name__} at {frame.filename}:{frame.lineno}", err=True)
        click.echo("hint: this is a bug in stigmer-config; please report it with the command you ran", err=True)
        sys.exit(70)
