"""`duebus completion`."""

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

COMPLETE = "_DUEBUS_COMPLETE"
"""The environment variable by which a shell's script asks for completions."""


class _Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[_Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print a script for the completion of commands and options in a shell.

    bash, in ~/.bashrc: eval "$(duebus completion bash)"

    zsh, in ~/.zshrc after compinit: eval "$(duebus completion zsh)"

    fish, in ~/.config/fish/config.fish: duebus completion fish | source
    """
    typer.echo(get_completion_script(prog_name="duebus", complete_var=COMPLETE, shell=shell))
