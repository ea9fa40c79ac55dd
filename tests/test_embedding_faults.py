"""What befalls an embedding: files that fail late, and weights that explode; nothing wrong is kept."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rounds import CROP, make_animals, save_weights
from test_feature_cache import by_hand, paths_in, reading

from fisher_al.errors import UserError
from fisher_al.labeling import embedding
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.cache import open_cache
from fisher_al.labeling.embedding import embed


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    folder = make_animals(tmp_path_factory.mktemp("animals"), in_pool=4, in_validation=2)
    save_weights(folder / "weights.pt")
    return folder


@pytest.fixture(scope="module")
def backbone(animals):
    return load_backbone("resnet18", animals / "weights.pt", CROP, 40)


def test_weights_whose_features_overflow_are_told_and_nothing_is_kept(backbone, animals, tmp_path):
    state = backbone.module.state_dict()
    for scale in (1e25, 1e37):
        state["layer4.1.bn2.weight"] = torch.full((512,), scale)
        torch.save(state, tmp_path / "huge.pt")
        huge = load_backbone("resnet18", tmp_path / "huge.pt", CROP)
        with (
            open_cache(tmp_path / "cache", huge.identity, 512) as cache,
            pytest.raises(UserError, match=r"--weights: .*features that are NaN, infinite or huge"),
        ):
            embed(reading(huge, tmp_path).embedder(), paths_in(animals / "validation"), cache)
        assert not cache.row_of


def test_a_file_that_only_the_loader_cannot_read_costs_no_other(backbone, animals, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "BATCH_SIZE", 4)
    monkeypatch.setattr(embedding, "unreadable", lambda path: None)  # as where memory was short for a moment
    folder = shutil.copytree(animals / "pool" / "day 0", tmp_path / "pool")
    whole = (folder / "a00.png").read_bytes()
    (folder / "a01.png").write_bytes(whole[: len(whole) // 2])
    embedder = reading(backbone, tmp_path).embedder()
    with open_cache(tmp_path / "cache", "net", 512) as cache:
        rows, reasons = embed(embedder, paths_in(folder), cache)
        assert reasons == {str(folder / "a01.png"): "cannot be decoded"}
        for path, row in zip(paths_in(folder), rows.tolist(), strict=True):
            if path not in reasons:
                assert np.allclose(cache.rows()[row], by_hand(backbone, path), atol=1e-4)
