"""List files: paths with spaces and dots, with and without classes."""

import unicodedata
from pathlib import Path

import pytest

from conftest import unicode_names, write_image
from dataset.image_list import images_at, read_image_list, write_image_list
from utils.errors import InputError


def test_lists_with_spaces_dots_and_without_class(tmp_path):
    names = ["a b/c d.jpg", "x.y.z.TIF", "my.jpg folder/e.jpg", "f.png"]
    for seed, name in enumerate(names):
        write_image(tmp_path / "root" / name, seed)
    (tmp_path / "l.txt").write_text("a b/c d.jpg scene one\r\nx.y.z.TIF\n\nmy.jpg folder/e.jpg\tfield\nf.png  \n")
    images, classes = read_image_list(tmp_path / "l.txt", [tmp_path / "root"])
    assert images == [tmp_path / "root" / name for name in names]
    assert [classes[image] for image in images] == ["scene one", "root", "field", "root"]


def test_lists_are_searched_below_the_root_then_next_to_the_list_then_here(tmp_path, monkeypatch):
    for seed, place in enumerate(("root", "lists", "here")):
        for name in ("a.png", "b.png", "c.png")[: seed + 1]:
            write_image(tmp_path / place / name, seed)
    (tmp_path / "lists" / "l.txt").write_text("a.png\nb.png\nc.png\n")
    monkeypatch.chdir(tmp_path / "here")
    found, _ = read_image_list(tmp_path / "lists" / "l.txt", [tmp_path / "root"])
    assert [path.resolve().parent.name for path in found] == ["root", "lists", "here"]


def test_written_list_is_read_again(tmp_path):
    images = [tmp_path / "root" / "sub dir" / "a.b.jpg", tmp_path / "elsewhere" / "c.png"]
    for seed, path in enumerate(images):
        write_image(path, seed)
    write_image_list(tmp_path / "l.txt", images, tmp_path / "root")
    assert (tmp_path / "l.txt").read_text().splitlines()[0] == "sub dir/a.b.jpg sub dir"
    assert read_image_list(tmp_path / "l.txt", [tmp_path / "root"])[0] == images


@pytest.mark.parametrize("content, message", [("", "is empty"), ("a.doc x\n", "line 1: 'a.doc x' names no image"),
                                               ("\nb.jpg x\n", "line 2: there is no image b.jpg")])
def test_bad_lists(tmp_path, content, message):
    (tmp_path / "l.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        read_image_list(tmp_path / "l.txt", [tmp_path])


@unicode_names
def test_names_of_another_normal_form_and_with_blanks(tmp_path):
    for stored, listed in (("NFD", "NFC"), ("NFC", "NFD")):
        name = unicodedata.normalize(stored, f"ménage {stored}.png")
        write_image(tmp_path / name, 1)
        write_image(tmp_path / f" {stored}.png", 2)
        line = unicodedata.normalize(listed, f"ménage {stored}.png")
        (tmp_path / "l.txt").write_text(f"{line} sea\n {stored}.png sand \n  {line} sea\n", encoding="utf-8")
        images, classes = read_image_list(tmp_path / "l.txt", [tmp_path])
        assert [image.name for image in images] == [name, f" {stored}.png"]
        assert list(classes.values()) == ["sea", "sand"]


def test_a_line_without_its_class(tmp_path, capsys):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", 0)
    (tmp_path / "list.txt").write_text("a.png sea\nb.png\n")
    read_image_list(tmp_path / "list.txt", [tmp_path])
    assert "1 line (b.png) name no class, unlike the others" in capsys.readouterr().err


@pytest.mark.parametrize("lines, is_warned", [("a/1.png a 0\nb/2.png b 1\n", True), ("a/1.png a\nb/2.png b 1\n", False)])
def test_a_column_behind_the_classes(tmp_path, capsys, lines, is_warned):
    write_image(tmp_path / "a" / "1.png", 0)
    write_image(tmp_path / "b" / "2.png", 0)
    (tmp_path / "list.txt").write_text(lines)
    read_image_list(tmp_path / "list.txt", [tmp_path])
    error = capsys.readouterr().err
    assert "the name of its folder and more, as in 'a 0'" in error if is_warned else "folder and more" not in error


def test_a_list_written_on_windows(tmp_path):
    write_image(tmp_path / "sea" / "a.png", 0)
    (tmp_path / "list.txt").write_bytes(b"sea\\a.png\r\n")
    assert read_image_list(tmp_path / "list.txt", [tmp_path])[0] == [tmp_path / "sea" / "a.png"]
    (tmp_path / "list.txt").write_text("sea\\..\\..\\a.png\n")
    with pytest.raises(InputError, match="leaves the folder"):
        read_image_list(tmp_path / "list.txt", [tmp_path])


def test_an_image_by_a_relative_and_an_absolute_path(tmp_path, monkeypatch):
    write_image(tmp_path / "beach" / "a.png", 0)
    monkeypatch.chdir(tmp_path)
    assert images_at(["beach", tmp_path / "beach", "beach/../beach/a.png"]) == [Path("beach/a.png")]


def test_an_image_in_several_places_is_warned_of(tmp_path, capsys):
    for place in ("root", "lists"):
        write_image(tmp_path / place / "a.png", 1)
    (tmp_path / "lists" / "l.txt").write_text("a.png sea\n")
    images, _ = read_image_list(tmp_path / "lists" / "l.txt", [tmp_path / "root"])
    assert images == [tmp_path / "root" / "a.png"]
    assert f"1 image (a.png) exist in several places; those below {tmp_path / 'root'} are used" in capsys.readouterr().err
