"""`fisher-al simulate`: rounds with the answers known, on a pool that is small enough to check."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import read_csv
from rounds import CROP, fisher_al, make_animals, require_refusal, save_weights, write_csv
from sklearn.metrics import balanced_accuracy_score, recall_score

from fisher_al.data.features import Features
from fisher_al.labeling.knowledge import Knowledge
from fisher_al.labeling.selection import ON_FEATURES, Strategy, fit, pick
from fisher_al.labeling.simulation import Answers, rarest_half, simulate
from fisher_al.seeds import derive_seed


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    folder = make_animals(tmp_path_factory.mktemp("animals"), in_pool=8, in_validation=3)
    save_weights(folder / "weights.pt")
    make_animals(folder / "more", in_pool=1, in_validation=4, seed=10_000)
    return folder


def command(folder: Path, *more: object, out: str = "curves") -> tuple[object, ...]:
    network = ("--weights", folder / "weights.pt", "--crop", CROP, "--loader", "torchvision", "--workers", 1)
    what = ("simulate", folder / "pool", "--oracle", folder / "truth.csv")
    what += ("--validation", folder / "validation", "--cache", folder / "features", "--near-duplicate", 1)
    return (*what, "--budget", 4, "--rounds", 3, "--seeds", 2, "--out", folder / out, *network, *more)


def test_curves_of_several_methods(animals):
    methods = ("random", "margin", "grad+margin")
    test = animals / "more" / "validation"
    outcome = fisher_al(*command(animals, "--methods", *methods, "--test", test))
    assert outcome.code == 0, outcome.err
    rows = read_csv(animals / "curves" / "curves.csv")
    assert [(row["method"], row["seed"], row["labels"]) for row in rows] == [
        (method, str(seed), str(labels)) for method in methods for seed in (0, 1) for labels in (0, 4, 8, 12)
    ]
    assert (
        len({row["accuracy"] for row in rows if row["labels"] == "0"}) == 1
    )  # of the validation images alone
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("accuracy", "balanced_accuracy"))
    assert all(float(row["accuracy"]) == pytest.approx(float(row["balanced_accuracy"])) for row in rows)
    for name in ("curves.png", "curves.pdf"):
        assert (animals / "curves" / name).stat().st_size > 1000
    assert "no picks" in outcome.out
    assert "rarest classes: ant" in outcome.out
    for method in methods:
        assert method in outcome.out


def test_the_point_without_labels_is_that_of_a_round(animals):
    """The head of `pick` on validation images alone, applied to the same test images: all of the pool."""
    test = write_csv(
        animals / "most.csv",
        ("filepath", "label"),
        [(animals / "pool" / row["filepath"], row["label"]) for row in read_csv(animals / "truth.csv")[:-1]],
    )
    more = ("--methods", "random", "--test", test, "--rounds", 1, "--budget", 1)
    assert fisher_al(*command(animals, *more, out="alone")).code == 0
    outcome = fisher_al("pick", *command(animals, out="round")[1:2], *_pick_options(animals))
    assert outcome.code == 0, outcome.err
    truth = {row["filepath"]: row["label"] for row in read_csv(animals / "truth.csv")}
    predicted = read_csv(animals / "round" / "predictions.csv")
    predicted = [row for row in predicted if row["filepath"] != list(truth)[-1]]
    right = [row["predicted"] == truth[row["filepath"]] for row in predicted]
    first = read_csv(animals / "alone" / "curves.csv")[0]
    assert first["labels"] == "0"
    assert float(first["accuracy"]) == pytest.approx(sum(right) / len(right))


def _pick_options(animals: Path) -> tuple[object, ...]:
    options = command(animals, out="round")
    kept = [options.index(name) for name in ("--validation", "--cache", "--near-duplicate", "--budget")]
    kept += [options.index(name) for name in ("--out", "--weights", "--crop", "--loader", "--workers")]
    return tuple(part for at in kept for part in options[at : at + 2])


def test_without_validation_in_training_the_first_round_has_no_head(animals):
    outcome = fisher_al(*command(animals, "--hold-validation", "--methods", *ON_FEATURES, out="held"))
    assert outcome.code == 0, outcome.err
    rows = read_csv(animals / "held" / "curves.csv")
    assert {row["labels"] for row in rows} == {"4", "8", "12"}
    assert {row["method"] for row in rows} == set(ON_FEATURES)


def test_a_seed_decides_the_curves(animals):
    for out in ("first", "second"):
        assert fisher_al(*command(animals, "--methods", "random", "coreset", out=out)).code == 0
    contents = [(animals / out / "curves.csv").read_bytes() for out in ("first", "second")]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--hold-validation", "--budget", 1, "--rounds", 1), "the labels are all of one class"),
        (
            ("--rounds", 5),
            "5 rounds need 20 labels, but the oracle knows 19 images of the pool that do not score",
        ),
        (("--methods", "badges"), "'badges' is none of"),
        (("--methods", "gradAbl"), "'gradAbl' is none of"),
        (("--scales", "layer3"), "--scales"),
    ],
)
def test_what_cannot_be_simulated_is_told(more, told, animals):
    require_refusal(fisher_al(*command(animals, *more, out="none")), told)
    assert not (animals / "none").exists()


def test_test_images_are_no_validation_images_and_of_known_classes(animals, tmp_path):
    validation = animals / "validation"
    outcome = fisher_al(*command(animals, "--test", validation, out="none"))
    require_refusal(outcome, "--test", "is a validation image, too")
    shutil.copytree(validation, tmp_path / "copies")
    outcome = fisher_al(*command(animals, "--test", tmp_path / "copies", out="none"))
    require_refusal(outcome, "--test", "is a validation image, too")
    shutil.copytree(animals / "more" / "validation" / "ant", tmp_path / "test" / "ant")
    shutil.copytree(animals / "more" / "validation" / "bee", tmp_path / "test" / "wasp")
    outcome = fisher_al(*command(animals, "--test", tmp_path / "test", out="none"))
    require_refusal(outcome, "class 'wasp' is none of the oracle's or validation's")


def test_oracle_and_test_agree(animals, tmp_path):
    row = read_csv(animals / "truth.csv")[0]
    scoring = [
        (animals / "pool" / row["filepath"], "bee"),
        (animals / "more" / "validation/ant/0.jpg", "ant"),
    ]
    test = write_csv(tmp_path / "t.csv", ("filepath", "label"), scoring)
    outcome = fisher_al(*command(animals, "--test", test, out="none"))
    require_refusal(outcome, f"'{row['filepath']}' is 'bee' in {test}, line 2, and 'ant' in")


def test_what_cannot_be_read_is_told_before_any_round(animals, tmp_path):
    for label in ("ant", "bee"):
        (tmp_path / "broken" / label).mkdir(parents=True)
        (tmp_path / "broken" / label / "0.jpg").write_text("no image")
    outcome = fisher_al(*command(animals, "--test", tmp_path / "broken", out="none"))
    require_refusal(outcome, "--test: none of its images can be read")
    shutil.copytree(animals / "validation" / "cat", tmp_path / "broken" / "cat")
    test = ("--test", animals / "more" / "validation")
    outcome = fisher_al(*command(animals, *test, "--validation", tmp_path / "broken", out="none"))
    require_refusal(outcome, "--validation: of class 'ant' no image can be read")


def test_all_images_may_be_labeled_where_others_score(animals):
    test = ("--test", animals / "more" / "validation")
    outcome = fisher_al(*command(animals, *test, "--rounds", 6, "--methods", "random", out="all"))
    assert outcome.code == 0, outcome.err
    assert {int(row["labels"]) for row in read_csv(animals / "all" / "curves.csv")} == {*range(0, 25, 4)}


def test_images_that_score_may_be_skipped_by_the_oracle(animals, tmp_path):
    rows = [(row["filepath"], row["label"]) for row in read_csv(animals / "truth.csv")]
    oracle = write_csv(tmp_path / "o.csv", ("filepath", "label"), [(rows[0][0], "skip"), *rows[1:]])
    scoring = [(animals / "pool" / key, label) for key, label in (rows[0], rows[-1])]
    test = write_csv(tmp_path / "t.csv", ("filepath", "label"), scoring)
    more = ("--oracle", oracle, "--test", test, "--rounds", 1, "--methods", "random", "--seeds", 1)
    outcome = fisher_al(*command(animals, *more, out="skipped"))
    assert outcome.code == 0, outcome.err
    assert "random" in outcome.out
    assert "±" not in outcome.out  # one seed does not vary


def test_every_method_has_a_row_where_near_duplicates_end_some_early(animals):
    methods, near = ("random", "none"), ("--near-duplicate", 0.975, "--hold-validation")
    outcome = fisher_al(*command(animals, *near, "--methods", *methods, out="early"))
    assert outcome.code == 0, outcome.err
    last = {(row["method"], row["seed"]): row["labels"] for row in read_csv(animals / "early" / "curves.csv")}
    assert len(set(last.values())) > 1
    for method in methods:
        [row] = re.findall(rf"^{method} +\d+ +(?:to \d+ +)?\d.*$", outcome.out, re.MULTILINE)
        assert row.count("±") == 4


@pytest.mark.parametrize("name", ["curves.csv", "curves.pdf"])
def test_curves_that_are_there_stay(name, animals):
    (animals / f"old {name}").mkdir()
    (animals / f"old {name}" / name).write_text("mine")
    outcome = fisher_al(*command(animals, out=f"old {name}"))
    assert (outcome.code, f"holds {name} already; name a new folder" in outcome.err) == (2, True)
    assert [path.read_text() for path in (animals / f"old {name}").iterdir()] == ["mine"]


def test_a_file_in_place_of_the_folder_is_told_before_any_work(animals, tmp_path):
    (tmp_path / "file").touch()
    require_refusal(fisher_al(*command(animals, out=tmp_path / "file")), "is a file; name a folder")


def test_classes_reach_the_terminal_without_control_characters(animals, tmp_path):
    shutil.copytree(animals / "validation", tmp_path / "v")
    (tmp_path / "v" / "ant").rename(tmp_path / "v" / "a\x1b[2Jnt")
    rows = [(row["filepath"], row["label"]) for row in read_csv(animals / "truth.csv")]
    renamed = [(key, "a\x1b[2Jnt" if label == "ant" else label) for key, label in rows[4:]]  # the rarest
    oracle = write_csv(tmp_path / "o.csv", ("filepath", "label"), renamed)
    more = ("--validation", tmp_path / "v", "--oracle", oracle, "--methods", "random", "--rounds", 1)
    outcome = fisher_al(*command(animals, *more, out="control"))
    assert outcome.code == 0, outcome.err
    assert "a�[2Jnt" in outcome.out
    assert "\x1b" not in outcome.out


def test_what_the_oracle_skips_is_never_asked(animals, tmp_path):
    with open(animals / "truth.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    oracle = write_csv(
        tmp_path / "o.csv", ("filepath", "label"), [(k, "skip") for k, _ in rows[:12]] + rows[12:]
    )
    outcome = fisher_al(*command(animals, "--oracle", oracle, "--rounds", 4, out="none"))
    require_refusal(outcome, "the oracle knows 9 images of the pool that do not score")


def test_every_method_is_scored_on_the_same_images(animals):
    """Without --test, too: on what each left of the pool, the one that takes the hard images would win."""
    outcome = fisher_al(*command(animals, "--methods", "random", "margin", "margin", out="same"))
    assert outcome.code == 0, outcome.err
    assert "; 5 images score" in outcome.out  # of the 24 that the oracle knows
    rows = read_csv(animals / "same" / "curves.csv")
    assert [row["method"] for row in rows if row["labels"] == "12"] == ["random"] * 2 + ["margin"] * 2
    assert {float(row["accuracy"]) * 5 % 1 for row in rows} <= {0, 1}


def test_rare_classes_are_some_that_the_oracle_has():
    assert rarest_half(torch.tensor([0, 0, 0, 2, 2, 3]), 6).tolist() == [3, 2, 0]


def test_points_of_unequal_classes_are_scikit_learns():
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2, 3], [60, 30, 6, 4])
    rows = (2 * np.eye(4)[classes] + generator.standard_normal((100, 4))).astype(np.float32)
    order = torch.from_numpy(generator.permutation(100))
    truth, none = torch.from_numpy(classes), torch.empty(0, dtype=torch.long)
    pool, validation, test = order[:60], order[60:80], order[80:]
    spared = torch.zeros(20, dtype=torch.bool)
    known = Knowledge(rows, 4, pool, validation, truth[validation], none, none, none, spared)
    rare = rarest_half(truth[pool], 4)
    assert rare.sort().values.tolist() == [2, 3]
    answers = Answers(truth[pool], rare, Features(rows, test, truth[test]))
    strategy = Strategy("random", 12)
    first, last = simulate(known, answers, strategy, 1, lambda: None)
    assert (first.labels, last.labels) == (0, 12)
    assert np.isnan(first.rare_picks)
    head = fit(known, strategy).head
    y, found = truth[test].numpy(), head(torch.from_numpy(rows[test])).argmax(1).numpy()
    assert first.accuracy == pytest.approx((y == found).mean())
    assert first.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, found))
    present = sorted({2, 3} & set(y.tolist()))
    recalls = recall_score(y, found, labels=present, average=None)
    assert first.rare_recall == pytest.approx(recalls.mean())
    assert first.balanced_accuracy != pytest.approx(first.accuracy, abs=0.01)
    now = replace(strategy, seed=derive_seed(strategy.seed, "round", 0))
    labels = truth[pool][pick(known, fit(known, now), now).positions]
    assert last.rare_picks == pytest.approx(np.isin(labels, [2, 3]).mean())
