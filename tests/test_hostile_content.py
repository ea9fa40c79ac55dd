"""Whatever a file holds: it is refused with one line, or it is what it should be."""

import contextlib
import json

import numpy as np
import pytest
import torch
from conftest import call
from hostile import examples, mutated, require_line_or_result
from hypothesis import given
from hypothesis import strategies as st

from fisher_al.data.folder_lists import read_list
from fisher_al.errors import UserError
from fisher_al.files.run_log import last_accuracy, read, stage_entries
from fisher_al.files.storage import load_indices, save_tensors
from fisher_al.results.curve_files import read_json
from fisher_al.training.checkpoints import load_checkpoint
from mnist.experiment import DIGITS

tensors = st.builds(
    lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    st.lists(st.integers(0, 3), max_size=4),
    st.sampled_from(
        [torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.half]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), tensors),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(
            st.sampled_from(["state_dict", "acc", "epoch", "settings", "acc_val", "x"]), inner, max_size=5
        ),
        st.fixed_dictionaries(
            {
                "state_dict": st.dictionaries(st.text(max_size=3), tensors, max_size=2),
                "acc": inner,
                "epoch": inner,
            }
        ),
    ),
    max_leaves=6,
)


@examples(150, "content of tensor files")
@given(content=values)
def test_any_content_of_a_tensor_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("content") / "x.pt"
    save_tensors(content, path)
    with contextlib.suppress(UserError):
        checkpoint = load_checkpoint(path, "make it anew")
        assert isinstance(checkpoint["acc"], (int, float))
    with contextlib.suppress(UserError):
        images, labels = DIGITS.source.load_split(path)
        assert len(images) == len(labels) > 0


arrays = st.builds(
    lambda content, dtype: np.array(content).astype(dtype),
    st.lists(st.integers(0, 12), max_size=4),
    st.sampled_from(["int64", "int32", "uint8", "float64", "bool", "complex64", "U3", "S2", "M8[s]"]),
)


@examples(100, "index lists")
@given(data=st.data(), array=arrays)
def test_any_index_list(tmp_path_factory, data, array):
    path = tmp_path_factory.mktemp("indices") / "x.npy"
    np.save(path, array)
    if data.draw(st.booleans()):
        path.write_bytes(mutated(path.read_bytes(), data.draw))
    with contextlib.suppress(UserError):
        indices = load_indices(path, 3, 10, "make it anew").tolist()
        assert len(set(indices)) == 3
        assert set(indices) <= set(range(10))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["event", "batch", "member", "seconds", "acc", "peak_memory", "dataset", "curves", "runs"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=8,
)


VALID_CURVE = {
    **{
        "method": "random",
        "E": 1,
        "K": None,
        "pretrained": True,
        "ir": 10,
        "nr": 0.0,
        "budget": 20,
        "seed": 0,
    },
    "runs": {"run0": [50.0, 60], "run1": [None, 70.5]},
}
odd = st.one_of(
    st.sampled_from(
        [1, 4, 0, -1, 1.5, 1e300, 10**400, "10", None, True, "varMC", "gradFmap/80", "gradFmap/7"]
    ),
    st.sampled_from(
        [{"run0": []}, {"run0": [1], "run1": []}, {"": [-1e308]}, {"$": [99]}, {"run0": [10**400]}]
    ),
    json_values,
)
curve_entries = st.dictionaries(st.sampled_from(sorted(VALID_CURVE)), odd, max_size=2).map(
    lambda changes: VALID_CURVE | changes
)


@examples(150, "JSON of curves")
@given(
    content=st.one_of(
        json_values,
        st.fixed_dictionaries(
            {
                "dataset": st.just("DIGITS"),
                "metric": json_values,
                "curves": st.lists(curve_entries, max_size=2),
            }
        ),
    )
)
def test_any_json_of_curves(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(content))
    outcome = call("run_plot.py", "--dataset", "DIGITS", "--data", path, "--out", path.parent / "figures")
    require_line_or_result(outcome)


def test_deeply_nested_json_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"x\.json: not the JSON of curves"):
        read_json(path, experiment=DIGITS)
    assert read(path) == []


@examples(150, "logs")
@given(
    lines=st.lists(st.one_of(json_values.map(json.dumps), st.text(max_size=20)), max_size=5),
    end=st.binary(max_size=9),
)
def test_any_log(tmp_path_factory, lines, end):
    path = tmp_path_factory.mktemp("log") / "x.jsonl"
    path.write_bytes("\n".join(lines).encode() + end)
    assert all(isinstance(entry["event"], str) for entry in read(path))
    stage_entries(path, "main_descr")
    last_accuracy(path, 10, before=2)


@examples(200, "lines of lists")
@given(
    relative=st.one_of(
        st.text(max_size=12), st.lists(st.sampled_from(["..", ".", "a", "", "b c"]), max_size=5).map("/".join)
    )
)
def test_no_line_of_a_list_leads_out(tmp_path_factory, relative):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "list.txt"
    path.write_bytes(f"{relative} 1\n".encode(errors="surrogatepass"))
    with contextlib.suppress(UserError):
        files, _ = read_list(path, 2)
        assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in files)
