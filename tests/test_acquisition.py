"""Similarity, k-centre and matching against naive float64 double loops."""

import pytest
import torch
from naive import walk

from fisher_al.method.acquisition import k_centre, kernel_features, match, most_uncertain, random_picks


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def naive_kernel(a, b, widths):
    """R_zg(i, j) of descriptors (N, L, 2) in float64, block by block."""
    result = torch.zeros(len(a), len(b), dtype=torch.float64)
    for i in range(len(a)):
        for j in range(len(b)):
            for part in range(a.shape[2]):
                start = 0
                for width in widths:
                    x, y = (v[start : start + width, part].double() for v in (a[i], b[j]))
                    x = (x - x.mean()) / (x.std(unbiased=True) + 1e-10)
                    y = (y - y.mean()) / (y.std(unbiased=True) + 1e-10)
                    result[i, j] += (x * y).sum()
                    start += width
    return result


@pytest.mark.parametrize("parts", [1, 2])
def test_kernel_equals_double_loop(parts):
    widths = (10, 20, 50)
    a, b = torch.rand(7, 80, parts, generator=generator(1)), torch.rand(9, 80, parts, generator=generator(2))
    shaped = [x if parts == 2 else x[..., 0] for x in (a, b)]
    fast = kernel_features(shaped[0], widths) @ kernel_features(shaped[1], widths).T
    torch.testing.assert_close(fast.double(), naive_kernel(a, b, widths), atol=1e-4, rtol=1e-5)


def test_constant_features_give_finite_similarity():
    features = kernel_features(torch.zeros(3, 20, 2), (20,))
    assert torch.isfinite(features).all()
    assert not features.any()


def naive_k_centre(features, count, first):
    chosen = [first]
    while len(chosen) < count:
        rest = [i for i in range(len(features)) if i not in chosen]
        largest = {i: max(float(features[i].double() @ features[c].double()) for c in chosen) for i in rest}
        chosen.append(min(rest, key=largest.get))
    return chosen


@pytest.mark.parametrize("contenders", [1, 2, 7, 40, 100])
@pytest.mark.parametrize("clusters", [1, 4])
def test_k_centre_equals_full_recomputation(contenders, clusters):
    for seed in range(5):
        means = 3 * torch.randn(clusters, 12, generator=generator(10 + seed)).repeat(40 // clusters, 1)
        features = (means + torch.randn(40, 12, generator=generator(seed))).double()
        centres = k_centre(features, 15, generator(seed), contenders).tolist()
        assert centres == naive_k_centre(features, 15, centres[0])


def test_k_centre_of_copies_chooses_every_row_once():
    features = torch.ones(20, 4)
    assert sorted(k_centre(features, 20, generator(), contenders=3).tolist()) == list(range(20))


def test_k_centre_first_centre_is_random_and_all_can_be_chosen():
    features = torch.randn(30, 4, generator=generator())
    assert len({int(k_centre(features, 1, generator(seed))[0]) for seed in range(20)}) > 5
    assert sorted(k_centre(features, 30, generator()).tolist()) == list(range(30))


def naive_match(centres, candidates, budget):
    return walk(centres.double() @ candidates.double().T, budget)


@pytest.mark.parametrize(("centre_count", "budget"), [(1, 30), (3, 25), (10, 10), (25, 25), (7, 60)])
def test_match_equals_naive_walk(centre_count, budget):
    centres = torch.randn(centre_count, 16, generator=generator(3))
    candidates = torch.randn(60, 16, generator=generator(4))
    expected = naive_match(centres, candidates, budget)
    assert match(centres, candidates, budget).candidates.tolist() == expected
    assert match(centres, candidates, budget, chunk=7).candidates.tolist() == expected


def test_match_among_some_rows_of_descriptors():
    widths = (5, 11)
    centres = kernel_features(torch.rand(6, 16, 2, generator=generator(3)), widths)
    descriptors = torch.rand(80, 16, 2, generator=generator(4))
    rows = torch.randperm(80, generator=generator(5))[:50].sort().values
    expected = naive_match(centres, kernel_features(descriptors[rows], widths), 30)
    matches = match(centres, descriptors, 30, rows, lambda part: kernel_features(part, widths), chunk=7)
    assert matches.candidates.tolist() == rows[expected].tolist()
    candidates = kernel_features(descriptors[matches.candidates], widths)
    assert matches.similarity.tolist() == pytest.approx(
        (centres[matches.centres] * candidates).sum(1).tolist()
    )
    assert matches.centres[:6].sort().values.tolist() == list(range(6))  # rank 1 of every centre first


def test_match_looks_deeper_where_centres_agree():
    centres = torch.randn(1, 16, generator=generator(5)) + 1e-3 * torch.randn(20, 16, generator=generator(6))
    candidates = torch.randn(200, 16, generator=generator(7))
    picks = match(centres, candidates, 40).candidates
    assert picks.tolist() == naive_match(centres, candidates, 40)
    assert len(set(picks.tolist())) == 40


def test_most_uncertain_prefers_larger_then_earlier():
    uncertainty = torch.tensor([0.1, 0.9, 0.5, 0.9, 0.5])
    assert most_uncertain(uncertainty, 3).tolist() == [1, 3, 2]


def test_random_picks_are_distinct_and_repeatable():
    picks = random_picks(100, 30, generator(8))
    assert len(set(picks.tolist())) == 30
    assert picks.max() < 100
    assert torch.equal(picks, random_picks(100, 30, generator(8)))
    assert not torch.equal(picks, random_picks(100, 30, generator(9)))
