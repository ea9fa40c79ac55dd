"""What every script has in common: its datasets, its device, its exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

from fisher_al.commands.options import DataOptions
from fisher_al.commands.parsing import Parser
from fisher_al.distributed import process_group
from fisher_al.errors import UserError, as_user_error
from fisher_al.experiment import Experiment
from fisher_al.memory import keep_freed_memory

ScriptOptions = TypeVar("ScriptOptions", bound=DataOptions)


@dataclass(frozen=True)
class OwnOptions:
    """The options that a folder's datasets have for themselves: none."""


@dataclass(frozen=True)
class Datasets:
    """The experiments that a folder's scripts offer as --dataset, and the options that are its own.

    options : a dataclass of them. `adapt(experiment, own, options)` is the chosen experiment with what they
    say. reading, describing : fields of those that say how images are read and how descriptors are kept;
    scripts that do neither do not offer them.
    """

    experiments: Mapping[str, Experiment]
    options: type = OwnOptions
    adapt: Callable[[Experiment, Any, DataOptions], Experiment] = lambda experiment, own, options: experiment
    reading: tuple[str, ...] = ()
    describing: tuple[str, ...] = ()


def parse(
    description: str,
    options: type[ScriptOptions],
    datasets: Datasets,
    arguments: Sequence[str],
    without: Collection[str] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[ScriptOptions, Experiment]:
    """A script's options, and the experiment on the dataset that they name.

    without : fields that the script has no use for and does not offer. changes : by name of a field, settings
    of `add_argument`.
    Raises: UserError for a wrong option.
    """
    parser = Parser(description)
    names = list(datasets.experiments)
    of_data: dict[str, Mapping[str, Any]] = {
        "dataset": {"default": names[0], "choices": names},
        "datadir": {"default": Path(sys.argv[0]).resolve().parents[1] / "local_data"},
    }
    parser.add_options(options, without, {**of_data, **(changes or {})})
    parser.add_options(datasets.options, without)
    namespace = parser.parse_args(arguments)
    chosen = parser.read(options, namespace)
    own: Any = parser.read(datasets.options, namespace)
    return chosen, datasets.adapt(datasets.experiments[chosen.dataset], own, chosen)


def run_script(main: Callable[[list[str]], int | None], arguments: list[str] | None = None) -> NoReturn:
    """Run `main` on `arguments` (default: the command line); UserError: one line on stderr, exit code 2."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):  # names of files may hold anything, and terminals little
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with process_group():
            code = main(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # whoever read what is printed has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except UserError as error:
        print("error:", _in_one_line(str(error)), file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        line = _in_one_line(f"{error.filename or 'output'}: {error.strerror or error}")
        print("error:", line, file=sys.stderr)
        if error.filename is None:  # what is left to print would only fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if (told := as_user_error(error)) is None:
            raise
        print("error:", told, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _in_one_line(text: str) -> str:
    """Text without line breaks and what a terminal would obey: options and names of files hold anything."""
    line = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def choose_device(gpu: int) -> str:
    """Name of the GPU's device, or of the CPU where there is no GPU; torchrun gives every process its own."""
    if not torch.cuda.is_available():
        return "cpu"
    gpu += int(os.environ.get("LOCAL_RANK", 0))
    if gpu >= torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine's GPUs are 0 to {torch.cuda.device_count() - 1}")
    torch.cuda.set_device(gpu)  # what processes that share the work exchange passes through it
    torch.backends.cudnn.deterministic = True  # the same picks when a run is repeated
    return f"cuda:{gpu}"


def announce(device: str) -> None:
    """Say once, before the work starts, if it is done without a GPU."""
    if device == "cpu":
        print("no GPU found: running on the CPU")
