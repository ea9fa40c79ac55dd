"""Folders of images: lists, imbalance, both loaders, corrupt files, descriptors on the disk."""

from dataclasses import replace

import pytest
import torch
from conftest import ROOT, snapshot
from folders import CLASSES, colours, folder_experiment, load_prepared, make_folder
from PIL import Image

import imagenet.experiment
from fisher_al.data import folder_source
from fisher_al.data.folder_lists import Origin, read_list
from fisher_al.data.pools import split_holdout, thinned_classes
from fisher_al.errors import UserError
from fisher_al.files import storage
from fisher_al.files.layout import Layout
from fisher_al.files.storage import load_tensors, save_rows
from imagenet.experiment import IMAGES

TINY = ROOT.parent / "shared" / "data" / "tiny-imagenet-20.tar"


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "insects and pets")


def layout_of(experiment, tmp_path, ratio=1.0, **changes):
    return Layout(tmp_path / experiment.name, "run0", ratio, **changes)


@pytest.fixture(params=["dali", "torchvision"])
def data(request, root, tmp_path):
    experiment = folder_experiment(root, tmp_path, "--loader", request.param)
    return load_prepared(experiment, layout_of(experiment, tmp_path))


def test_classes_sizes_and_name_come_from_the_folder(root, tmp_path):
    experiment = folder_experiment(root, tmp_path)
    assert (experiment.name, experiment.num_classes, experiment.source.pool_size) == (
        "insects and pets",
        4,
        48,
    )
    layout = layout_of(experiment, tmp_path)
    data = load_prepared(experiment, layout)
    assert (len(data.pool), len(data.validation)) == (48, 20)
    assert data.validation is data.test
    lines = (layout.folder / "processed" / "train_list.txt").read_text().splitlines()
    assert lines[0] == "train/ant/ant 00.png 0"
    assert lines == sorted(lines)
    assert [int(line[-1]) for line in lines] == [label for label in range(4) for _ in range(12)]


def test_hidden_folders_are_no_classes(root, tmp_path):
    for split in ("train", "val"):
        hidden = root / split / ".ipynb_checkpoints"
        hidden.mkdir()
        Image.new("RGB", (8, 8)).save(hidden / "ant 00-checkpoint.png")
    (root / "train" / CLASSES[0] / ".DS_Store").write_bytes(b"of a file manager")
    assert Origin.of(root).files == 4 * 12 + 4 * 5
    experiment = folder_experiment(root, tmp_path)
    assert experiment.num_classes == 4
    layout = layout_of(experiment, tmp_path)
    assert len(load_prepared(experiment, layout).pool) == 48


def test_a_link_that_leads_nowhere_is_left_out(root, tmp_path):
    (root / "train" / CLASSES[0] / "dead.png").symlink_to(tmp_path / "nowhere.png")
    experiment = folder_experiment(root, tmp_path, "--skip-corrupt")
    layout = layout_of(experiment, tmp_path)
    assert len(load_prepared(experiment, layout).pool) == 48
    assert "dead.png" in (layout.folder / "processed" / "skipped.txt").read_text()


def test_only_all_of_imagenet_is_named_imagenet(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "ImageNet" / "raw", train=2)
    (tmp_path / "pets").symlink_to(root)
    (tmp_path / "ImageNet" / "ImageNet").symlink_to(root)
    for path in (root, root.parent / "ImageNet"):
        with pytest.raises(UserError, match=r"/(raw|ImageNet): not all of ImageNet .*rename the folder"):
            folder_experiment(path, tmp_path)
    assert folder_experiment(tmp_path / "pets", tmp_path).name == "pets"
    for label, name in enumerate(CLASSES):
        (root / "train" / name).rename(root / "train" / f"n{label:08d}")
    monkeypatch.setattr(imagenet.experiment, "IMAGES", replace(IMAGES, num_classes=4, pool_size=8))
    assert folder_experiment(root, tmp_path).name == "ImageNet"
    (root / "train" / "n00000003" / ".hidden").touch()
    assert folder_experiment(tmp_path / "pets", tmp_path).name == "ImageNet"
    (root / "train" / "n00000003" / "dog 01.jpg").unlink()
    assert folder_experiment(tmp_path / "pets", tmp_path).name == "pets"
    with pytest.raises(UserError, match="4 classes, 8 training images"):
        folder_experiment(root, tmp_path)


def test_half_of_the_classes_is_thinned():
    labels = torch.arange(7).repeat_interleave(50)
    kept = labels[thinned_classes(labels, 10, 7, torch.Generator().manual_seed(1))].bincount()
    assert sorted(kept.tolist()) == [5, 5, 5, 50, 50, 50, 50]
    other = labels[thinned_classes(labels, 10, 7, torch.Generator().manual_seed(2))].bincount()
    assert kept.tolist() != other.tolist()
    assert len(thinned_classes(labels, 1, 7, torch.Generator())) == 350
    one_left = labels[thinned_classes(labels, 1000, 7, torch.Generator().manual_seed(1))].bincount()
    assert one_left.min() == 1


def test_the_pool_list_is_a_function_of_the_seed(root, tmp_path):
    experiment = folder_experiment(root, tmp_path)
    layout = layout_of(experiment, tmp_path, 4.0, noisy_ratio=0.5)
    first = load_prepared(experiment, layout).pool.labels
    text = layout.pool_list().read_text()
    assert layout.pool_list().name == "full_train_list_ir_4_nr_0.5.txt"
    assert experiment.source.count(layout.pool_list()) == len(first) == 12 + 12 + 3 + 3
    layout.pool_list().unlink()
    load_prepared(experiment, layout)
    assert layout.pool_list().read_text() == text
    layout.pool_list().unlink()
    load_prepared(experiment, layout, 1)
    assert layout.pool_list().read_text() != text


def test_reading_makes_no_files(root, tmp_path):
    experiment = folder_experiment(root, tmp_path)
    layout, before = layout_of(experiment, tmp_path, 4.0), snapshot(tmp_path)
    with pytest.raises(UserError, match=r"full_train_list_ir_4_nr_0\.0\.txt: not found"):
        experiment.source.load(layout, "cpu")
    assert snapshot(tmp_path) == before


def test_images_keep_their_labels_in_any_order_and_share(data):
    """Shuffled, shared out to three processes, with partial and empty last batches."""
    order = torch.randperm(48, generator=torch.Generator().manual_seed(3))[:46]
    for rank in range(3):
        shares = [chunk[5 * rank :][:5] for chunk in order.split(15)]
        assert len(shares[-1]) == (1 if rank == 0 else 0)
        for serve in (data.pool.stream, lambda batches: data.pool.augmented(batches, 7)):
            served = list(serve(shares))
            assert len(served) == len(shares)
            for share, (inputs, labels) in zip(shares, served, strict=True):
                assert inputs.shape == (len(share), 3, 32, 32)
                assert labels.tolist() == (share // 12).tolist()
                expected = torch.stack([60.0 * (share // 12) + 20, 255.0 - 15 * (share % 12)], 1)
                torch.testing.assert_close(colours(inputs)[:, :2], expected, atol=3, rtol=0)


def test_training_images_are_cropped_and_mirrored_by_the_seed(root, tmp_path):
    path = root / "train" / "ant" / "ant 00.png"
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).repeat(64, 1).numpy()
    Image.fromarray(ramp).convert("RGB").save(path)
    for loader in ("dali", "torchvision"):
        experiment = folder_experiment(root, tmp_path, "--loader", loader)
        pool = load_prepared(experiment, layout_of(experiment, tmp_path)).pool
        batches = [torch.zeros(16, dtype=torch.long)]
        [(inputs, _)], [(again, _)] = pool.augmented(batches, 1), pool.augmented(batches, 1)
        [(others, _)] = pool.augmented(batches, 2)
        assert torch.equal(inputs, again)
        assert not torch.equal(inputs, others)
        slopes = (inputs[..., -1] - inputs[..., 0]).mean((1, 2))
        assert (slopes > 0).any()  # some mirrored
        assert (slopes < 0).any()
        assert slopes.abs().max() > 1.5 * slopes.abs().min()  # crops of different size


def test_both_loaders_show_the_centre_alike(root, tmp_path):
    ramp = torch.arange(80).view(1, -1).add(torch.arange(60).view(-1, 1)).to(torch.uint8).numpy()
    Image.fromarray(ramp).convert("RGB").save(root / "train" / "ant" / "ant 00.png")
    seen = []
    for loader in ("dali", "torchvision"):
        experiment = folder_experiment(root, tmp_path, "--loader", loader)
        pool = load_prepared(experiment, layout_of(experiment, tmp_path)).pool
        seen.append(pool[torch.tensor([0])][0])
    assert (seen[0] - seen[1]).abs().max() < 0.1  # of a standard deviation: two ways to interpolate


@pytest.mark.parametrize("loader", ["dali", "torchvision"])
def test_no_loader_rotates_by_exif(root, tmp_path, loader):
    ramp = torch.arange(64, dtype=torch.uint8).mul(3).repeat(64, 1).numpy()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    Image.fromarray(ramp).convert("RGB").save(root / "train" / "bee" / "bee 07.jpg", exif=exif)
    experiment = folder_experiment(root, tmp_path, "--loader", loader)
    pool = load_prepared(experiment, layout_of(experiment, tmp_path)).pool
    chosen = torch.full((8,), 12 + 7)
    [(augmented, _)] = pool.augmented([chosen], 1)
    for inputs in (pool[chosen][0], augmented):
        across, down = inputs.diff(dim=3).abs().mean(), inputs.diff(dim=2).abs().mean()
        assert across > 10 * down


def test_holdout_splits_every_class(root, tmp_path):
    experiment = folder_experiment(root, tmp_path, "--holdout", 0.4)
    data = load_prepared(experiment, layout_of(experiment, tmp_path))
    assert data.validation.labels.bincount().tolist() == [3] * 4
    assert data.test.labels.bincount().tolist() == [2] * 4
    kept, held_out = split_holdout(torch.arange(4).repeat_interleave(5), 0.4, torch.Generator())
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(20))
    with pytest.raises(UserError, match=r"--holdout 0\.01"):
        split_holdout(torch.arange(4).repeat_interleave(5), 0.01, torch.Generator())


def broken(root, kind):
    path = root / "train" / "bee" / "bee 07.jpg"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "no image":
        path.write_text("not an image")
    elif kind == "GIF":
        Image.new("RGB", (60, 40)).save(path, format="GIF")
    elif kind == "missing":
        path.unlink()
    return path


@pytest.mark.parametrize("loader", ["dali", "torchvision"])
@pytest.mark.parametrize("kind", ["truncated", "no image", "missing"])
def test_a_corrupt_image_is_named(root, tmp_path, loader, kind):
    experiment = folder_experiment(root, tmp_path, "--loader", loader)
    pool = load_prepared(experiment, layout_of(experiment, tmp_path)).pool
    path = broken(root, kind)
    advice = f"{path.name}: cannot be decoded .*; replace it, or .* make them again with --skip-corrupt"
    with pytest.raises(UserError, match=advice):
        list(pool.batches(8))


def test_what_only_pillow_decodes_is_named_or_narrowed_down(root, tmp_path):
    def decode(*options):
        experiment = folder_experiment(root, tmp_path, *options)
        return list(load_prepared(experiment, layout_of(experiment, tmp_path)).pool.batches(8))

    path = broken(root, "GIF")
    with pytest.raises(
        UserError, match=r"bee 07\.jpg: cannot be decoded \(its format is GIF, .*--skip-corrupt"
    ):
        decode()
    Image.new("1", (60, 40)).save(path, format="TIFF")  # without a field that DALI wants
    message = (
        r"(ant|bee) \d\d.*: .* of \d+ files up to .*dog 11\.jpg \(nvImageCodec .*\); .*--loader torchvision"
    )
    with pytest.raises(UserError, match=message):
        decode()
    assert sum(len(labels) for _, labels in decode("--loader", "torchvision")) == 48


@pytest.mark.parametrize("kind", ["truncated", "no image", "GIF", "other suffix"])
def test_corrupt_images_are_skipped_in_the_lists(root, tmp_path, kind, capsys):
    path = broken(root, kind)
    if kind == "other suffix":
        path = path.rename(path.with_suffix(".txt"))
        experiment = folder_experiment(root, tmp_path)
        with pytest.raises(UserError, match=r"bee 07\.txt: not an image"):
            load_prepared(experiment, layout_of(experiment, tmp_path))
    experiment = folder_experiment(root, tmp_path, "--skip-corrupt")
    layout = layout_of(experiment, tmp_path)
    data = load_prepared(experiment, layout)
    assert len(data.pool) == 47
    assert sum(len(labels) for _, labels in data.pool.batches(10)) == 47
    name = f"train/bee/{path.name}"
    assert (layout.folder / "processed" / "skipped.txt").read_text() == f"{name}\n"
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("../../etc/passwd 0", "leads out"),
        ("/etc/passwd 0", "leads out"),
        ("train/ant/a.jpg", "does not end with a class"),
        ("train/ant/a.jpg 4", "does not end with a class"),
        ("train/ant/a.jpg -1", "does not end with a class"),
        (" 1", "leads out"),
    ],
)
def test_lines_of_lists_stay_inside(tmp_path, line, reason):
    path = tmp_path / "list.txt"
    path.write_text(f"train/ant/b.jpg 0\n{line}\n")
    with pytest.raises(UserError, match=f"list.txt: line 2 .*{reason}|list.txt: line 2 {reason}"):
        read_list(path, len(CLASSES))


def test_folders_that_do_not_fit_are_named(root, tmp_path):
    with pytest.raises(UserError, match="train: not found; --imagenetdir"):
        folder_experiment(tmp_path / "nowhere", tmp_path)
    (root / "val" / "elk").mkdir()
    experiment = folder_experiment(root, tmp_path)
    with pytest.raises(UserError, match="elk: no class of that name"):
        load_prepared(experiment, layout_of(experiment, tmp_path))
    (root / "val" / "elk").rmdir()
    load_prepared(experiment, layout_of(experiment, tmp_path))
    (root / "train" / "ant" / "ant 00.png").unlink()
    folder_source._load.cache_clear()  # as in another process
    with pytest.raises(UserError, match=r"ant 00\.png: not found, but listed in"):
        load_prepared(experiment, layout_of(experiment, tmp_path))


@pytest.mark.parametrize("mapped_bytes", [0, 2**28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_written_block_by_block(tmp_path, monkeypatch, mapped_bytes, dtype):
    monkeypatch.setattr(storage, "MAPPED_BYTES", mapped_bytes)
    rows = torch.randn(23, 7, 2)
    path = tmp_path / "descr" / "rows.pt"
    save_rows(iter(rows.split(5)), 23, path, dtype)
    assert torch.equal(load_tensors(path, "", mmap=True), rows.to(dtype))
    assert [found.name for found in path.parent.iterdir()] == ["rows.pt"]


@pytest.mark.skipif(not TINY.is_file(), reason=f"needs {TINY}")
def test_tiny_imagenet_is_read(tmp_path):
    import tarfile

    with tarfile.open(TINY) as archive:
        archive.extractall(tmp_path, filter="data")
    experiment = folder_experiment(tmp_path / "tiny-imagenet-20", tmp_path)
    assert (experiment.num_classes, experiment.source.pool_size) == (20, 10_000)
    data = load_prepared(experiment, layout_of(experiment, tmp_path, 10.0))
    assert sorted(data.pool.labels.bincount().tolist()) == [50] * 10 + [500] * 10
    inputs, labels = data.validation[torch.tensor([0, 999])]
    assert labels.tolist() == [0, 19]
    assert inputs.isfinite().all()
