"""Label Studio's files: exports are read, and tasks of ours come back to the same images."""

import contextlib
import json

import pytest
from hostile import examples
from hypothesis import given
from hypothesis import strategies as st
from rounds import KEYS, labels_of, make_pool, save_image, touch, write_csv, write_json

from fisher_al.errors import UserError
from fisher_al.labeling.answers import read_labels
from fisher_al.labeling.label_studio import write_tasks
from fisher_al.labeling.pool import Pool, find_pool


def choice(*choices, name="choice"):
    return {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}


def annotated(image, *results, number=1, **more):
    annotations = [{"id": 5, "was_cancelled": False, "result": list(results), **more}]
    return {"id": number, "data": {"image": image}, "annotations": annotations, "predictions": []}


def test_a_json_export_is_read(pool, tmp_path):
    local = f"/data/local-files/?d={tmp_path.relative_to('/')}/pool/b/with%2C%20comma.jpg"
    tasks = [
        annotated("/data/upload/3/0123abcd-y.jpg", choice("dog", name="species")),
        annotated(local, choice(" cat ")),
        annotated("s3://bucket/set/pool/a/x.jpg", was_cancelled=True),
        {"id": 9, "data": {"image": "b/x.jpg"}, "annotations": []},
        annotated("b/x.jpg"),
    ]
    found = labels_of(pool, write_json(tmp_path / "export.json", tasks))
    assert found == {"a/y.jpg": "dog", KEYS[3]: "cat", "a/x.jpg": "skip"}


def test_uploaded_files_are_found_by_the_names_that_are_stored(pool, tmp_path):
    save_image(tmp_path / "pool" / "IMG 7 (1).jpg", 9)
    tasks = [annotated("/data/upload/1/0123abcd-IMG_7_1.jpg", choice("dog"))]
    found = read_labels([write_json(tmp_path / "x.json", tasks)], find_pool(tmp_path / "pool"))
    assert found == {"IMG 7 (1).jpg": "dog"}


def test_files_of_local_storage_are_found_by_the_end_of_their_paths(pool, tmp_path):
    tasks = [annotated("/data/local-files/?d=set/pool/a/x.jpg", choice("dog"))]
    assert labels_of(pool, write_json(tmp_path / "x.json", tasks)) == {"a/x.jpg": "dog"}


def test_a_json_min_export_is_read(pool, tmp_path):
    rows = [
        {"image": "a/x.jpg", "id": 1, "choice": "cat", "annotator": 1, "annotation_id": 4},
        {"image": "a/y.jpg", "id": 2, "label": "dog", "annotator": 1, "annotation_id": 5},
        {"image": "b/x.jpg", "id": 3, "annotator": 1, "annotation_id": 6},
    ]
    assert labels_of(pool, write_json(tmp_path / "min.json", rows)) == {"a/x.jpg": "cat", "a/y.jpg": "dog"}


@pytest.mark.parametrize("label", ["choice", "label"])
def test_a_csv_export_is_read(label, pool, tmp_path):
    columns = ("annotation_id", "annotator", label, "created_at", "id", "image", "lead_time")
    rows = [
        (4, 1, "cat", "2026-01-01", 1, "/data/upload/1/deadbeef-y.jpg", 2.5),
        (5, 1, "", "", 2, "b/x.jpg", 1),
    ]
    assert labels_of(pool, write_csv(tmp_path / "export.csv", columns, rows)) == {"a/y.jpg": "cat"}


@pytest.mark.parametrize("form", ["json", "json-min", "csv"])
def test_several_choices_are_refused_with_their_task(form, pool, tmp_path):
    several = {"choices": ["cat", "dog"]}
    if form == "csv":
        columns = ("annotation_id", "choice", "image")
        path = write_csv(tmp_path / "x.csv", columns, [(1, '{"choices": ["cat", "dog"]}', "a/x.jpg")])
    else:
        task = annotated("a/x.jpg", choice("cat", "dog"))
        path = write_json(
            tmp_path / "x.json", [task if form == "json" else {"image": "a/x.jpg", "choice": several}]
        )
    with pytest.raises(UserError, match=r"x\.(csv|json), (task|line) .*2 choices; an image has one class"):
        labels_of(pool, path)


def test_annotators_who_disagree_are_told(pool, tmp_path):
    task = annotated("a/x.jpg", choice("cat"), number=12)
    task["annotations"].append({"result": [choice("dog")]})
    with pytest.raises(UserError, match=r"'cat' in .*task 12, and 'dog' in .*task 12"):
        labels_of(pool, write_json(tmp_path / "x.json", [task]))


def test_our_tasks_annotated_elsewhere_come_back_to_the_same_images(pool, tmp_path):
    keys = [*KEYS, "emoji \U0001f431?&d=#%.jpg"]
    touch(pool.root / keys[-1])
    pool = find_pool(pool.root)
    write_tasks(tmp_path / "tasks.json", pool.root, [(key, "cat", 0.5) for key in keys])
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for number, task in enumerate(tasks):
        assert task["predictions"][0]["result"][0]["value"] == {"choices": ["cat"]}
        task["annotations"] = [{"result": [choice(f"class {number}")]}]
    expected = {key: f"class {number}" for number, key in enumerate(keys)}
    assert labels_of(pool, write_json(tmp_path / "export.json", tasks)) == expected
    for task in tasks:  # by the image alone, as other tools keep no further columns
        del task["data"]["filepath"]
    assert labels_of(pool, write_json(tmp_path / "export.json", tasks)) == expected


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["data", "image", "annotations", "result", "value", "choices", "choice", "id"]),
            inner,
        ),
    ),
    max_leaves=8,
)


@examples(150, "exports of Label Studio")
@given(tasks=st.lists(junk, max_size=3))
def test_any_json_is_read_or_refused(tasks, tmp_path_factory):
    path = write_json(tmp_path_factory.getbasetemp() / "junk.json", tasks)
    pool = Pool(path.parent, ["a.jpg"], {})
    with contextlib.suppress(UserError):
        read_labels([path], pool)


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
    assert labels_of(pool, write_csv(tmp_path / "l.csv", ("filepath", "label"), labels)) == dict(labels)


def test_tasks_tell_the_prediction_and_how_sure_it_is_if_there_is_one(tmp_path):
    write_tasks(tmp_path / "t.json", tmp_path, [("a.jpg", "cat", 0.9), ("b.jpg", "", 0.0)])
    first, second = json.loads((tmp_path / "t.json").read_text())
    assert first["predictions"][0]["score"] == 0.9
    assert second["predictions"] == []
