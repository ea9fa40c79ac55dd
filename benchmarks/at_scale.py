"""Write and match synthetic descriptors of ImageNet's kind, and extrapolate to all of ImageNet.

    python3 benchmarks/at_scale.py      # from the root; about five minutes of two cores

Descriptors are 768 channels of z and of g. What is measured: writing them block by block, matching them with
misclassified validation images straight from the file, decoding and describing images. Memory
is the process's own at the peak, without the pages of the file. Times for all of ImageNet follow from the
number of images and operations; for a GPU that is not there, from its float32 speed (--gpu-speed).
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import description, matrix_product_speed, peak_own_memory_of, seconds_of
from PIL import Image
from tabulate import tabulate

from fisher_al.commands.parsing import Parser, count, real_number
from fisher_al.commands.scripts import run_script
from fisher_al.data.folder_images import Decoder
from fisher_al.data.loaders import LOADERS
from fisher_al.files.storage import load_tensors, save_json, save_rows
from fisher_al.memory import keep_freed_memory
from fisher_al.method import acquisition
from fisher_al.method.descriptors import ForwardPass
from imagenet.experiment import IMAGENET, MEAN, STD

POOL, VALIDATION, BUDGET = 1_281_167, 50_000, 64_000
CHANNELS, WIDTHS = 768, (256, 512)
# The paper's random start misclassifies most of the validation images.
TARGETS = 40_000


def measure_writing(path, images, dtype):
    """Seconds, and bytes of own memory, of writing descriptors as they come out of the network."""
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(1024, CHANNELS, 2, generator=generator)
    blocks = (block[: min(1024, images - start)] for start in range(0, images, 1024))
    start = time.perf_counter()
    _, memory = peak_own_memory_of(lambda: save_rows(blocks, images, path, dtype))
    return time.perf_counter() - start, memory


def measure_matching(path, targets, budget):
    """Seconds, and bytes of own memory, of matching the descriptors in the file."""
    generator = torch.Generator().manual_seed(1)
    centres = acquisition.kernel_features(torch.randn(targets, CHANNELS, 2, generator=generator), WIDTHS)
    pool = load_tensors(path, "", mmap=True)

    def features(part):
        return acquisition.kernel_features(part.float(), WIDTHS)

    start = time.perf_counter()
    matches, memory = peak_own_memory_of(lambda: acquisition.match(centres, pool, budget, features=features))
    assert len(matches.candidates.unique()) == budget
    return time.perf_counter() - start, memory


def images_per_second(folder):
    """How many JPEG files of 500 x 375 are decoded, and how many inputs of 224 x 224 are described."""
    generator = np.random.default_rng(0)
    for i in range(256):
        coarse = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((500, 375)).save(folder / f"{i}.jpg", quality=90)
    decoder = Decoder(folder, 224, 256, LOADERS["dali"], MEAN, STD, torch.get_num_threads())
    files = [f"{i}.jpg" for i in range(256)] * 4

    def decode():
        for _ in decoder.load(decoder, files, 64, "cpu", None):
            pass

    network = IMAGENET.network(1000).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    inputs = torch.randn(32, 3, 224, 224).to(memory_format=torch.channels_last)

    def describe():
        one_pass = ForwardPass(network, inputs, IMAGENET.lengths[768])
        one_pass.scores(one_pass.logits.argmax(1))

    describe()
    return len(files) / seconds_of(decode, 3), len(inputs) / seconds_of(describe, 5)


def main(arguments):
    parser = Parser("Write and match descriptors of ImageNet's kind, and extrapolate to all of ImageNet.")
    parser.add_argument("--images", type=count, default=128_000, help="synthetic pool images")
    parser.add_argument("--targets", type=count, default=4_000, help="synthetic misclassified images")
    parser.add_argument(
        "--gpu-speed",
        type=real_number("a positive number", lambda value: 0 < value < 1e6),
        default=19.5,
        help="float32 TFLOP/s of the GPU to extrapolate to; that of an A100's data sheet",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_suffix(".json"), help="JSON file to write"
    )
    args = parser.parse_args(arguments)
    keep_freed_memory()
    speed = matrix_product_speed()
    budget = round(BUDGET * args.images / POOL)
    operations = 2 * args.images * args.targets * 2 * CHANNELS
    results = {
        "machine": {**description(), "matrix product, operations/s": speed},
        "images": args.images,
        "targets": args.targets,
        "budget": budget,
    }
    with tempfile.TemporaryDirectory() as folder:
        decoded, described = images_per_second(Path(folder))
        for dtype in (torch.float32, torch.bfloat16):
            path = Path(folder) / "descr.pt"
            written, writing_memory = measure_writing(path, args.images, dtype)
            seconds, memory = measure_matching(path, args.targets, budget)
            results[str(dtype).removeprefix("torch.")] = {
                "file, GB": path.stat().st_size / 1e9,
                "writing, s": written,
                "writing, own MB": writing_memory / 1e6,
                "matching, s": seconds,
                "matching, of matrix-product speed": operations / speed / seconds,
                "matching, own MB": memory / 1e6,
            }
    at_full = 2 * POOL * TARGETS * 2 * CHANNELS
    share = results["float32"]["matching, of matrix-product speed"]
    images = POOL + VALIDATION
    results["images/s"] = {"decoded": decoded, "described": described}
    results["all of ImageNet"] = {
        "file, GB": POOL * CHANNELS * 2 * 4 / 1e9,
        "operations of matching": at_full,
        "this machine: describing, h": images / min(decoded, described) / 3600,
        "this machine: matching, min": at_full / speed / share / 60,
        "GPU, TFLOP/s": args.gpu_speed,
        "GPU at the same share of its speed: matching, min": at_full / args.gpu_speed / 1e12 / share / 60,
    }
    for name in ("float32", "bfloat16", "images/s", "all of ImageNet"):
        print(f"\n{name}")
        print(tabulate(results[name].items(), floatfmt=".3g"))
    save_json(results, args.out)
    print(f"\n{args.out}")


if __name__ == "__main__":
    run_script(main)
