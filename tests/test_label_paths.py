"""Which image a label is of: paths of this machine and of others, copies, links, and what is gone."""

import os

import pytest
from rounds import labels_of, touch, write_csv, write_json
from test_label_studio import annotated, choice

from fisher_al.errors import UserError
from fisher_al.labeling.answers import read_validation
from fisher_al.labeling.pool import find_pool

COLUMNS = ("filepath", "label")


def test_an_upload_whose_name_two_images_have_is_neither(pool, tmp_path):
    tasks = [annotated("/data/upload/1/0123abcd-x.jpg", choice("dog"))]
    with pytest.raises(UserError, match="not in the pool"):
        labels_of(pool, write_json(tmp_path / "x.json", tasks))


def test_of_several_ends_of_a_path_the_longest_counts(pool, tmp_path):
    touch(pool.root / "x.jpg")
    path = write_csv(tmp_path / "l.csv", COLUMNS, [("/of/another/machine/a/x.jpg", "cat")])
    assert labels_of(find_pool(pool.root), path) == {"a/x.jpg": "cat"}


def test_an_image_of_the_same_name_size_and_time_is_no_copy(tmp_path):
    for name in ("pool/1.jpg", "sorted/cat/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name[0])
        os.utime(tmp_path / name, ns=(1, 1))
    found = labels_of(find_pool(tmp_path / "pool"), tmp_path / "sorted")
    assert found == {str(tmp_path / "sorted/cat/1.jpg"): "cat"}


@pytest.mark.parametrize("read", [labels_of, lambda pool, path: read_validation(path, pool)])
def test_a_copy_or_a_link_is_the_image_of_the_pool_and_another_of_its_name_is_not(read, tmp_path):
    for name in ("1.jpg", "2.jpg", "day/4.jpg", "day/5.jpg"):
        (path := tmp_path / "pool" / name).parent.mkdir(exist_ok=True)
        path.write_text(f"pixels of {name}")
    (tmp_path / "pool" / "linked.jpg").symlink_to(tmp_path / "store.jpg")
    (tmp_path / "store.jpg").write_text("pixels elsewhere")
    (tmp_path / "way").symlink_to(tmp_path / "pool", target_is_directory=True)
    pool = find_pool(tmp_path / "way")
    cat, dog = tmp_path / "sorted" / "cat", tmp_path / "sorted" / "dog"
    cat.mkdir(parents=True)
    dog.mkdir()
    (cat / "1.jpg").write_text("pixels of 1.jpg")
    (dog / "1.jpg").write_text("pixels of a dog")
    (cat / "any.jpg").symlink_to(tmp_path / "pool" / "day" / "4.jpg")
    (dog / "other.jpg").symlink_to(tmp_path / "store.jpg")
    (dog / "5.jpg").write_text("pixels of day/5.jpg")
    expected = {
        "1.jpg": "cat",
        "day/4.jpg": "cat",
        "day/5.jpg": "dog",
        str(dog / "1.jpg"): "dog",
        "linked.jpg": "dog",
    }
    assert read(pool, tmp_path / "sorted") == expected
    real = [(tmp_path / "pool" / "1.jpg", "cat"), (tmp_path / "store.jpg", "dog")]
    table = write_csv(tmp_path / "real.csv", COLUMNS, real)
    assert read(pool, table) == {"1.jpg": "cat", "linked.jpg": "dog"}


def test_copies_of_equal_images_are_told_apart_by_their_folders(tmp_path):
    for name in ("pool/a/1.jpg", "pool/b/1.jpg", "sorted/cat/b/1.jpg", "sorted/dog/a/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("black")
    pool = find_pool(tmp_path / "pool")
    assert labels_of(pool, tmp_path / "sorted") == {"b/1.jpg": "cat", "a/1.jpg": "dog"}


def test_an_image_of_this_machine_is_no_other_of_its_name(pool, tmp_path):
    (tmp_path / "other" / "a").mkdir(parents=True)
    (tmp_path / "other" / "a" / "x.jpg").write_text("another image than the pool's")
    path = write_csv(tmp_path / "l.csv", COLUMNS, [(tmp_path / "other" / "a" / "x.jpg", "cat")])
    with pytest.raises(UserError, match=r"line 2: '.*/other/a/x\.jpg' is not in the pool"):
        labels_of(pool, path)
    path = write_csv(tmp_path / "l.csv", COLUMNS, [("/of/another/machine/a/x.jpg", "cat")])
    assert labels_of(pool, path) == {"a/x.jpg": "cat"}


def test_a_label_of_an_image_that_is_gone_is_not_anothers(pool, tmp_path):
    labels = write_csv(tmp_path / "labels.csv", COLUMNS, [("day2/a/x.jpg", "dog")])
    with pytest.raises(UserError, match=r"'day2/a/x\.jpg' is not in the pool"):
        labels_of(pool, labels)
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("cat/a/x.jpg", "cat"), ("dog/a/y.jpg", "dog")])
    with pytest.raises(UserError, match=r"'cat/a/x\.jpg' not found"):
        read_validation(validation, pool)
    absolute = write_csv(
        tmp_path / "labels.csv", COLUMNS, [(tmp_path / "pool" / "day2" / "a" / "x.jpg", "dog")]
    )
    with pytest.raises(UserError, match=r"'day2/a/x\.jpg' is not in the pool"):
        labels_of(pool, absolute)


@pytest.mark.parametrize("path", ["/data/set/pool/a/x.jpg", "C:\\set\\pool\\a\\x.jpg"])
def test_of_a_path_from_another_machine_the_end_counts(path, pool, tmp_path):
    assert labels_of(pool, write_csv(tmp_path / "labels.csv", COLUMNS, [(path, "cat")])) == {"a/x.jpg": "cat"}
