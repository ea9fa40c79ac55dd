"""Features are computed once: what the cache keeps, loses and refuses; and what images become."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from rounds import CROP, make_animals, save_image, save_weights
from torchvision.transforms import v2

from fisher_al.errors import UserError
from fisher_al.files.locks import hold
from fisher_al.labeling import embedding
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.cache import FeatureCache, identity_of, open_cache
from fisher_al.labeling.embedding import embed, features_of
from fisher_al.labeling.round import Reading
from fisher_al.method.tapped import POOLED

WIDTH = 4


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    folder = make_animals(tmp_path_factory.mktemp("animals"))
    save_weights(folder / "weights.pt")
    return folder


@pytest.fixture(scope="module")
def backbone(animals):
    return load_backbone("resnet18", animals / "weights.pt", CROP, 40)


def reading(backbone, cache: Path, loader: str = "torchvision", processes: int = 1) -> Reading:
    return Reading(backbone, loader, 1, "cpu", processes, cache, {POOLED: 512})


def paths_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def by_hand(backbone, path: str) -> torch.Tensor:
    """Features of one image, as torchvision's own parts make them."""
    shape = v2.Compose(
        [
            v2.Resize(40),
            v2.CenterCrop(CROP),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(backbone.mean, backbone.std),
        ]
    )
    with Image.open(path) as image:
        pixels = shape(v2.functional.pil_to_tensor(image.convert("RGB")))
    network = torchvision.models.resnet18()
    network.load_state_dict(backbone.module.state_dict())
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        return network.eval()(pixels.unsqueeze(0))[0]


def fill(folder: Path, count: int = 6) -> tuple[FeatureCache, np.ndarray, list]:
    """A cache of `count` images in three entries of its journal."""
    folder.mkdir(parents=True, exist_ok=True)
    cache = FeatureCache(folder, WIDTH)
    rows = np.arange(count * WIDTH, dtype=np.float32).reshape(count, WIDTH)
    identities = [(f"/image {i}\n.jpg", i, i) for i in range(count)]
    for start in range(0, count, 2):
        cache.append(identities[start : start + 2], rows[start : start + 2])
    return cache, rows, identities


def require_right(cache: FeatureCache, rows: np.ndarray, identities: list, count: int) -> None:
    """Assert that the cache knows the first `count` images, by the right features."""
    assert set(cache.row_of) == set(identities[:count])
    for number, identity in enumerate(identities[:count]):
        assert cache.rows()[cache.row_of[identity]].tolist() == rows[number].tolist()


def test_what_is_kept_comes_back(tmp_path):
    cache, rows, identities = fill(tmp_path / "cache")
    require_right(cache, rows, identities, 6)
    again = FeatureCache(tmp_path / "cache", WIDTH)
    require_right(again, rows, identities, 6)
    assert isinstance(again.rows(), np.memmap)


@pytest.mark.parametrize(
    ("name", "damage", "left"),
    [
        ("images.jsonl", lambda content: content[:-1], 4),
        ("images.jsonl", lambda content: content[: len(content) // 2], 2),
        ("images.jsonl", lambda content: content.replace(b"crc32", b"crc33", 1), 0),
        ("images.jsonl", lambda content: content + b'{"crc32": 1', 6),
        ("images.jsonl", lambda content: content + b"[" * 100_000 + b"\n", 6),
        ("features.f32", lambda content: content[:-1], 4),
        ("features.f32", lambda content: content[:40] + b"\1" + content[41:], 2),
        ("features.f32", lambda content: content + b"torn", 6),
        ("features.f32", lambda content: b"", 0),
    ],
)
def test_damage_loses_only_what_is_behind_it(name, damage, left, tmp_path):
    _, rows, identities = fill(tmp_path / "cache")
    path = tmp_path / "cache" / name
    path.write_bytes(damage(path.read_bytes()))
    cache = FeatureCache(tmp_path / "cache", WIDTH)
    require_right(cache, rows, identities, left)
    cache.append(identities[left:], rows[left:])
    require_right(FeatureCache(tmp_path / "cache", WIDTH), rows, identities, 6)


def test_a_flipped_bit_never_gives_an_image_the_features_of_another(tmp_path):
    identities = [(f"/{name}.jpg", 7, 1) for name in "abcdefgh"]  # alike but for a letter
    rows = np.arange(8 * WIDTH, dtype=np.float32).reshape(8, WIDTH)
    (tmp_path / "whole").mkdir()
    FeatureCache(tmp_path / "whole", WIDTH).append(identities, rows)
    content = (tmp_path / "whole" / "images.jsonl").read_bytes()
    for position in range(len(content)):
        for bit in (1, 2, 4):
            flipped = bytearray(content)
            flipped[position] ^= bit
            (tmp_path / "whole" / "images.jsonl").write_bytes(flipped)
            cache = FeatureCache(tmp_path / "whole", WIDTH)
            for identity, row in cache.row_of.items():
                assert cache.rows()[row].tolist() == rows[identities.index(identity)].tolist()


@pytest.mark.parametrize("name", ["images.jsonl", "features.f32"])
def test_a_cache_of_which_a_file_is_gone_begins_anew(name, tmp_path):
    fill(tmp_path / "cache")
    (tmp_path / "cache" / name).unlink()
    assert not FeatureCache(tmp_path / "cache", WIDTH).row_of
    cache, rows, identities = fill(tmp_path / "cache")
    require_right(cache, rows, identities, 6)


def test_what_fails_beside_the_cache_is_not_blamed_on_it(tmp_path):
    with pytest.raises(OSError, match="elsewhere"), open_cache(tmp_path, "net", WIDTH):
        raise OSError("elsewhere")


def test_one_process_at_a_time(tmp_path):
    with (
        hold(tmp_path / "net" / "cache.lock"),
        pytest.raises(UserError, match="another process"),
        open_cache(tmp_path, "net", WIDTH),
    ):
        pass


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"file/net.*choose another with --cache"),
        open_cache(tmp_path / "file", "net", WIDTH),
    ):
        pass


@pytest.mark.parametrize("loader", ["torchvision", "dali"])
def test_features_are_those_of_torchvision(loader, backbone, animals, tmp_path):
    paths = paths_in(animals / "pool")
    with open_cache(tmp_path, "net", 512) as cache:
        rows, reasons = embed(reading(backbone, tmp_path, loader).embedder(), paths, cache)
        assert reasons == {}
        found = torch.from_numpy(cache.rows()[rows.numpy()])
    expected = torch.stack([by_hand(backbone, path) for path in paths])
    if loader == "torchvision":
        assert torch.allclose(found, expected, atol=1e-4)
    else:  # resizes by other rules
        assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.98
    similarity = torch.nn.functional.normalize(found) @ torch.nn.functional.normalize(expected).T
    assert similarity.argmax(1).tolist() == list(range(len(paths)))


def test_only_what_is_new_or_changed_is_computed(backbone, animals, tmp_path, monkeypatch):
    folder = shutil.copytree(animals / "pool", tmp_path / "pool")
    computed = []

    def spy(embedder, paths):
        computed.append([Path(path).name for path in paths])
        return features_of(embedder, paths)

    monkeypatch.setattr(embedding, "features_of", spy)
    embedder = reading(backbone, tmp_path).embedder()
    for change in (
        lambda: None,
        lambda: None,
        lambda: save_image(folder / "new.png", 77),
        lambda: os.utime(folder / "new.png", ns=(1, 1)),
        lambda: save_image(folder / "day 0" / "a00.png", 78),
    ):
        change()
        with open_cache(tmp_path / "cache", "net", 512) as cache:
            rows, _ = embed(embedder, paths_in(folder), cache)
    assert [len(names) for names in computed] == [24, 0, 1, 1, 1]
    assert computed[2:] == [["new.png"], ["new.png"], ["a00.png"]]
    changed = paths_in(folder).index(str(folder / "day 0" / "a00.png"))
    expected = by_hand(backbone, str(folder / "day 0" / "a00.png"))
    assert torch.allclose(torch.from_numpy(cache.rows()[rows[changed]].copy()), expected, atol=1e-4)


def test_networks_and_inputs_have_a_folder_each(backbone, animals, tmp_path):
    other = load_backbone("resnet18", save_weights(tmp_path / "other.pt", 1), CROP, 40)
    wider = load_backbone("resnet18", animals / "weights.pt", CROP, 48)
    several = [reading(one, tmp_path) for one in (backbone, other, wider)]
    several.append(reading(backbone, tmp_path, "dali"))
    assert len({one.identity for one in several}) == 4
    other_head = load_backbone("resnet18", animals / "weights.pt", CROP, 40)
    other_head.module.fc.weight.data.zero_()
    assert reading(other_head, tmp_path).identity == several[0].identity


def odd_images(folder: Path) -> set[str]:
    """Files that no loader should read, among those of the folder; their names."""
    (folder / "a empty.jpg").touch()
    (folder / "b junk.png").write_bytes(bytes(range(256)))
    whole = (folder / "day 0" / "a00.png").read_bytes()
    (folder / "c cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (9, 9)).save(folder / "d gif.jpg", "GIF")
    huge = bytearray(whole)
    huge[16:24] = (100_000).to_bytes(4, "big") * 2  # width and height in the header
    (folder / "e huge.png").write_bytes(huge)
    Image.new("F", (9, 9)).save(folder / "f deep.tif")
    Image.new("RGB", (900_000, 1)).save(folder / "g long.png")
    return {path.name for path in folder.iterdir() if path.is_file()}


def strange_images(folder: Path) -> None:
    """Files that are unusual, and read all the same."""
    Image.new("CMYK", (40, 50), (0, 200, 30, 0)).save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16).save(folder / "deep grey.png")
    Image.new("P", (50, 40), 3).save(folder / "palette.png")
    Image.new("LA", (50, 40)).save(folder / "see-through.png")
    Image.new("L", (1, 1), 9).save(folder / "dot.png")
    Image.new("RGB", (3, 900), (9, 99, 9)).save(folder / "thin.webp")


@pytest.mark.parametrize("loader", ["torchvision", "dali"])
def test_unreadable_images_are_told_and_shift_no_other(loader, backbone, animals, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "BATCH_SIZE", 4)
    folder = shutil.copytree(animals / "pool", tmp_path / "pool")
    with open_cache(tmp_path / "cache", "sound", 512) as cache:
        embedder = reading(backbone, tmp_path, loader).embedder()
        rows, _ = embed(embedder, paths_in(folder), cache)
        sound = dict(zip(paths_in(folder), cache.rows()[rows.numpy()], strict=True))
    broken = odd_images(folder)
    (tmp_path / "more").mkdir()
    strange_images(tmp_path / "more")
    paths = [*paths_in(folder), *paths_in(tmp_path / "more"), str(folder / "gone.jpg")]
    with open_cache(tmp_path / "cache", "all", 512) as cache:
        rows, reasons = embed(embedder, paths, cache)
        features = cache.rows()
    assert {Path(path).name for path in reasons} == broken | {"gone.jpg"}
    assert all(reasons.values())
    for path, row in zip(paths, rows.tolist(), strict=True):
        assert (row == -1) == (path in reasons)
        if path in sound:
            assert np.allclose(features[row], sound[path], atol=1e-4)


def test_several_processes_compute_the_same(backbone, animals, tmp_path):
    paths = [*paths_in(animals / "pool"), str(tmp_path / "junk.png")]
    (tmp_path / "junk.png").write_bytes(b"junk")
    found = []
    for processes in (1, 2):
        with open_cache(tmp_path, f"net{processes}", 512) as cache:
            rows, reasons = embed(reading(backbone, tmp_path, processes=processes).embedder(), paths, cache)
            assert list(reasons) == [paths[-1]]
            found.append(torch.from_numpy(cache.rows()[rows[:-1].numpy()]))
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_0", "vit_b_16"])
def test_networks_of_torchvision_give_the_features_of_their_heads(name, animals, tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(name).state_dict(), tmp_path / "weights.pt")
    one = load_backbone(name, tmp_path / "weights.pt")
    assert one.crop == 224
    with open_cache(tmp_path, "net", one.width) as cache:
        paths = paths_in(animals / "pool")[:2]
        rows, reasons = embed(reading(one, tmp_path).embedder(), paths, cache)
        assert reasons == {}
        assert len(set(rows.tolist())) == 2
        assert np.isfinite(cache.rows()).all()
    expected = {"mobilenet_v3_small": 1024, "squeezenet1_0": 512, "vit_b_16": 768}
    assert one.width == expected[name]


def test_an_image_is_known_by_place_size_and_time(tmp_path):
    path = save_image(tmp_path / "x.png")
    before = identity_of(path)
    assert before == identity_of(path)
    os.utime(path, ns=(5, 5))
    assert identity_of(path) != before
