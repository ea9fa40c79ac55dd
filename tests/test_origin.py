"""Results of a folder of images belong to that folder."""

import pytest
from conftest import snapshot
from folders import folder_experiment, load_prepared, make_folder

from fisher_al.data.folder_lists import Origin
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "insects and pets")


def test_results_of_another_folder_of_that_name_are_not_taken_over(root, tmp_path):
    experiment = folder_experiment(root, tmp_path / "data")
    layout = Layout(tmp_path / "data" / experiment.name, "run0", 4.0)
    load_prepared(experiment, layout)
    other = make_folder(tmp_path / "elsewhere" / root.name)
    copied = folder_experiment(other, tmp_path / "data")
    load_prepared(copied, layout)  # the same images in another place
    (other / "train" / "ant" / "ant 00.png").write_bytes(b"another image")
    before = snapshot(tmp_path)
    with pytest.raises(
        UserError, match=f"data/{root.name}: made from {root}; --imagenetdir {other} has that name but holds"
    ):
        load_prepared(copied, layout)
    load_prepared(experiment, layout)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"root": 1, "files": 2, "sha256": 3}', "[" * 10_000])
def test_a_broken_note_of_the_folder_is_named(root, tmp_path, content):
    experiment = folder_experiment(root, tmp_path / "data")
    layout = Layout(tmp_path / "data" / experiment.name, "run0", 4.0)
    load_prepared(experiment, layout)
    layout.processed_origin().write_text(content)
    with pytest.raises(UserError, match=r"origin\.json: broken"):
        load_prepared(experiment, layout)


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "\udcff"])
def test_names_that_no_list_can_hold(root, tmp_path, name):
    experiment = folder_experiment(root, tmp_path / "data")
    layout = Layout(tmp_path / "data" / experiment.name, "run0", 4.0)
    path = root / "train" / "bee" / f"{name}.jpg"
    path.write_bytes((root / "train" / "bee" / "bee 01.jpg").read_bytes())
    with pytest.raises(UserError, match=r"\.jpg: not an image that every loader reads"):
        load_prepared(experiment, layout)
    data = load_prepared(folder_experiment(root, tmp_path / "data", "--skip-corrupt"), layout)
    assert len(data.pool) == 12 + 12 + 3 + 3
    path.unlink()
    (root / "train" / "bee").rename(root / "train" / name)
    with pytest.raises(UserError, match=r"cannot stand in a list .*rename it"):
        folder_experiment(root, tmp_path / "other")


def thinned(experiment, tmp_path, seed):
    layout = Layout(tmp_path / experiment.name, "run0", 4.0)
    experiment.source.prepare_pool(layout, seed)
    text = layout.pool_list().read_text()
    layout.pool_list().unlink()
    return [line[-1] for line in text.splitlines()]


def test_a_pool_list_of_another_seed_is_not_taken_over(tmp_path):
    experiment = folder_experiment(make_folder(tmp_path / "pets"), tmp_path)
    layout = Layout(tmp_path / experiment.name, "run0", 4.0)
    wanted = thinned(experiment, tmp_path, 0)
    first = next(seed for seed in range(1, 99) if thinned(experiment, tmp_path, seed) == wanted)
    experiment.source.prepare_pool(layout, 0)
    experiment.source.prepare_pool(layout, 0, verify=True)
    with pytest.raises(UserError, match=f"not the pool of --seed {first}"):
        experiment.source.prepare_pool(layout, first, verify=True)


def test_lists_that_are_made_anew_are_read_anew(tmp_path):
    experiment = folder_experiment(make_folder(tmp_path / "pets"), tmp_path)
    layout = Layout(tmp_path / experiment.name, "run0", 4.0)
    first = load_prepared(experiment, layout).pool._files
    layout.pool_list().unlink()
    assert load_prepared(experiment, layout, 1).pool._files != first


def test_a_renamed_image_is_another_origin(tmp_path):
    root = make_folder(tmp_path / "pets")
    before = Origin.of(root)
    (root / "train/ant/ant 00.png").rename(root / "train/ant/ant 00a.png")
    assert Origin.of(root).sha256 != before.sha256
