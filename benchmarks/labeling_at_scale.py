"""Time and memory of a round of `fisher-al pick` on many images whose features are in the cache.

    python3 benchmarks/labeling_at_scale.py       # from the root; some minutes of two cores, 1 GB of disk

The pool is hard links to a small image under many names, in nested folders; the features are synthetic, 512
channels in clusters. What is measured is the whole command: finding the images, reading the labels, verifying
the cache, the head and its folds, the picks, all files. Two sizes; from them follows what more images take.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from machine import description, seconds_of
from PIL import Image
from tabulate import tabulate

from fisher_al.commands.parsing import Parser, count
from fisher_al.commands.scripts import run_script
from fisher_al.files.storage import save_json
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.cache import identity_of, open_cache
from fisher_al.labeling.embedding import BATCH_SIZE, embed
from fisher_al.labeling.round import Reading
from fisher_al.labeling.tables import write_rows
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.tapped import POOLED

DEFAULT_OUT = Path(__file__).parent / "labeling_at_scale.json"
CLASSES, VALIDATION, LABELED, BUDGET = 20, 1_000, 1_000, 200
ALL_OF_IMAGENET = 1_281_167


def make_pool(folder, images):
    """Image files under many names, their features in a cache, and tables of labels."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((CLASSES, 512)).astype(np.float32)
    pixels = Image.fromarray(generator.integers(0, 255, (32, 32, 3), np.uint8))
    backbone = load_untrained(folder)
    reading = Reading(backbone, "dali", 2, "cpu", 1, folder / "features", {})
    rows = {"pool": [], "known": []}
    with open_cache(reading.cache, reading.identity, backbone.width) as cache:
        for kind, number in (("known", VALIDATION), ("pool", images)):
            for start in range(0, number, 4096):
                some = range(start, min(start + 4096, number))
                classes = generator.integers(0, CLASSES, len(some))
                features = centres[classes] + 2 * generator.standard_normal((len(some), 512), np.float32)
                names = [f"{kind}/{i // 1000:04d}/{i:07d}.png" for i in some]
                pixels.save(folder / "picture.png")  # anew, as a file has so many links only
                for name in names:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    os.link(folder / "picture.png", folder / name)
                (folder / "picture.png").unlink()
                cache.append([identity_of(folder / name) for name in names], features)
                rows[kind] += [(name, f"class{label}") for name, label in zip(names, classes, strict=True)]
    write_rows(folder / "validation.csv", ("filepath", "label"), rows["known"])
    in_pool = ((name.removeprefix("pool/"), label) for name, label in rows["pool"][:LABELED])
    write_rows(folder / "labels.csv", ("filepath", "label"), in_pool)


def measure(images):
    """Seconds and peak memory of one round, as a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_pool(folder, images)
        command = [sys.executable, "-m", "fisher_al", "pick", "pool", "--validation", "validation.csv"]
        command += [
            "--labels",
            "labels.csv",
            "--weights",
            "weights.pt",
            "--budget",
            BUDGET,
            "--out",
            "round1",
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment, stdout=subprocess.DEVNULL
        )
        peak = 0  # of its own; what wait4 tells is at least this process's
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        assert process.returncode == 0
    return {"images": images, "seconds": round(seconds, 1), "peak MB": round(peak / 1000)}


def peak_of(pid):
    """Kilobytes of memory at the peak of a process so far, mapped files included; 0 when it has ended."""
    try:
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])
    except (OSError, TypeError):
        return 0


def measure_embedding(images=768):
    """Images a second of the whole embedding of photographs, and of the network alone."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        backbone = load_untrained(folder)
        for number in range(images):
            coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), np.uint8))
            coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number:04}.jpg", quality=90)
        paths = sorted(str(path) for path in folder.glob("*.jpg"))
        reading = Reading(backbone, "dali", os.cpu_count() or 1, "cpu", 1, folder / "features", {})
        embedder = reading.embedder()
        inputs = torch.randn(BATCH_SIZE, 3, backbone.crop, backbone.crop)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        alone = BATCH_SIZE / seconds_of(lambda: ForwardPass(embedder.network, inputs, (POOLED,)), 9)
        with open_cache(reading.cache, reading.identity, backbone.width) as cache:
            start = time.perf_counter()
            embed(embedder, paths, cache)
            whole = images / (time.perf_counter() - start)
    return {"images/s": round(whole, 1), "network alone": round(alone, 1), "share": round(whole / alone, 3)}


def load_untrained(folder):
    """A ResNet-18 with random weights, which `weights.pt` keeps."""
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "weights.pt")
    return load_backbone("resnet18", folder / "weights.pt")


def main(arguments):
    parser = Parser("Measure a round of `fisher-al pick` on many images.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON file to write")
    parser.add_argument("--images", type=count, default=200_000, help="the larger pool; the other is half")
    args = parser.parse_args(arguments)
    embedding = measure_embedding()
    rows = [measure(args.images // 2), measure(args.images)]
    per_image = {
        name: (rows[1][name] - rows[0][name]) / (rows[1]["images"] - rows[0]["images"])
        for name in ("seconds", "peak MB")
    }
    further = ALL_OF_IMAGENET - rows[1]["images"]
    rows.append(
        {"images": ALL_OF_IMAGENET}
        | {name: round(rows[1][name] + further * per_image[name]) for name in per_image}
        | {"extrapolated": True}
    )
    print(tabulate(rows, headers="keys", tablefmt="github"))
    print(embedding)
    save_json({"machine": description(), "rounds": rows, "embedding": embedding}, args.out)
    print(f"\n{args.out}")


if __name__ == "__main__":
    run_script(main)
