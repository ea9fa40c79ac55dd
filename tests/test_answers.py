"""Answers reach the image that they were given for, and no other."""

import json
import os

import pytest
from rounds import KEYS, labels_of, make_pool, touch, write_csv, write_json
from test_label_studio import annotated, choice

from fisher_al.errors import UserError
from fisher_al.labeling.catalogue import read_catalogue, without_unreadable
from fisher_al.labeling.label_studio import write_tasks
from fisher_al.labeling.pool import find_pool

COLUMNS = ("filepath", "label")


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path / "pool")


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


def test_percent_signs_of_an_address_are_decoded(pool, tmp_path):
    tasks = [annotated("s3://bucket/set/b/with%2C%20comma.jpg", choice("dog"))]
    assert labels_of(pool, write_json(tmp_path / "x.json", tasks)) == {KEYS[3]: "dog"}


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "gs"])
def test_addresses_of_every_kind_are_read(scheme, tmp_path):
    pool = make_pool(tmp_path / "pool")
    tasks = [annotated(f"{scheme}://host/set/a/x.jpg", choice("dog"))]
    assert labels_of(pool, write_json(tmp_path / "x.json", tasks)) == {"a/x.jpg": "dog"}


def test_a_csv_export_of_our_tasks_names_images_by_their_paths(pool, tmp_path):
    columns = ("annotation_id", "choice", "image", "filepath")
    row = (1, "cat", "/data/upload/1/0123abcd-x.jpg", "a/x.jpg")
    assert labels_of(pool, write_csv(tmp_path / "x.csv", columns, [row])) == {"a/x.jpg": "cat"}


def test_a_table_of_ours_is_no_export(pool, tmp_path):
    labels = [("a/x.jpg", '{"choices": ["cat", "dog"]}')]
    assert labels_of(pool, write_csv(tmp_path / "l.csv", COLUMNS, labels)) == dict(labels)


def test_tasks_tell_the_prediction_and_how_sure_it_is_if_there_is_one(tmp_path):
    write_tasks(tmp_path / "t.json", tmp_path, [("a.jpg", "cat", 0.9), ("b.jpg", "", 0.0)])
    first, second = json.loads((tmp_path / "t.json").read_text())
    assert first["predictions"][0]["score"] == 0.9
    assert second["predictions"] == []


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


def test_a_skipped_validation_image_is_not_what_is_told(pool, tmp_path):
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("pool/a/x.jpg", "cat"), ("pool/b/x.jpg", "dog")])
    labels = write_csv(tmp_path / "l.csv", COLUMNS, [("a/x.jpg", "skip"), ("b/x.jpg", "ant")])
    with pytest.raises(UserError, match=r"'dog' in .* and 'ant' in"):
        read_catalogue(pool.root, validation, [labels])


def test_labeled_images_outside_of_the_pool_are_trained_on(pool, tmp_path):
    touch(tmp_path / "known" / "ant" / "1.jpg")
    validation = write_csv(tmp_path / "v.csv", COLUMNS, [("pool/a/x.jpg", "cat"), ("pool/b/x.jpg", "dog")])
    found = read_catalogue(pool.root, validation, [tmp_path / "known"])
    assert found.labels == {found.pool[-1]: "ant"} == {str(tmp_path / "known/ant/1.jpg"): "ant"}
