"""Fingerprints of everything that the scripts compute, to see whether a change of the code changed a result.

    python3 benchmarks/fingerprint.py --out before.json                 # from the root; about five minutes
    python3 benchmarks/fingerprint.py --out after.json --same before.json

Runs nearly every method on the digits, and on the data in ../shared where that is, with one thread: initial
models, three iterations, ensembles of two, both starts, VAAL. A fingerprint is the checksum of every tensor,
the accuracies, and the picks. `--root` names another checkout to run instead of this one.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

METHODS = [
    "random",
    "varMC",
    "entMC",
    "baldMC",
    "stdMC",
    "none/20",
    "gradAbl/20",
    "grad/20",
    "gradFmap/20",
    "gradFmap/80",
    "gradGmap/80",
]
METHODS += ["cor/20", "amiFull/20", "amiDiag/20", "coreset/20", "badge/20"]
METHODS += ["margin", "balanced", "typiclust/50", "clue/20", "falcun", "similar", "galaxy", "direct"]
METHODS += ["gradShift/80"]
SHORT = ["--run-stop", "1", "--epochs", "2", "--seed", "3"]
DIGITS = ["--dataset", "DIGITS", *SHORT]
SVHN = ["--allow-unverified-data", "--validation-per-class", "60", "--pool-size", "4000", "-ir", "10", *SHORT]
IMAGES = ["--crop", "32", "--workers", "2", "-ir", "5", "--holdout", "0.4", "--half", *SHORT]
SIZES = ["--iterations", "2", "-as", "20", "-smp", "4", "-gbs", "256", "--methods"]
IMAGE_METHODS = ["random", "varMC", "none/512", "gradFmap/768", "cor/512", "badge/512"]


def commands(folder):
    """Folder, script and options of everything that is run, in order."""
    digits = ["--iterations", "3", "-as", "20", "-smp", "8", "-ens", "1", "2", "--methods"]
    yield "mnist", ["run.py", *DIGITS, "-ens", "2", "--initial"]
    for start in "01":
        yield "mnist", ["run.py", *DIGITS, "-unsup", start, *digits, *METHODS]
    adversarial = ["--dataset", "DIGITS", "--run-stop", "1", "--seed", "3", "--iterations", "2"]
    yield "vaal", ["run.py", *adversarial, "--train-iterations", "20"]
    if (SHARED / "SVHN-standin").is_dir():
        yield "svhn", ["run.py", *SVHN, "--initial"]
        yield "svhn", ["run.py", *SVHN, *SIZES, *IMAGE_METHODS]
    if (folder / "pets").is_dir():
        images = ["--imagenetdir", str(folder / "pets"), *IMAGES]
        yield "imagenet", ["run.py", *images, "--initial"]
        yield "imagenet", ["run.py", *images, *SIZES, *IMAGE_METHODS]


def prepare_data(folder):
    """The shared data where the scripts look for them, of images of classes a few each."""
    if (SHARED / "SVHN-standin").is_dir():
        (folder / "SVHN").mkdir()
        (folder / "SVHN" / "raw").symlink_to(SHARED / "SVHN-standin" / "raw")
    if (SHARED / "tiny-imagenet-20.tar").is_file():
        with tarfile.open(SHARED / "tiny-imagenet-20.tar") as archive:
            archive.extractall(folder / "all", filter="data")
        for split, count in (("train", 20), ("val", 10)):
            for images in sorted((folder / "all").rglob(f"{split}/n*"))[:6]:
                chosen = folder / "pets" / split / images.name
                chosen.mkdir(parents=True)
                for image in sorted(images.iterdir())[:count]:
                    (chosen / image.name).symlink_to(image)


def fingerprint(path):
    """Checksums and numbers of one file of results."""
    if path.suffix == ".txt":
        return path.read_text().split("\n")
    if path.suffix == ".npy":
        return np.load(path).tolist()
    return of_content(torch.load(path, weights_only=True))


def of_content(content):
    if isinstance(content, dict):
        return {str(name): of_content(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [of_content(value) for value in content]
    if torch.is_tensor(content):
        content = content.contiguous().reshape(-1).view(torch.uint8)
        return zlib.crc32(content.numpy().tobytes())
    return content


def fingerprints(root):
    """Fingerprints of all files that the scripts of the checkout `root` make, by name."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_data(folder)
        for where, arguments in commands(folder):
            print(where, *arguments, flush=True)
            command = [sys.executable, *arguments, "--datadir", name]
            subprocess.run(command, cwd=root / where, env=environment, check=True)
        results = [
            path
            for run in folder.glob("*/run*")
            for path in run.rglob("*")
            if path.suffix in (".pt", ".npy", ".txt")
        ]
        return {str(path.relative_to(folder)): fingerprint(path) for path in sorted(results)}


def main():
    parser = argparse.ArgumentParser(description="Fingerprint everything that the scripts compute.")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to run (default: this one)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--same", type=Path, help="fingerprints that these should equal")
    args = parser.parse_args()
    found = json.loads(json.dumps(fingerprints(args.root.resolve())))
    args.out.write_text(json.dumps(found, indent=0) + "\n")
    if args.same:
        before = json.loads(args.same.read_text())
        differing = sorted(n for n in before.keys() | found.keys() if before.get(n) != found.get(n))
        print(
            f"{len(before)} files before, {len(found)} now; {len(differing)} differ", *differing, sep="\n  "
        )
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
