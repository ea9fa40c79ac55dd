"""scikit-activeml's methods pick on our features what their papers say."""

import pytest
import torch
from torch import nn

from fisher_al.method.skactiveml import badge_picks, clue_picks, coreset_picks, falcun_picks, typiclust_picks


def test_typiclust_picks_the_densest_image_of_clusters_without_a_label():
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(4)
    # around each centre 30 images, the first of them at its middle
    spread = 0.05 * torch.randn(4, 30, 4, generator=generator)
    spread[:, 0] = 0
    features = (centres.unsqueeze(1) + spread).flatten(0, 1)
    labeled = torch.tensor([5])  # of the first cluster
    available = torch.arange(120)[torch.arange(120) != 5]
    picks = typiclust_picks(features, labeled, available, 3, seed=0).tolist()
    assert sorted(pick // 30 for pick in picks) == [1, 2, 3]
    normal = nn.functional.normalize(features).double()
    for pick in picks:
        own = torch.arange(30) + 30 * (pick // 30)
        distances = torch.cdist(normal[own], normal[own]).sort().values[:, 1:21].mean(1)
        assert pick == own[distances.argmin()]


def softmax_of(rows: list[list[float]], copies: int) -> torch.Tensor:
    """Each row so many times, with a little noise."""
    noise = torch.rand(len(rows) * copies, len(rows[0]), generator=torch.Generator().manual_seed(0))
    return nn.functional.normalize(torch.tensor(rows).repeat_interleave(copies, 0) + 0.01 * noise, p=1)


@pytest.mark.parametrize("seed", range(10))
def test_falcun_takes_turns_among_what_the_network_is_torn_about(seed):
    sure, torn, otherwise = [0.98, 0.01, 0.005, 0.005], [0.48, 0.48, 0.02, 0.02], [0.02, 0.02, 0.48, 0.48]
    probabilities = softmax_of([sure, torn, otherwise], 50).double()
    available = torch.cat([torch.arange(2, 75), torch.arange(77, 150)])
    picks = falcun_picks(probabilities, available, 146, seed)
    assert sorted(picks[:2].div(50, rounding_mode="floor").tolist()) == [1, 2]
    assert torch.equal(picks.sort().values, available)


def test_clue_picks_the_centre_of_uncertain_clusters():
    generator = torch.Generator().manual_seed(0)
    features = torch.eye(3).repeat_interleave(40, 0) + 0.05 * torch.randn(120, 3, generator=generator)
    probabilities = softmax_of([[1.0, 0.0], [0.5, 0.5], [0.6, 0.4]], 40)
    probabilities[:40] = torch.tensor([1.0, 0.0])  # no entropy: of no weight
    available = torch.arange(120)[torch.arange(120) != 60]
    picks = clue_picks(features, probabilities, available, 2, seed=0)
    weights = torch.special.entr(probabilities).sum(1).double()
    weights[60] = 0  # labeled
    expected = []
    for members in (torch.arange(40, 80), torch.arange(80, 120)):
        centre = (weights[members, None] * features[members]).sum(0) / weights[members].sum()
        distances = (features[members] - centre).norm(dim=1)
        distances[members == 60] = torch.inf
        expected.append(members[distances.argmin()].item())
    assert sorted(picks.tolist()) == expected


def test_clue_picks_where_hardly_any_image_is_uncertain():
    features = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    probabilities = torch.tensor([1.0, 0.0]).repeat(30, 1)
    probabilities[7] = 0.5
    picks = clue_picks(features, probabilities, torch.arange(30), 5, seed=0).tolist()
    assert len(set(picks)) == 5
    assert 7 in picks


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0, 1e-5, 1e-4])
@pytest.mark.parametrize("choose", [coreset_picks, typiclust_picks, badge_picks, clue_picks, falcun_picks])
def test_no_image_is_picked_twice_where_fewer_differ_than_are_wanted(choose, noise, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(5, 8, generator=generator).repeat_interleave(20, 0)
    features += noise * torch.randn(features.shape, generator=generator)
    available, probabilities = torch.arange(4, 100), features[:, :3].softmax(1)
    looked_at = {
        coreset_picks: (features, torch.arange(4)),
        typiclust_picks: (features, torch.arange(4)),
        falcun_picks: (probabilities.double(),),
    }
    picks = choose(*looked_at.get(choose, (features, probabilities)), available, 40, seed)
    assert len(set(picks.tolist())) == len(picks) == 40
    assert torch.isin(picks, available).all()
