"""Files that are complete or unchanged, whoever else writes them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from utils.run.atomic import atomic_write, write_text


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    texts, start = [f"{number}\n" * 2000 for number in range(4)], threading.Barrier(4)

    def write(text: str) -> None:
        start.wait()
        for _ in range(10):
            write_text(tmp_path / "file", text)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, texts))
    assert (tmp_path / "file").read_text() in texts and len(list(tmp_path.iterdir())) == 1


def test_a_second_writer_leaves_the_first_ones_file(tmp_path):
    path = tmp_path / "a [1].csv"
    with atomic_write(path) as file:
        file.write(b"the first")
        write_text(path, "the second")
        assert path.read_text() == "the second"
    assert path.read_text() == "the first" and list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_after_an_hour(tmp_path):
    path = tmp_path / "a [1].csv"
    old, new, different = (tmp_path / f"{name}.partial" for name in ("a [1].csv.0", "a [1].csv.1", "a 1.csv.0"))
    for left in (old, new, different):
        left.write_text("half")
    for left in (old, different):
        os.utime(left, (0, 0))
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, new, different])


def test_an_error_names_the_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError) as error:
        write_text(path, "text")
    assert error.value.filename == str(path) and list(tmp_path.iterdir()) == [path]
