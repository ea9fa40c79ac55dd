"""The command `fisher-al`: its sub-commands by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from fisher_al.commands.scripts import run_script
from fisher_al.errors import UserError

# Each is a module beside this one, imported when it is asked for, with a function NAME_main.
COMMANDS = {
    "pick": "images and a few labels in, what to label next out",
    "simulate": "try methods on a pool whose labels are known",
    "label": "open the labeling page of a round",
}

USAGE = "usage: fisher-al COMMAND ...\n\n" + "".join(
    f"  {name:<10}{about}\n" for name, about in COMMANDS.items()
)


def dispatch(arguments: Sequence[str]) -> None:
    """Run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE + "\nfisher-al COMMAND --help tells the options of a command")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"'{name}': not a command of fisher-al; it has {', '.join(COMMANDS)}")
    module = import_module(f"fisher_al.commands.{name}")
    getattr(module, f"{name}_main")(rest)


def main() -> None:
    """Entry point of the installed command."""
    run_script(dispatch)
