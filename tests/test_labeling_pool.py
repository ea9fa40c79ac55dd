"""Which files are the pool, whatever they are called and wherever they lie."""

import os

import pytest
from rounds import touch, write_csv

from fisher_al.errors import UserError
from fisher_al.labeling.pool import Pool, find_pool

ODD_NAMES = (
    *("a,b.jpg", 'say "cheese".png', "two\nlines.jpg", "carriage\rreturn.jpg", "cat \U0001f431.webp"),
    *("-rf.jpg", "--out.jpg", " spaces  .jpg", "=1+1.png", "%41.jpg", "\u2028.jpg", "back\\slash.jpg"),
)


def test_folders_are_searched_to_the_bottom_in_order_of_names(tmp_path):
    touch(
        *(tmp_path / name for name in ("b/z.JPG", "b/c/d/y.jpeg", "a/x.Png", "top.webp", "a/w.tiff", "v.bmp"))
    )
    assert find_pool(tmp_path).keys == ["top.webp", "v.bmp", "a/w.tiff", "a/x.Png", "b/z.JPG", "b/c/d/y.jpeg"]


def test_hidden_files_and_other_files_are_no_part_of_the_pool(tmp_path):
    names = (".hidden.jpg", ".cache/x.jpg", "a/.thumbs/x.jpg", "._mac.jpg", "notes.txt", "jpg", "x.gif")
    touch(*(tmp_path / name for name in (*names, "a/seen.jpg")))
    assert find_pool(tmp_path) == Pool(tmp_path, ["a/seen.jpg"], {})


def test_any_name_is_a_key(tmp_path):
    touch(*(tmp_path / name for name in ODD_NAMES))
    assert find_pool(tmp_path).keys == sorted(ODD_NAMES)


def test_what_cannot_be_read_or_named_is_passed_over_with_the_reason(tmp_path):
    touch(tmp_path / "good.jpg", tmp_path / os.fsdecode(b"caf\xe9.jpg"))
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dead.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "around").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.jpg").symlink_to("good.jpg")
    pool = find_pool(tmp_path)
    assert pool.keys == ["good.jpg", "link.jpg"]
    assert pool.passed_over == {
        "caf\\udce9.jpg": "its name is no UTF-8",
        "dead.jpg": "not found",
        "loop.jpg": "not found",
        "pipe.jpg": "no regular file",
    }


def list_files(folder, kind, names):
    """A file that lists the names."""
    if kind == "csv":
        return write_csv(folder / "list.csv", ("id", "filepath"), [(i, n) for i, n in enumerate(names)])
    path = folder / "list.txt"
    path.write_text("\n".join(names) + "\n", newline="")
    return path


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_a_list_gives_each_image_once_relative_to_itself(kind, tmp_path):
    touch(tmp_path / "sets/x.jpg", tmp_path / "sets/a b/y.jpg", tmp_path / "elsewhere/z.jpg")
    names = ["x.jpg", "./x.jpg", "a b/../a b/y.jpg", str(tmp_path / "sets/x.jpg"), "../elsewhere/z.jpg"]
    pool = find_pool(list_files(tmp_path / "sets", kind, [*names, "gone.jpg", "x.jpg", "README"]))
    assert pool.root == tmp_path / "sets"
    assert pool.keys == ["x.jpg", "a b/y.jpg", str(tmp_path / "elsewhere/z.jpg")]
    none = "its name ends in none of .bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    assert pool.passed_over == {"gone.jpg": "not found", "README": none}


@pytest.mark.parametrize(
    ("kind", "unlisted"), [("txt", {"two\nlines.jpg", "carriage\rreturn.jpg"}), ("csv", set())]
)
def test_a_list_holds_odd_names(kind, unlisted, tmp_path):
    touch(*(tmp_path / name for name in ODD_NAMES))
    names = [name for name in ODD_NAMES if name not in unlisted]
    assert find_pool(list_files(tmp_path, kind, names)).keys == names


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_a_list_from_windows_is_read(kind, tmp_path):
    touch(tmp_path / "x.jpg", tmp_path / "y.jpg")
    path = list_files(tmp_path, kind, ["x.jpg", "y.jpg"])
    text = path.read_text().replace("\r\n", "\n").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert find_pool(path).keys == ["x.jpg", "y.jpg"]


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (b"caf\xe9.jpg\n", "list.txt", "not a text of paths"),
        (b"path\nx.jpg\n", "list.csv", "no column 'filepath'; its columns are 'path'"),
        (b"", "list.csv", "its columns are none"),
        (b"filepath,label\nx.jpg\n", "list.csv", "line 2: not as many cells as columns"),
        (b"filepath\ncaf\xe9.jpg\n", "list.csv", "not a CSV file in UTF-8"),
        (b'filepath\n"x.jpg\n', "list.csv", "not a CSV file in UTF-8"),
        (b"a\0b.jpg\n", "list.txt", "no images in it"),
        (b"README\n", "list.txt", "no images in it"),
    ],
)
def test_a_list_that_is_none_is_named(content, name, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        find_pool(tmp_path / name)
    assert name in str(error.value)


def test_no_pool_is_one_line(tmp_path):
    for path, told in (
        (tmp_path, "no images in it"),
        (tmp_path / "gone", "not found; give a folder of images"),
    ):
        with pytest.raises(UserError, match=told):
            find_pool(path)
