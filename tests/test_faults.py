"""Every fault that `make faults` tries many times, here once."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import prepare_campaign
from disk_faults import NotPossibleError
from faults import FAULTS


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return prepare_campaign(tmp_path_factory.mktemp("campaign"))


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_survived(fault, begun, tmp_path):
    strike = fault.milder or fault.strike
    try:
        strike(begun.copy(tmp_path / "campaign"), random.Random(fault.name))
    except NotPossibleError as reason:
        pytest.skip(str(reason))


def test_every_moment_to_be_killed_at_is_found():
    arm_all = "import killed; [killed.arm(moment, 10**9, 0.0) for moment in killed.MOMENTS]"
    done = subprocess.run(
        [sys.executable, "-c", arm_all], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
