"""What a round is about, out of a pool, validation images and labels."""

import pytest
from rounds import KEYS, touch, write_csv

from fisher_al.errors import UserError
from fisher_al.labeling.catalogue import read_catalogue, without_unreadable

COLUMNS = ("filepath", "label")


def test_validation_images_leave_the_pool_and_are_counted(pool, tmp_path):
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("pool/a/x.jpg", "cat"), ("pool/b/x.jpg", "dog")])
    labels = write_csv(
        tmp_path / "l.csv", COLUMNS, [("a/x.jpg", "cat"), ("b/x.jpg", "skip"), ("a/y.jpg", "ant")]
    )
    found = read_catalogue(pool.root, validation, [labels])
    assert (found.pool, found.shared) == (["a/y.jpg", "b/with, comma.jpg"], 2)
    assert (found.validation, found.labels) == ({"a/x.jpg": "cat", "b/x.jpg": "dog"}, {"a/y.jpg": "ant"})
    assert (found.classes, found.left_out) == (["ant", "cat", "dog"], [])


def test_a_validation_image_with_another_label_is_told_with_both_files_and_lines(pool, tmp_path):
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("pool/a/x.jpg", "cat"), ("pool/b/x.jpg", "dog")])
    labels = write_csv(tmp_path / "l.csv", COLUMNS, [("a/x.jpg", "skip"), ("b/x.jpg", "ant")])
    with pytest.raises(UserError, match=r"'dog' in .*v\.csv, line 3, and 'ant' in .*l\.csv, line 3"):
        read_catalogue(pool.root, validation, [labels])


def test_a_pool_of_validation_images_alone_is_told(pool, tmp_path):
    with pytest.raises(UserError, match="all its images are validation images"):
        read_catalogue(pool.root, pool.root, [])


def test_what_cannot_be_read_goes_with_its_answer(pool, tmp_path):
    (pool.root / "dead.jpg").symlink_to("nowhere.jpg")
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("pool/a/y.jpg", "cat"), ("pool/b/x.jpg", "dog")])
    labels = write_csv(tmp_path / "l.csv", COLUMNS, [("a/x.jpg", "skip"), (KEYS[3], "cat")])
    found = read_catalogue(pool.root, validation, [labels])
    for key in found.pool:
        left = without_unreadable(found, {str(pool.root / key): "broken"})
        assert key not in {*left.pool, *left.labels, *left.left_out}
        assert left.passed_over == {"dead.jpg": "not found", key: "broken"}
    with pytest.raises(UserError, match="none of its images can be read"):
        without_unreadable(found, {str(pool.root / key): "broken" for key in found.pool})


def test_labeled_images_outside_of_the_pool_are_trained_on(pool, tmp_path):
    touch(tmp_path / "known" / "ant" / "1.jpg")
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("pool/a/x.jpg", "cat"), ("pool/b/x.jpg", "dog")])
    found = read_catalogue(pool.root, validation, [tmp_path / "known"])
    assert found.labels == {found.pool[-1]: "ant"} == {str(tmp_path / "known/ant/1.jpg"): "ant"}
