"""Labels as people give them, in tables and folders, validation sets, and what is wrong with them."""

import os

import pytest
from hostile import examples
from hypothesis import given
from hypothesis import strategies as st
from rounds import KEYS, labels_of, touch, write_csv

from fisher_al.errors import UserError
from fisher_al.labeling.answers import read_validation
from fisher_al.labeling.tables import read_rows, write_rows

COLUMNS = ("filepath", "label")


# ---- tables


def test_paths_in_a_table_start_at_the_pool_or_at_the_table_or_are_absolute(pool, tmp_path):
    rows = [("a/x.jpg", "cat"), ("../pool/a/y.jpg", "dog"), (tmp_path / "pool/b/x.jpg", "cat")]
    (tmp_path / "round1").mkdir()
    path = write_csv(tmp_path / "round1" / "labels.csv", COLUMNS, rows)
    assert labels_of(pool, path) == {"a/x.jpg": "cat", "a/y.jpg": "dog", "b/x.jpg": "cat"}


def test_a_table_may_be_part_answered_and_have_other_columns(pool, tmp_path):
    rows = [(1, " cat ", "a/x.jpg"), (2, "", "a/y.jpg"), (3, "Skip", "b/x.jpg"), (4, "  ", KEYS[3])]
    path = write_csv(tmp_path / "labels.csv", ("rank", "label", "filepath"), rows)
    assert labels_of(pool, path) == {"a/x.jpg": "cat", "b/x.jpg": "skip"}


def test_a_table_from_a_spreadsheet_is_read(pool, tmp_path):
    lines = [
        "filepath,label",
        'a/x.jpg,"say ""cat"""',
        '"b/with, comma.jpg","two',
        'lines"',
        "",
        "a/y.jpg,dog",
    ]
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = labels_of(pool, tmp_path / "labels.csv")
    assert found == {"a/x.jpg": 'say "cat"', KEYS[3]: "two\r\nlines", "a/y.jpg": "dog"}


def test_several_files_add_up_and_may_agree(pool, tmp_path):
    first = write_csv(tmp_path / "1.csv", COLUMNS, [("a/x.jpg", "cat"), ("a/y.jpg", "")])
    second = write_csv(tmp_path / "2.csv", COLUMNS, [("a/x.jpg", "cat"), ("a/y.jpg", "dog")])
    assert labels_of(pool, first, second) == {"a/x.jpg": "cat", "a/y.jpg": "dog"}


def test_two_labels_of_an_image_are_told_with_both_files_and_lines(pool, tmp_path):
    first = write_csv(tmp_path / "1.csv", COLUMNS, [("a/y.jpg", "dog"), ("a/x.jpg", "cat")])
    second = write_csv(tmp_path / "2.csv", COLUMNS, [("../pool/a/x.jpg", "skip")])
    with pytest.raises(
        UserError, match=r"'a/x\.jpg' is 'cat' in .*1\.csv, line 3, and 'skip' in .*2\.csv, line 2"
    ):
        labels_of(pool, first, second)
    with pytest.raises(UserError, match=r"1\.csv, line 2, and 'ant' in .*1\.csv, line 4"):
        labels_of(pool, write_csv(first, COLUMNS, [("a/y.jpg", "dog"), ("a/x.jpg", ""), ("a/y.jpg", "ant")]))


def test_an_image_that_is_not_in_the_pool_is_told_with_its_line(pool, tmp_path):
    touch(tmp_path / "else.jpg")
    path = write_csv(tmp_path / "labels.csv", COLUMNS, [("a/x.jpg", "cat"), ("../else.jpg", "dog")])
    with pytest.raises(UserError, match=r"labels\.csv, line 3: .*else\.jpg' is not in the pool"):
        labels_of(pool, path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.csv", b"path,label\n", "no column 'filepath'; its columns are 'path', 'label'"),
        ("x.csv", b"filepath,class\n", "no column 'label'"),
        ("x.csv", b"filepath;label\na/x.jpg;cat\n", "no column 'filepath'; its columns are 'filepath;label'"),
        ("x.csv", b"", "its columns are none"),
        ("x.csv", b"filepath,label\na/x.jpg\n", "line 2: not as many cells"),
        ("x.csv", b"filepath,label\na/x.jpg,cat,dog\n", "line 2: not as many cells"),
        ("x.csv", b'filepath,label\n"a/x.jpg,cat\n', "not a CSV file in UTF-8"),
        ("x.csv", b"filepath,label\na/x.jpg,caf\xe9\n", "not a CSV file in UTF-8"),
        ("x.csv", "filepath,label\n".encode("utf-16"), "not a CSV file in UTF-8"),
        ("x.csv", b"x" * 200_000, "no column 'filepath'"),
        ("x.csv", b"\0", "no column 'filepath'"),
        ("x.csv", b"filepath,label\n\0,cat\n", "not in the pool"),
        ("x.csv", b"filepath,label\n" + b"x" * 9999 + b".jpg,cat\n", "not in the pool"),
        ("x.txt", b"a/x.jpg cat\n", "labels are read from .csv and .json files"),
        ("x.json", b"{}", "no list of tasks"),
        ("x.json", b"[" * 100_000, "not Label Studio's JSON"),
        ("x.json", b"\xff", "not Label Studio's JSON"),
        ("x.json", b'[{"data": {"text": "x"}}]', "task 0: names no image"),
        ("x.json", b'[{"id": 7, "data": 3}]', "task 7: names no image"),
        ("x.json", b'[{"image": "http://[", "choice": "cat"}]', "not in the pool"),
        ("x.json", b'[{"image": "a/x.jpg", "choice": "\\ud800"}]', "no UTF-8"),
        ("gone.csv", None, "not found; give a CSV or Label Studio file"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_labels_is_named(name, content, told, pool, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        labels_of(pool, tmp_path / name)
    assert name in str(error.value)
    with pytest.raises(UserError):
        read_validation(tmp_path / name, pool)


@pytest.mark.parametrize("content", ["filepath;label\r\n", "Filepath,Label\r\n", "filepath,label\r\nö,1\r\n"])
def test_what_a_spreadsheet_should_have_written_is_told(content, pool, tmp_path):
    (tmp_path / "labels.csv").write_bytes(content.encode("cp1252"))
    with pytest.raises(UserError, match=r'labels.csv: .*; save it as "CSV UTF-8", with commas$'):
        labels_of(pool, tmp_path / "labels.csv")


texts = st.text(
    st.sampled_from([*"a,\"\r\n\t ;'\\=", "\u2028", "\x85", "\ufeff", "é", "🐱", "\0"]), max_size=8
)


@examples(60, "tables")
@given(rows=st.lists(st.tuples(texts, texts), max_size=6), columns=st.tuples(texts, texts))
def test_a_table_is_read_as_it_was_written(tmp_path_factory, rows, columns):
    columns = tuple(f"{number} {name}" for number, name in enumerate(columns))
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_rows(path, columns, rows)
    assert [tuple(row.values()) for _, row in read_rows(path, columns)] == rows


# ---- folders of classes


def test_folders_of_classes_may_be_nested_and_lie_outside_of_the_pool(pool, tmp_path):
    names = (
        "cat/1.jpg",
        "cat/more/2.PNG",
        "cat/.3.jpg",
        ".git/4.jpg",
        "cat/.git/5.jpg",
        "dog/notes.txt",
        "6.jpg",
    )
    touch(*(tmp_path / "known" / name for name in (*names, "two words/7.jpg")))
    expected = {"cat/1.jpg": "cat", "cat/more/2.PNG": "cat", "two words/7.jpg": "two words"}
    expected = {str(tmp_path / "known" / name): label for name, label in expected.items()}
    assert labels_of(pool, tmp_path / "known") == expected
    assert read_validation(tmp_path / "known", pool) == expected


def test_folders_of_the_pool_itself_are_its_keys(pool, tmp_path):
    assert labels_of(pool, tmp_path / "pool") == {key: key[0] for key in KEYS}


def test_a_folder_names_its_class_as_a_table_does(pool, tmp_path):
    touch(tmp_path / "known" / " cat " / "1.jpg", tmp_path / "known" / "dog" / "2.jpg")
    assert sorted(read_validation(tmp_path / "known", pool).values()) == ["cat", "dog"]


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9/1.jpg"), os.fsdecode(b"cat/caf\xe9.jpg")])
def test_names_that_are_no_utf8_are_told_before_anything_is_computed(name, pool, tmp_path):
    touch(
        tmp_path / "known" / name, tmp_path / "known" / "dog" / "2.jpg", tmp_path / "known" / "ant" / "2.jpg"
    )
    with pytest.raises(UserError, match="no UTF-8; rename it"):
        read_validation(tmp_path / "known", pool)
    with pytest.raises(UserError, match="no UTF-8; rename it"):
        labels_of(pool, tmp_path / "known")


def test_answers_that_hold_no_label_are_told(pool, tmp_path):
    template = write_csv(tmp_path / "labels.csv", COLUMNS, [(key, "") for key in KEYS])
    with pytest.raises(UserError, match=r"labels\.csv: no label in it; name the file that holds the answers"):
        labels_of(pool, template)
    touch(tmp_path / "flat" / "x.jpg", tmp_path / "flat" / "labels.csv")
    with pytest.raises(UserError, match="flat: no class folders with images in it; name a file of labels"):
        labels_of(pool, tmp_path / "flat")


# ---- validation images


def test_validation_images_start_at_their_file_then_at_the_pool(pool, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").write_text("another image than the pool's")
    path = write_csv(
        tmp_path / "v.csv", COLUMNS, [("a/x.jpg", "cat"), ("a/y.jpg", "dog"), ("b/x.jpg", "skip")]
    )
    assert read_validation(path, pool) == {str(tmp_path / "a/x.jpg"): "cat", "a/y.jpg": "dog"}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("gone.jpg", "cat")], "line 2: 'gone.jpg' not found; relative paths start at"),
        ([("a/x.jpg", "cat"), ("a/y.jpg", "cat")], "only of class 'cat'; at least two classes are needed"),
        ([("a/x.jpg", ""), ("a/y.jpg", "skip")], "labeled images none at all"),
        ([("a/x.jpg", "cat"), ("a/x.jpg", "dog")], "line 2, and 'dog' in .*line 3"),
    ],
)
def test_validation_that_cannot_serve_is_told(rows, told, pool, tmp_path):
    path = write_csv(tmp_path / "v.csv", COLUMNS, rows)
    with pytest.raises(UserError, match=told) as error:
        read_validation(path, pool)
    assert "v.csv" in str(error.value)
