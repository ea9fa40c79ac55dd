"""Image files that change or break after their lists were made, and what stays noted of those left out."""

import os
import signal
from contextlib import contextmanager

import pytest
import torch
from folders import folder_experiment, load_prepared, make_folder

from fisher_al.data.folder_images import Decoder, FolderImages
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "pets")


@contextmanager
def seconds(limit):
    """End the test, even one that waits in another language's code, rather than wait for ever."""
    signal.alarm(limit)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("loader", ["dali", "torchvision"])
@pytest.mark.parametrize("name", ["ant/ant 00.png", "dog/dog 11.jpg"])
def test_a_pipe_in_place_of_a_listed_image_is_not_waited_for(root, tmp_path, loader, name):
    experiment = folder_experiment(root, tmp_path / "data", "--loader", loader)
    pool = load_prepared(experiment, Layout(tmp_path / "data" / "pets", "run0", 1.0)).pool
    path = root / "train" / name
    path.unlink()
    os.mkfifo(path)
    chosen = torch.arange(len(pool)).split(2)
    for served in (pool.stream(chosen), pool.augmented(chosen, 1)):
        with seconds(60), pytest.raises(UserError, match=rf"{path.name}: cannot be decoded \(not a regular"):
            list(served)


@pytest.mark.parametrize("left", ["train", "val"])
def test_what_is_left_out_stays_noted_when_one_list_is_made_anew(root, tmp_path, left):
    names = ["train/bee/bee 07.jpg", "val/cat/cat 01.jpg"]
    for name in names:
        (root / name).write_text("no image")
    experiment = folder_experiment(root, tmp_path / "data", "--skip-corrupt")
    layout = Layout(tmp_path / "data" / "pets", "run0", 1.0)
    load_prepared(experiment, layout)
    noted = layout.processed_list("train").with_name("skipped.txt")
    assert sorted(noted.read_text().splitlines()) == names
    layout.processed_list("val" if left == "train" else "train").unlink()
    load_prepared(experiment, layout)
    assert sorted(noted.read_text().splitlines()) == names


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed.",
            "--workers: a process that decodes images",
        ),
        ("CUDA out of memory. Tried to allocate 9 GiB", r"^out of memory \(CUDA"),
    ],
)
def test_what_fails_beside_the_files_is_not_blamed_on_them(reason, told, root):
    def load(*_):
        raise RuntimeError(reason)
        yield

    decoder = Decoder(root, 32, 40, load, (0.5,) * 3, (0.5,) * 3, 1)
    images = FolderImages(["train/ant/ant 00.png"], torch.zeros(1, dtype=torch.long), decoder, "cpu")
    with pytest.raises(UserError, match=told):
        next(images.batches(1))
