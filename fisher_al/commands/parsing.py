"""From the command line to typed options: dataclasses whose fields say how they are written."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from fisher_al.data.folder_lists import is_text
from fisher_al.errors import UserError

PROTOCOL = " (default: the protocol's)"

Options = TypeVar("Options")


def option(*flags: str, default: Any = None, **settings: Any) -> Any:
    """A dataclass field that is read from one of the flags; `settings` are those of `add_argument`."""
    return field(default=default, metadata={"flags": flags, **settings})


def switch(flag: str, help: str) -> Any:
    """A dataclass field that is true where the flag is given."""
    return option(flag, action="store_true", default=False, help=help)


# What the help shows for an option's value; a number where nothing else is said.
_METAVARS = {Path: "PATH", None: "NAME"}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of an option, unless that is none or off: then the help says enough."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_off = action.default is None or action.default is False
        return action.help if is_off else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are one line, and whose options stand in groups."""

    def __init__(self, description: str = "", add_help: bool = True, prog: str | None = None):
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=add_help,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")

    def add_options(
        self,
        options: type,
        without: Collection[str] = (),
        changes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Offer the options of a dataclass, under the docstring of the class that declares each.

        without : fields that are not offered. changes : by name of a field, settings of `add_argument` that
        take the place of its own.
        """
        offered = {own.name: own for own in fields(options) if own.name not in without}
        for declaring in reversed(options.__mro__):
            names = [name for name in vars(declaring).get("__annotations__", {}) if name in offered]
            if not names:
                continue
            group = self.add_argument_group((declaring.__doc__ or "").rstrip("."))
            for name in names:
                own = offered.pop(name)
                settings = {"default": own.default, **own.metadata, **(changes or {}).get(name, {})}
                if not settings.keys() & {"action", "choices", "metavar"}:
                    settings["metavar"] = _METAVARS.get(settings.get("type"), "N")
                if isinstance(settings["default"], tuple):
                    settings["default"] = list(settings["default"])
                flags = settings.pop("flags")
                if flags[0].startswith("-"):
                    settings["dest"] = name
                else:
                    del settings["default"]
                group.add_argument(*flags, **settings)

    @staticmethod
    def read(options: type[Options], namespace: argparse.Namespace) -> Options:
        """The parsed options as an instance of the dataclass; what was not offered has its default."""
        names = {own.name for own in fields(options)}  # type: ignore[arg-type]
        found = {name: value for name, value in vars(namespace).items() if name in names}
        return options(**{n: tuple(v) if isinstance(v, list) else v for n, v in found.items()})


def whole_number(least: int, most: float = float("inf")) -> Callable[[str], int]:
    """Option type: an integer of at least `least`, and at most `most` where more cannot be meant."""
    allowed = f"of at least {least}" if most == float("inf") else f"from {least} to {most:,}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number {allowed}")
        return value

    return parse


def real_number(description: str, allowed: Callable[[float], bool]) -> Callable[[str], float]:
    """Option type: a number for which `allowed` holds, described for the error message."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not allowed(value):
            raise argparse.ArgumentTypeError(f"'{text}' is not {description}")
        return value

    return parse


def run_folder(text: str) -> str:
    """Option type: the name of a folder, not a path that leads elsewhere."""
    # seeds derive from the text
    if text in ("", ".", "..") or Path(text).name != text or not is_text(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a folder, such as run0")
    return text


imbalance_ratio = real_number("a ratio of at least 1", lambda value: 1 <= value < float("inf"))
noisy_ratio = real_number("a share from 0 to 1", lambda value: 0 <= value <= 1)
percentage = real_number("an accuracy in percent", lambda value: 0 < value <= 100)
learning_rate = real_number("a positive learning rate", lambda value: 0 < value < float("inf"))
gpu_share = real_number("a number of GPUs, such as 1 or 0.5", lambda value: 0 <= value < float("inf"))
count = whole_number(1, 10**12)
samples = whole_number(1, 10_000)
iterations = whole_number(1, 10_000)
worker_count = whole_number(1, 1024)
index = whole_number(0)
base_seed = whole_number(0, 10**18)
members = whole_number(1, 1000)
run_number = whole_number(0, 10_000)
