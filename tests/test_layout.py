"""The names through which stages, also of other implementations, find each other's files."""

from pathlib import Path

from fisher_al.experiment import find_method, parse_method
from fisher_al.files.layout import Layout
from mnist.experiment import MNIST

FOLDER = Path("local_data/MNIST")
RUN = FOLDER / "run3"


def test_names_of_a_pretrained_run():
    layout = Layout(FOLDER, "run3", imbalance_ratio=100.0)
    ours = parse_method("gradFmap/80", MNIST)
    tag = "ir_100_nr_0.0_sub_gradFmap_aug_topKandPccFprGrad_L_80"
    assert layout.processed("val-split") == FOLDER / "processed/val-split.pt"
    assert layout.pool() == RUN / "data/train_ir_100_nr_0.0.pt"
    initial = RUN / "checkpoint/init_unsup_batch_0_ir_100_nr_0.0_sub_none_aug_none.pt"
    assert layout.initial_checkpoint() == initial
    assert layout.best_checkpoint(ours, 3, 375) == RUN / f"checkpoint/best_unsup_batch_3_size_375_{tag}.pt"
    assert layout.index_list(ours, 3, 375) == RUN / f"index_list_unsup_batch_3_size_375_{tag}.npy"
    assert layout.descriptors("train", ours) == RUN / f"descr/train_unsup_batch_B_{tag}.pt"
    assert layout.descriptors("val", ours) == RUN / f"descr/val_unsup_batch_B_{tag}.pt"


def test_names_of_an_ensemble_from_random_weights():
    layout = Layout(FOLDER, "run3", 1.0, noisy_ratio=0.1, pretrained=False, ensemble_size=4)
    uncertain = parse_method("varMC", MNIST)
    tag = "ir_1_nr_0.1_sub_varMC_aug_topUncert_L_0"
    assert layout.pool() == RUN / "data/train_ir_1_nr_0.1.pt"
    initial = RUN / "checkpoint/init_batch_0_ir_1_nr_0.1_sub_none_aug_none_E_2.pt"
    assert layout.initial_checkpoint(2) == initial
    assert (
        layout.best_checkpoint(uncertain, 1, 125, 2) == RUN / f"checkpoint/best_batch_1_size_125_{tag}_E_2.pt"
    )
    assert layout.index_list(uncertain, 1, 125) == RUN / f"index_list_batch_1_size_125_{tag}_E_4.npy"
    assert layout.descriptors("train", uncertain, 2) == RUN / f"descr/train_batch_B_{tag}_E_2.pt"


def test_an_unbiased_pool_is_the_processed_split():
    assert Layout(FOLDER, "run0", 1.0).pool() == FOLDER / "processed/train-split.pt"


def test_stage_options_and_method_tokens_name_the_same_methods():
    for token in MNIST.methods:
        method = parse_method(token, MNIST)
        assert method.token == token
        assert find_method(method.sub, method.aug, method.length, MNIST) == method
    assert parse_method("gradFmap", MNIST).length == 80
    assert find_method("none", "topKandPcc", 20, MNIST).token == "none/20"
