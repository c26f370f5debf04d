"""The groups `stigmer` and `stigmer config`. One file per subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name → one-line help, so that listing does not import every command.
COMMANDS = {
    "show": "Show every effective value, and with --origin where it comes from.",
    "get": "Print one effective value, for scripts.",
    "explain": "Explain why a key has its value.",
    "set": "Set a key in a file and keep everything else in it.",
    "unset": "Remove a key from a file.",
    "edit": "Edit a file, and check it before it is saved.",
    "init": "Write a commented starter file.",
    "schema": "Print the JSON Schema of the file, for editors.",
    "validate": "Report every problem in the configuration, or in files.",
    "path": "List every file and source that was looked for.",
    "aliases": "Show which model each alias stands for, by provider.",
    "models": "List the known models, and what Ollama has installed.",
    "doctor": "Check files, provider, model and key, and suggest fixes.",
    "trust": "Allow a project's file to set protected keys.",
    "diff": "Compare modes, files, or a running worker with the disk.",
    "watch": "Follow the files and print each effective change.",
    "workers": "List the workers running on this machine.",
    "completion": "Print the shell completion script.",
}


class _Group(click.Group):
    """A group that suggests the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            from ..core.problems import did_you_mean, printable

            if ctx.parent is None and name in COMMANDS:
                hint = f"did you mean  stigmer config {name}?"
            else:
                hint = did_you_mean(name, self.list_commands(ctx), f"{ctx.command_path} --help lists the commands")
            raise click.UsageError(f"there is no command '{printable(name)}': {hint}", ctx)
        return super().resolve_command(ctx, args)


class _Lazy(_Group):
    """A group whose commands are in modules with their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".commands.{cmd_name}", __package__).command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in names), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stigmer-config", prog_name="stigmer")
@click.pass_context
def stigmer(ctx: click.Context) -> None:
    """Configuration for LLM agent workers: what is in force, and where it comes from.

    \b
    Start here:
      stigmer config show --origin    every value and its origin
      stigmer config --help           the other commands

    \b
    Completion of commands, keys and values (bash, zsh, fish):
      stigmer config completion --help
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


@stigmer.group(cls=_Lazy)
def config() -> None:
    """Show the configuration in force, and why.

    \b
    Layers, lowest first; a higher one wins:
      defaults  packaged, by mode: local (Ollama) or cloud (Anthropic)
      vendor    ANTHROPIC_API_KEY, OPENAI_API_KEY, OLLAMA_HOST, ...
      site      the machine's config.yaml
      etcd      the fleet's store, where STIGMER_ETCD names one
      user      ~/.stigmer/config.yaml
      project   .stigmer/config.yaml of this folder or one above
      env       MODE, STIGMER_LLM_MODEL, STIGMER_LLM_PROVIDER, ...
      flags     the options of a command

    \b
    Start here:
      stigmer config show --origin
      stigmer config explain llm.model
    """
