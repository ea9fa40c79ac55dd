"""Which networks make features, and what is told of those that cannot."""

import pytest
import torch
import torchvision
from conftest import Payload
from rounds import CROP, save_weights

from fisher_al.errors import UserError
from fisher_al.labeling.backbone import load_backbone


@pytest.mark.parametrize("name", ["vit_b_16", "alexnet"])
def test_a_crop_that_the_network_does_not_take_is_told(name, tmp_path):
    torch.save(torchvision.models.get_model(name, weights=None).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=rf"--crop {CROP}: not a size that {name} takes \(.+\); leave"):
        load_backbone(name, tmp_path / "weights.pt", CROP)


def test_the_head_does_not_change_what_features_depend_on(tmp_path):
    backbone = load_backbone("resnet18", save_weights(tmp_path / "weights.pt"), CROP)
    state = torch.load(tmp_path / "weights.pt")
    state["fc.weight"], state["fc.bias"] = torch.ones(3, 512), torch.ones(3)
    torch.save(state, tmp_path / "other head.pt")
    assert load_backbone("resnet18", tmp_path / "other head.pt", CROP).identity == backbone.identity
    state["conv1.weight"][0, 0, 0, 0] += 1
    torch.save(state, tmp_path / "other.pt")
    assert load_backbone("resnet18", tmp_path / "other.pt", CROP).identity != backbone.identity


def test_a_network_whose_weights_shift_its_inputs_does_so_with_a_file_of_them(tmp_path):
    network = torchvision.models.googlenet(weights=None, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    assert load_backbone("googlenet", tmp_path / "weights.pt", 64).module.transform_input


def test_a_network_that_looks_at_versions_of_its_layers_can_be_loaded(tmp_path):
    torch.save(torchvision.models.mnasnet0_5().state_dict(), tmp_path / "weights.pt")
    assert load_backbone("mnasnet0_5", tmp_path / "weights.pt", CROP).width == 1280


def test_downloaded_weights_are_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    address = torchvision.models.get_model_weights("resnet18").DEFAULT.url
    torch.save(Payload(tmp_path / "sprung"), tmp_path / "checkpoints" / address.rpartition("/")[2])
    with pytest.raises(UserError, match=r"resnet18-.*broken; delete it"):
        load_backbone("resnet18", None)
    assert not (tmp_path / "sprung").exists()
