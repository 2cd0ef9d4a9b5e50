"""Label tables: right answers on the distributors' formats, one sentence on bad ones."""

import numpy as np
import pytest

from conftest import NAMES, random_labels, write_table
from dataset.label_table import read_label_table
from utils.errors import InputError

HEADER = "IMAGE\\LABEL,sea,sand\n"


@pytest.mark.parametrize("delimiter, newline", [("\t", "\r\n"), (",", "\n"), (",", "\r\n"), ("\t", "\n")])
def test_table_formats_are_told_apart_by_content(tmp_path, delimiter, newline):
    labels = random_labels(5)
    keys = ["a00", "b.with.dots", "c with space", "d,comma" if delimiter == "\t" else "d", "é"]
    write_table(tmp_path / "labels.txt", keys, labels, delimiter, newline)
    table = read_label_table(tmp_path / "labels.txt")
    assert table.names == NAMES and list(table.rows) == keys
    np.testing.assert_array_equal(np.stack(list(table.rows.values())), labels)


def test_table_with_byte_order_mark_quotes_and_blank_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffIMAGE,"sea, open",sand\n\n"a", 1 ,0\n\n'.encode())
    table = read_label_table(tmp_path / "t.csv")
    assert table.names == ["sea, open", "sand"] and table.rows["a"].tolist() == [1, 0]


@pytest.mark.parametrize("content, message", [
    ("", "is empty"), ("\n\n", "is empty"), (HEADER, "is empty"),
    (HEADER + "a,1\n", r"line 2 \('a'\): 1 label cells, but the header names 2"),
    (HEADER + "a,1,0\nb,1,0,1\n", r"line 3 \('b'\): 3 label cells"),
    (HEADER + "a,1,2\n", "must be 0 or 1, not '2'"), (HEADER + "a,1,\n", "must be 0 or 1, not ''"),
    (HEADER + "a,1,yes\n", "not 'yes'"), (HEADER + "a,1,0\nb,0,0\na,1,0\n", r"line 4 \('a'\).*already has a row above"),
    ("IMAGE,sea,sea\na,1,0\n", "distinct label names"), ("IMAGE,,sea\na,1,0\n", "distinct label names"),
    ("IMAGE\na\n", "distinct label names"), ("IMAGE,sea,Sea\na,1,0\n", "distinct label names"),
    ("IMAGE;sea;sand\na;1;0\n", "tabs or commas"),
    ("a,1,0\nb,0,1\n", r"0/1: \['0', '1'\]"), (HEADER + "a" * 200_000 + ",1,0\n", "field larger"),
])
def test_bad_tables(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_label_table(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(error.value)


def test_missing_and_binary_table(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_label_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="UTF-8"):
        read_label_table(tmp_path / "t.csv")
