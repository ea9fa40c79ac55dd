"""Disks that are full, and folders that cannot be written.

All take a campaign with its initial models made, and a generator of random numbers that says where to strike.
They end with `require_survival`.
"""

import contextlib
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator

from campaigns import ITERATIONS, Campaign, require_refusal, some_iterations


class NotPossibleError(Exception):
    """This machine does not let the fault happen."""


def disk_full(campaign: Campaign, rng: random.Random) -> None:
    """A file system that has no room left after some of the work, then more."""
    used = sum(path.stat().st_size for path in campaign.folder.rglob("*"))
    with _in_memory(campaign, f"size={used + rng.randint(50_000, 1_500_000)}"):
        require_refusal(campaign.call(), "cannot be written: No space left on device")
        campaign.require_whole_files()
        _mount("-o", "remount,size=64m", str(campaign.folder))
        campaign.require_survival()


def file_size_limit(campaign: Campaign, rng: random.Random) -> None:
    """A limit on the size of files, under which checkpoints or descriptors cannot be written whole."""
    limit = rng.randint(20_000, 80_000)
    process = campaign.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors
    assert "cannot be written: File too large" in errors
    assert "Traceback" not in errors
    campaign.require_whole_files()
    campaign.require_survival()


def read_only(campaign: Campaign, rng: random.Random) -> None:
    """A folder that cannot be written."""
    some_iterations(campaign, rng, up_to=ITERATIONS - 1)
    with _in_memory(campaign, "size=64m"):
        _mount("-o", "remount,ro", str(campaign.folder))
        require_refusal(campaign.call(), "Read-only file system")
        _mount("-o", "remount,rw", str(campaign.folder))
        campaign.require_survival()


def folder_cannot_change(campaign: Campaign, rng: random.Random) -> None:
    """Folders without permission to add files: by their mode, or for root by their immutable attribute."""
    folders = [campaign.layout.run_folder, campaign.layout.run_folder / "checkpoint"]
    if os.getuid() != 0:
        for folder in folders:
            folder.chmod(0o555)
    elif shutil.which("chattr") is None or _run("chattr", "+i", *map(str, folders)):
        raise NotPossibleError("root, and no chattr +i here")
    try:
        require_refusal(campaign.call(), "Permission denied|Operation not permitted")
    finally:
        if os.getuid() != 0:
            for folder in folders:
                folder.chmod(0o755)
        else:
            _run("chattr", "-i", *map(str, folders))
    campaign.require_survival()


def _run(*command: str) -> int:
    return subprocess.run(command, capture_output=True).returncode


def _mount(*arguments: str) -> None:
    if shutil.which("mount") is None or _run("mount", *arguments):
        raise NotPossibleError("no file system can be mounted here")


@contextlib.contextmanager
def _in_memory(campaign: Campaign, options: str) -> Iterator[None]:
    """Keep the campaign's folder in a file system of its own meanwhile."""
    begun = campaign.copy(campaign.folder.with_name(f"{campaign.folder.name}-begun"))
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(campaign.folder))
    try:
        begun.copy(campaign.folder)
        yield
        campaign.copy(begun.folder)
    finally:
        _run("umount", "-l", str(campaign.folder))
    begun.copy(campaign.folder)
