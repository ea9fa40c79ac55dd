"""Real photographs as a user has them: an unlabeled pool in nested folders, and a few labeled images.

    python3 benchmarks/photos.py PHOTOS       # from the root; needs ../shared

Writes into the folder PHOTOS: `pool/` (400 images of ten classes, 8 of each of the other ten, under names
that say nothing), `validation/<class>/` (20 of each class), `test/<class>/`, and `oracle.csv`, the labels of
the pool. They are of 20 classes of Tiny-ImageNet, from `../shared/data/tiny-imagenet-20.tar`.
"""

import random
import shutil
import tarfile
import tempfile
from pathlib import Path

from fisher_al.commands.parsing import Parser, index
from fisher_al.commands.scripts import run_script
from fisher_al.errors import UserError
from fisher_al.labeling.tables import write_rows

ARCHIVE = Path(__file__).parents[2] / "shared" / "data" / "tiny-imagenet-20.tar"
COMMON, RARE, VALIDATION = 400, 8, 20


def main(arguments):
    parser = Parser("Lay real photographs out as an unlabeled pool and a few labeled images.")
    parser.add_argument("folder", type=Path, metavar="PHOTOS", help="folder to make")
    parser.add_argument("--seed", type=index, default=0, help="says which classes are rare")
    args = parser.parse_args(arguments)
    if not ARCHIVE.is_file():
        raise UserError(f"{ARCHIVE}: not found; this script needs the data beside the project")
    if args.folder.exists():
        raise UserError(f"{args.folder}: exists; name a new folder")
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary, tarfile.open(ARCHIVE) as archive:
        archive.extractall(temporary, filter="data")
        [root] = Path(temporary).iterdir()
        shutil.copytree(root / "val", args.folder / "test")
        labels = lay_out(root / "train", args.folder, rng)
    write_rows(args.folder / "oracle.csv", ("filepath", "label"), sorted(labels))
    print(f"{args.folder}: a pool of {len(labels):,} images")


def lay_out(source, folder, rng):
    """Copy the training images into pool and validation; the pool's keys with their labels."""
    classes = sorted(path.name for path in source.iterdir())
    rare = set(rng.sample(classes, len(classes) // 2))
    labels = []
    for name in classes:
        files = sorted((source / name).iterdir())
        rng.shuffle(files)
        for file in files[: RARE if name in rare else COMMON]:
            where = f"camera {rng.randrange(1, 6)}/day {rng.randrange(1, 21):02}"
            key = f"{where}/IMG_{rng.getrandbits(40):010x}.jpg"
            (folder / "pool" / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / "pool" / key)
            labels.append((key, name))
        (folder / "validation" / name).mkdir(parents=True)
        for file in files[COMMON : COMMON + VALIDATION]:
            shutil.copy(file, folder / "validation" / name / file.name)
    return labels


if __name__ == "__main__":
    run_script(main)
