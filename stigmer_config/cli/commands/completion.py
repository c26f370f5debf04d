"""`stigmer config completion`."""

from __future__ import annotations

import os

import click

from ..completion import shells
from ..options import CommandContext, capture, common


@click.command("completion")
@click.argument("shell", type=click.Choice(list(shells.SHELLS)), required=False)
@common
def command(shell: str | None, where: CommandContext) -> None:
    """Print the shell script that completes stigmer's commands, options, keys, aliases and values.

    Without SHELL, the script is for the shell that $SHELL names. It calls stigmer at each TAB, so it need not be
    replaced after an upgrade.

    \b
    In this shell, to try it:
      bash  eval "$(stigmer config completion bash)"
      zsh   eval "$(stigmer config completion zsh)"
      fish  stigmer config completion fish | source

    \b
    Permanently:
      echo 'eval "$(stigmer config completion bash)"' >> ~/.bashrc
      echo 'eval "$(stigmer config completion zsh)"' >> ~/.zshrc
      stigmer config completion fish > ~/.config/fish/completions/stigmer.fish

    In zsh, put the line below compinit. The shell starts faster with the script in a file, which it reads at the
    first TAB:

    \b
      bash  ~/.local/share/bash-completion/completions/stigmer
      zsh   _stigmer in a folder of $fpath

    \b
    Examples:
      stigmer config completion bash
    """
    del where
    wanted = shell or os.path.basename(capture().variable("SHELL") or "")
    if wanted not in shells.SHELLS:
        asked = f"$SHELL names {wanted}" if wanted else "$SHELL is not set"
        raise click.UsageError(f"which shell? {asked}; name one of {', '.join(shells.SHELLS)}")
    click.echo(shells.script(click.get_current_context().find_root().command, wanted), nl=False)
