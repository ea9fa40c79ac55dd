"""Departures from the paper's protocol: fewer validation images, training on them, which epoch goes on."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import call, snapshot

from fisher_al.chain import Chain
from fisher_al.data.folder_images import FolderImages
from fisher_al.data.images import Images
from fisher_al.data.pools import some_of_each_class
from fisher_al.errors import UserError
from fisher_al.experiment import Variant, parse_method
from fisher_al.files.storage import load_tensors, save_tensors
from fisher_al.stages import cross_fitting
from fisher_al.stages.main_descr import main_descr
from fisher_al.training.checkpoints import load_checkpoint
from fisher_al.training.evaluation import evaluate
from fisher_al.training.fit import fit
from mnist.experiment import DIGITS

SHORT = replace(DIGITS.training, epochs=6)


def make_chain(layout, token="random", **variant) -> Chain:
    changes = {"training": SHORT, "iterations": 2, "variant": Variant(**variant)}
    return Chain.by_protocol(DIGITS, layout, parse_method(token, DIGITS), **changes)


def run_py(folder, *options):
    common = ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--iterations", 2, "--epochs", 6)
    return call("run.py", *common, *options)


def digits(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    pixels = torch.randint(60, (count, 28, 28), generator=generator)
    for row, label in enumerate(labels.tolist()):
        pixels[row, 2 * label : 2 * label + 5] += 150
    return Images(pixels.to(torch.uint8), labels, 0.13, 0.3)


def test_no_two_draws_share_a_seed(folder, layout):
    chain, other_run = make_chain(layout), replace(layout, run="run1")
    others = [replace(chain, seed=1), replace(chain, layout=other_run)]
    others.append(replace(chain, method=parse_method("varMC", DIGITS)))
    assert len({one.own_seed(0, "picks") for one in (chain, *others)}) == 4
    assert len({chain.iteration(batch).seed_of("picks") for batch in (0, 1)}) == 2
    shutil.copytree(layout.run_folder, other_run.run_folder)
    heads = [replace(chain, layout=one).load_model(0, 0).fc2.weight for one in (layout, other_run)]
    assert not torch.equal(*heads)


def test_next_iteration_starts_from_the_epoch_that_is_kept(layout):
    chain = make_chain(layout, keep="last")
    for batch in range(2):
        accuracies = main_descr(chain, batch)
        kept = chain.load_model(batch + 1, 0)
        accuracy = evaluate(kept, chain.load_data().test, chain.evaluation_batch_size)
        assert accuracy == pytest.approx(accuracies["acc_last"])
        assert load_checkpoint(chain.model_path(batch + 1, 0), "")["epoch"] == SHORT.epochs


def test_images_are_chosen_and_joined():
    images, others = digits(30, 0), digits(20, 1)
    rows = torch.tensor([4, 1, 17])
    inputs, labels = images[:]
    assert torch.equal(images.subset(rows)[:][0], inputs[rows])
    assert torch.equal(images.subset(rows).labels, labels[rows])
    joined = images.subset(rows).with_more(others)
    assert torch.equal(joined[:][0], torch.cat([inputs[rows], others[:][0]]))
    assert torch.equal(joined.labels, torch.cat([labels[rows], others.labels]))
    assert len(images) == 30


def test_images_that_are_normalised_join_those_that_are_not(monkeypatch):
    few = digits(5, 0)
    monkeypatch.setattr("fisher_al.data.images.FLOAT_CACHE_BYTES", 0)
    many = digits(8, 1)
    for joined, parts in ((few.with_more(many), (few, many)), (many.with_more(few), (many, few))):
        assert torch.equal(joined[:][0], torch.cat([part[:][0] for part in parts]))


def test_images_of_a_folder_are_chosen_and_joined():
    images = FolderImages(["a", "b", "c"], torch.tensor([0, 1, 2]), None, "cpu")
    joined = images.subset(torch.tensor([2, 0])).with_more(images.subset(torch.tensor([1])))
    assert joined._files == ["c", "a", "b"]
    assert joined.labels.tolist() == [2, 0, 1]


def test_fewer_images_of_each_class_are_among_more():
    labels = torch.arange(60) % 3
    few, more = (
        some_of_each_class(labels, count, 3, torch.Generator().manual_seed(0)).tolist() for count in (4, 9)
    )
    assert set(few) < set(more)
    assert few == sorted(few)
    assert torch.bincount(labels[few]).tolist() == [4, 4, 4]
    with pytest.raises(UserError, match="--validation-images 21: class 0 has 20"):
        some_of_each_class(labels, 21, 3, torch.Generator())


def test_methods_have_no_other_validation_images(folder, layout):
    options = ("--methods", "gradFmap/80", "similar", "--validation-images", 5)
    assert run_py(folder, *options).code == 0
    chains = [make_chain(layout, token, validation_images=5) for token in ("gradFmap/80", "similar")]
    found = [load_checkpoint(chain.model_path(2, 0), "") for chain in chains]

    path = layout.processed("val-split")
    images, labels = load_tensors(path, "")
    chosen = chains[0].load_data().validation
    assert torch.bincount(chosen.labels).tolist() == [5] * 10
    used = {tuple(row.flatten().tolist()) for row in chosen[:][0]}
    inputs = chains[0].experiment.source.load(layout, "cpu").validation[:][0]
    is_used = torch.tensor([tuple(row.flatten().tolist()) in used for row in inputs])
    assert is_used.sum() >= 50
    images[~is_used] = 255 - images[~is_used]
    save_tensors((images, labels), path)
    for chain in chains:
        for batch in (1, 2):
            for file in chain.batch_files(batch):
                file.unlink()
    assert run_py(folder, *options).code == 0
    for chain, before in zip(chains, found, strict=True):
        after = load_checkpoint(chain.model_path(2, 0), "")
        assert after["acc_val"] == before["acc_val"]
        assert all(torch.equal(after["state_dict"][name], w) for name, w in before["state_dict"].items())


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        (("--keep", "last"), {"keep": "last"}),
        (("--validation-images", 3), {"validation_images": 3}),
        (("--train-on-validation",), {"train_on_validation": True}),
    ],
)
def test_variant_is_recorded_and_leaves_others_alone(folder, layout, options, recorded):
    assert run_py(folder, "--methods", "random").code == 0
    before = snapshot(folder)
    assert run_py(folder, "--methods", "random", *options).code == 0
    chain = make_chain(layout, **recorded)
    assert load_checkpoint(chain.model_path(1, 0), "")["settings"].items() >= recorded.items()
    published = load_checkpoint(make_chain(layout).model_path(1, 0), "")["settings"]
    assert not published.keys() & {"keep", "validation_images", "train_on_validation"}
    assert snapshot(folder).items() >= before.items()
    repaired = run_py(folder, "--methods", "random", *options, "--repair")
    assert repaired.code == 0, repaired.err


def test_files_of_another_variant_are_refused(folder, layout):
    options = ("--methods", "random", "--keep", "last")
    assert run_py(folder, *options, "--validation-images", 3).code == 0
    moved = make_chain(layout, keep="last", validation_images=3).layout.chain_folder
    moved.rename(moved.with_name("val_4_keep_last"))
    outcome = run_py(folder, *options, "--validation-images", 4)
    assert outcome.code == 2
    assert "made with validation_images 3, now 4" in outcome.err


@pytest.mark.parametrize("departures", [{}, {"keep": "last"}])
def test_files_of_the_protocol_and_of_a_variant_are_not_mixed_up(folder, layout, departures):
    made = make_chain(layout, **departures)
    wanted = make_chain(layout, **({} if departures else {"keep": "last"}))
    assert run_py(folder, "--methods", "random", "--keep", made.variant.keep).code == 0
    for moved, place in zip(made.files, wanted.files, strict=True):
        if moved.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            moved.rename(place)
    before = snapshot(folder)
    outcome = run_py(folder, "--methods", "random", "--keep", wanted.variant.keep)
    assert outcome.code == 2
    assert f"made with keep {made.variant.keep}, now {wanted.variant.keep}" in outcome.err
    assert snapshot(folder) == before


def test_curves_tell_variants_apart(folder):
    options = ("--methods", "random", "--validation-images", 3, "--train-on-validation")
    assert "random V=30 trained on V" in run_py(folder, *options).out
    common = ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--iterations", 2)
    outcome = call("run_plot.py", *common, *options)
    assert "random V=30 trained on V" in outcome.out
    written = folder / "DIGITS" / "figures" / "DIGITS_ir_10_val_3_trained_on_val.json"
    assert "random V=30 trained on V" in call("run_plot.py", *common[:4], "--data", written).out


def test_network_learns_the_labeled_and_the_validation_images(layout):
    chain = make_chain(layout, train_on_validation=True, validation_images=4)
    accuracies = main_descr(chain, 0)
    data = chain.load_data()
    labeled = torch.from_numpy(np.load(chain.layout.index_list(chain.method, 1, chain.budget)))
    inputs = torch.cat([data.pool[labeled][0], data.validation[:][0]])
    both = Images(
        inputs.permute(0, 2, 3, 1), torch.cat([data.pool.labels[labeled], data.validation.labels]), 0, 1
    )
    expected = fit(
        chain.load_model(0, 0),
        both,
        torch.arange(len(both)),
        chain.training,
        chain.generator(0, "training", 0),
        data.test,
        evaluation_batch_size=chain.evaluation_batch_size,
    )
    assert accuracies == expected.accuracies
    assert "acc_val" not in accuracies


def test_every_target_is_judged_by_a_network_that_has_not_learned_it(layout, monkeypatch):
    chain = make_chain(layout, "gradFmap/80", train_on_validation=True, validation_images=4)
    data, learned, judged, said = chain.load_data(), [], [], []

    def watched_fit(network, images, chosen, *rest, **options):
        learned.append(images[chosen][0])
        return fit(network, images, chosen, *rest, **options)

    def watched_predict(network, images, batch_size):
        judged.append(images[:][0])
        assert learned[-1].shape[0] == 7 + len(data.validation) - len(images)
        said.append(network(images[:][0]).argmax(1))
        return said[-1]

    monkeypatch.setattr(cross_fitting, "fit", watched_fit)
    monkeypatch.setattr(cross_fitting, "predict", watched_predict)
    predictions = cross_fitting.cross_fitted_predictions(chain, 0, torch.arange(7))
    assert len(judged) == 4  # as many folds as images of a class
    for kept, left_out in zip(learned, judged, strict=True):
        same = (kept.flatten(1)[:, None] == left_out.flatten(1)[None]).all(2)
        assert not same[7:].any()
    assert sum(map(len, judged)) == len(data.validation) == len(predictions)
    judged, inputs = torch.cat(judged).flatten(1), data.validation[:][0].flatten(1)
    own = (inputs[:, None] == judged[None]).all(2).int().argmax(1)  # place of each image among the judged
    assert sorted(own.tolist()) == list(range(len(inputs)))
    assert torch.equal(predictions, torch.cat(said)[own])
    assert len(predictions.unique()) > 2


def test_one_validation_image_cannot_be_left_out_and_learned(layout, monkeypatch):
    chain = make_chain(layout, "gradFmap/80", train_on_validation=True)
    data = chain.load_data()
    monkeypatch.setattr(
        type(chain),
        "load_data",
        lambda self: replace(data, validation=data.validation.subset(torch.tensor([0]))),
    )
    with pytest.raises(UserError, match="single validation image"):
        cross_fitting.cross_fitted_predictions(chain, 0, torch.arange(7))


def test_training_on_validation_alone_asks_for_nothing(folder, layout):
    outcome = run_py(folder, "--methods", "train-on-validation", "--validation-images", 5, "--keep", "last")
    assert outcome.code == 0, outcome.err
    chain = make_chain(layout, "train-on-validation", validation_images=5, keep="last")
    assert chain.budget == 0
    assert np.load(chain.layout.index_list(chain.method, 2, 0)).shape == (0,)
    accuracy = load_checkpoint(chain.model_path(2, 0), "")["acc_last"]
    assert accuracy > 50
    data = chain.load_data()
    arguments = chain.training, chain.generator(0, "training", 0), data.test
    expected = fit(chain.load_model(0, 0), data.validation, torch.arange(50), *arguments)
    assert load_checkpoint(chain.model_path(1, 0), "")["acc"] == pytest.approx(expected.acc)
    drawn = ("--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--iterations", 2)
    variant = ("--validation-images", 5, "--keep", "last")
    assert run_py(folder, "--methods", "random", *variant).code == 0
    outcome = call("run_plot.py", *drawn, "--methods", "train-on-validation", "random", *variant)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "options", [("--train-on-validation", "--methods", "random"), ("--methods", "train-on-validation")]
)
def test_epoch_is_not_chosen_by_images_that_are_learned(folder, options):
    outcome = run_py(folder, *options, "--keep", "validation")
    assert outcome.code == 2
    assert "--keep validation: " in outcome.err
