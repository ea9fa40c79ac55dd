"""Files that are broken, forged, or hold weights that explode.

All take a campaign with its initial models made, and a generator of random numbers that says where to strike.
They end with `require_survival`.
"""

import pickle
import random
import re
from pathlib import Path

import numpy as np
import torch
from campaigns import INITIAL, ITERATIONS, METHODS, Campaign, require_refusal, some_iterations
from conftest import Payload, call

from fisher_al.experiment import parse_method
from fisher_al.files.storage import save_tensors
from fisher_al.training.checkpoints import load_checkpoint
from mnist.experiment import DIGITS


def checkpoint_cut(campaign: Campaign, rng: random.Random) -> None:
    """A checkpoint of which half is missing: named, the other chains go on, --repair remakes it."""
    token, batch = some_iterations(campaign, rng)
    path = campaign.checkpoint(token, rng.randint(1, batch))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _named_and_repaired(campaign, path, "truncated", [other for other in METHODS if other != token])


def byte_flipped_in_checkpoint(campaign: Campaign, rng: random.Random) -> None:
    token, batch = some_iterations(campaign, rng)
    path = campaign.checkpoint(token, rng.randint(1, batch))
    _flip(path, rng)
    _named_and_repaired(campaign, path, "altered|truncated", [other for other in METHODS if other != token])


def byte_flipped_in_index_list(campaign: Campaign, rng: random.Random) -> None:
    token, batch = some_iterations(campaign, rng)
    path = campaign.index_list(token, rng.randint(1, batch))
    _flip(path, rng)
    wrong = "altered|holds other than|not a .npy file"
    _named_and_repaired(campaign, path, wrong, [other for other in METHODS if other != token])


def byte_flipped_in_initial_model(campaign: Campaign, rng: random.Random) -> None:
    some_iterations(campaign, rng)
    path = campaign.layout.initial_checkpoint()
    _flip(path, rng)
    require_refusal(campaign.call(), f"{path.name}.*(altered|truncated)")
    require_refusal(campaign.call("--repair"), f"{path.name}: broken; run.py --initial --repair")
    assert campaign.call("--repair", options=INITIAL).code == 0
    campaign.require_survival()


def byte_flipped_in_data(campaign: Campaign, rng: random.Random) -> None:
    """In the pool or in one of the splits."""
    some_iterations(campaign, rng, up_to=ITERATIONS - 1)
    splits = [campaign.layout.processed(split) for split in ("test", "val-split", "train-split")]
    path = rng.choice([campaign.layout.pool(), *splits])
    _flip(path, rng)
    _named_and_repaired(campaign, path, "altered|truncated", [])


def byte_flipped_in_descriptor(campaign: Campaign, rng: random.Random) -> None:
    """Between gen_descr.py and main_descr.py, where run.py leaves no time for it."""
    batch = rng.randint(0, 1)
    if batch:
        assert campaign.call("--iterations", batch).code == 0
    step = ("--dataset", "DIGITS", "--datadir", campaign.folder, "-ir", 10, "-b", batch, "-as", 15)
    assert call("gen_descr.py", *step).code == 0
    path = campaign.layout.descriptors(rng.choice(("train", "val")), parse_method("gradFmap/80", DIGITS))
    _flip(path, rng)
    require_refusal(
        call("main_descr.py", *step, "--epochs", 2), f"{path.name}.*(altered|truncated).*run.py --repair"
    )
    outcome = campaign.call("--repair")
    assert outcome.code == 0, outcome.err
    assert f"to be made anew: {path}" in outcome.out
    # of a finished chain they are made anew as well
    whole = path.read_bytes()
    _flip(path, rng)
    assert campaign.call("--repair").code == 0
    assert path.read_bytes() == whole
    campaign.require_survival()


def loss_becomes_nan(campaign: Campaign, rng: random.Random) -> None:
    """A chain whose weights explode: epoch and learning rate are told, the others go on."""
    token, batch = some_iterations(campaign, rng, up_to=ITERATIONS - 1)
    path = campaign.checkpoint(token, batch)
    whole, checkpoint = path.read_bytes(), load_checkpoint(path, "")
    checkpoint["state_dict"]["fc1.weight"] *= 1e38
    save_tensors(checkpoint, path)
    told = "the loss became NaN or infinite in epoch 1 at learning rate 0.05"
    require_refusal(campaign.call(), f"{re.escape(token)} b={batch + 1}: {told}")
    assert not campaign.checkpoint(token, batch + 1).exists()
    assert all(campaign.checkpoint(other, ITERATIONS).is_file() for other in METHODS if other != token)
    path.write_bytes(whole)
    campaign.require_survival()


def hostile_pickle(campaign: Campaign, rng: random.Random) -> None:
    """A file that would make a folder if anything in it were executed, in place of one that is loaded."""
    token, batch = some_iterations(campaign, rng, up_to=ITERATIONS - 1)
    layout, proof = campaign.layout, campaign.folder / "proof"
    path = rng.choice(
        [
            *(layout.pool(), layout.processed("test"), layout.processed("val-split")),
            *(campaign.checkpoint(token, batch), campaign.index_list(token, batch)),
        ]
    )
    if path.suffix == ".npy":
        np.save(path, np.array([Payload(proof)], dtype=object), allow_pickle=True)
    elif rng.random() < 0.5:
        torch.save({"state_dict": Payload(proof), "acc": 1.0, "epoch": 1}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(proof)))
    require_refusal(campaign.call("--methods", token), re.escape(path.name))
    assert campaign.call("--repair").code == 0
    assert not proof.exists()
    campaign.require_survival()


def _flip(path: Path, rng: random.Random) -> None:
    """Change one bit of a file's data, which lie behind its first bytes."""
    content = bytearray(path.read_bytes())
    position = rng.randrange(len(content) // 3, 2 * len(content) // 3)
    content[position] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _named_and_repaired(campaign: Campaign, path: Path, wrong: str, others: list[str]) -> None:
    """Assert that the file is named, that the `others` go on without it, and that --repair remakes it."""
    require_refusal(campaign.call(), f"{re.escape(path.name)}: .*({wrong}).*run.py --repair")
    assert all(campaign.checkpoint(token, ITERATIONS).is_file() for token in others)
    outcome = campaign.call("--repair")
    assert outcome.code == 0, outcome.err
    assert f"to be made anew: {path}" in outcome.out
    campaign.require_survival()
