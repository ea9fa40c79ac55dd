"""What `make kills` does a thousand times, here some times."""

import json
import subprocess
import sys

from conftest import ROOT


def campaign(out, kills, *scripts):
    options = ("--seed", 1, "--out", out, "--kills", kills, "--scripts", *scripts)
    command = [sys.executable, "benchmarks/kills.py", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["kills"]["scripts"]
    return {row["script"]: [row[count] for count in ("tried", "survived", "lost")] for row in rows}


def test_a_campaign_of_kills_goes_on_where_it_was(tmp_path):
    out = tmp_path / "counts.json"
    out.write_text('{"faults": [1]}')
    counts = campaign(out, 12, "unsup")
    assert counts["unsup.py, gen_descr.py, main_descr.py"] == [2, 2, 0]
    assert counts["run_plot.py"] == [0, 0, 0]
    counts = campaign(out, 20, "unsup", "run_plot")
    assert counts["unsup.py, gen_descr.py, main_descr.py"] == [3, 3, 0]
    assert counts["run_plot.py"] == [2, 2, 0]
    assert json.loads(out.read_text())["faults"] == [1]
