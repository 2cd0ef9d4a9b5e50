"""Class folders, seeded splits and custom tables: right answers on every layout, a clear message on bad ones."""

import itertools
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from conftest import random_labels, unicode_names, write_classes, write_image, write_table
from dataset import load_data
from dataset.data import VALIDATION_FRACTION
from dataset.label_table import read_label_table
from dataset.published import LABEL_COUNTS, SPLIT_SIZES
from dataset.splits import stratified_holdout
from utils.errors import InputError

SCENES = ["Airport", "BareLand", "Pond", "River"]


def check(dataset, root, **options):
    load_data(dataset, root, **options).check_trainable()


def names_of(data, split_name):
    """The class of each image of a split, by its labels."""
    assert (data.splits[split_name].labels.sum(1) == 1).all()
    return [data.label_names[column] for column in data.splits[split_name].labels.argmax(1)]


# Layouts

@pytest.mark.parametrize("dataset", ["AID", "NWPU-RESISC45"])
@pytest.mark.parametrize("inside", ["", "AID", "NWPU-RESISC45/NWPU-RESISC45"])
def test_class_folders_as_the_archives_unpack(scenes, dataset, inside):
    (scenes / "AID").rename(scenes / "images")
    (scenes / dataset / inside).parent.mkdir(parents=True, exist_ok=True)
    (scenes / "images").rename(scenes / dataset / inside)
    (scenes / dataset / "__MACOSX").mkdir()
    (scenes / dataset / "__MACOSX" / "._airport_1.jpg").write_text("")
    data = load_data(dataset, scenes, train_ratio=0.2)
    assert data.single_label and data.label_names == SCENES
    for split_name, split in data.splits.items():
        assert names_of(data, split_name) == [image.parent.name for image in split.images]
    assert sum(len(split.images) for split in data.splits.values()) == 80


@pytest.mark.parametrize("root", ["AID", "AID/AID(0.2-0.8)", "AID(0.2-0.8)"])
@pytest.mark.parametrize("val", [None, "val", "validation"])
def test_train_and_test_folders_are_the_split(tmp_path, root, val):
    write_classes(tmp_path / root / "train", dict.fromkeys(SCENES, 10))
    write_classes(tmp_path / root / "test", {"Airport": 5, "River": 7})
    if val:
        write_classes(tmp_path / root / val, {"Pond": 3})
    data = load_data("AID", tmp_path)
    assert data.label_names == SCENES and data.train_ratio is None
    assert names_of(data, "test") == ["Airport"] * 5 + ["River"] * 7
    assert names_of(data, "val") == (["Pond"] * 3 if val else SCENES)
    assert len(data.splits["train"].images) == (40 if val else 36)


@pytest.mark.parametrize("folders, message", [
    (["train", "test", "unlabelled"], "look like a split, but unlabelled lies next to them"),
    (["train", "val", "validation", "test"], "look like a split, but a split has one train folder"),
    (["val", "test"], "the folders test, val in .* look like a split, but a split has one train folder")])
def test_an_incomplete_split_is_not_a_set_of_classes(tmp_path, folders, message):
    for folder in folders:
        write_classes(tmp_path / "Custom" / folder, {"a": 5, "b": 5})
    with pytest.raises(InputError, match=message):
        load_data("Custom", tmp_path)


def test_two_splits_by_folders(scenes):
    (scenes / "AID").rename(scenes / "AID(0.2-0.8)")
    (scenes / "AID(0.5-0.5)").mkdir()
    with pytest.raises(InputError, match=r"holds AID\(0.2-0.8\) and AID\(0.5-0.5\): rename the right folder to AID"):
        load_data("AID", scenes)


def test_a_split_beside_the_data_set_is_warned_of(scenes, capsys):
    load_data("AID", scenes)
    assert "not of" not in capsys.readouterr().err
    (scenes / "AID(0.2-0.8)").mkdir()
    (scenes / "train.txt").write_text("\n".join(path.as_posix() for path in scenes.rglob("*.jpg")))
    load_data("AID", scenes, {"train": str(scenes / "train.txt")})
    assert "not of" not in capsys.readouterr().err
    load_data("AID", scenes)
    assert f"those of {scenes / 'AID'}, not of {scenes / 'AID(0.2-0.8)'}; to use" in capsys.readouterr().err


def test_linked_folders_are_followed_and_circles_are_not(scenes, tmp_path):
    (scenes / "AID" / "Pond").rename(tmp_path / "elsewhere")
    (scenes / "AID" / "Pond").symlink_to(tmp_path / "elsewhere")
    write_classes(tmp_path, {"more": 5})
    (scenes / "AID" / "River" / "linked").symlink_to(tmp_path / "more")
    (scenes / "AID" / "River" / "circle").symlink_to(scenes / "AID")
    data = load_data("AID", scenes)
    assert sum(split.labels.sum(0) for split in data.splits.values()).tolist() == [20, 20, 30, 15]


def test_files_with_several_names_are_warned_of(tmp_path, capsys, monkeypatch):
    write_classes(tmp_path / "Custom", {"sea": 5, "sand": 5})
    check("Custom", tmp_path)
    assert "several names" not in capsys.readouterr().err
    image = min((tmp_path / "Custom" / "sand").iterdir())
    (tmp_path / "Custom" / "ocean").symlink_to(tmp_path / "Custom" / "sea")
    (tmp_path / "Custom" / "sand" / "again.jpg").hardlink_to(image)
    check("Custom", tmp_path)
    assert "warning: 6 images (" in (warning := capsys.readouterr().err) and "several names" in warning
    monkeypatch.chdir(tmp_path)
    name = image.relative_to(tmp_path)
    (tmp_path / "list.txt").write_text(f"{name}\n{name.absolute()}\n")
    load_data("Custom", ".", {"test": "list.txt"})
    assert "warning: 1 image (" in capsys.readouterr().err


def test_what_systems_add_is_no_image_and_no_class(tmp_path):
    write_classes(tmp_path / "Custom", {"sea": 5, "sand": 5})
    for folder in ("sea/@eaDir/sea_0.jpg", "#recycle", "$RECYCLE.BIN"):
        write_classes(tmp_path / "Custom" / folder, {"SYNOPHOTO": 4})
    (tmp_path / "Custom" / "~$labels.xlsx").write_bytes(b"")
    data = load_data("Custom", tmp_path)
    assert data.label_names == ["sand", "sea"] and len(data.all_images().images) == 10


def test_a_class_called_train_is_a_class(tmp_path):
    write_classes(tmp_path / "Custom", {"train": 8, "ship": 8})
    assert load_data("Custom", tmp_path).label_names == ["ship", "train"]


# Splits by seed

@pytest.mark.parametrize("dataset, ratio", [("AID", 0.2), ("NWPU-RESISC45", 0.1)])
def test_usual_splits_have_the_published_sizes(dataset, ratio):
    counts = np.array(list(LABEL_COUNTS[dataset].values()))
    labels = np.eye(len(counts), dtype=np.uint8)[np.repeat(np.arange(len(counts)), counts)]
    test = stratified_holdout(labels, 1 - ratio, seed=3050)
    assert ((~test).sum(), test.sum()) == SPLIT_SIZES[dataset]
    np.testing.assert_array_equal(labels[~test].sum(0), np.rint(ratio * counts))


def test_published_counts_add_up():
    assert sum(LABEL_COUNTS["AID"].values()) == 10000 and len(LABEL_COUNTS["AID"]) == 30
    assert sum(LABEL_COUNTS["NWPU-RESISC45"].values()) == 31500 and len(LABEL_COUNTS["NWPU-RESISC45"]) == 45
    assert sum(LABEL_COUNTS["UCM_Multilabel"].values()) == pytest.approx(3.335 * 2100, abs=1)
    assert sum(LABEL_COUNTS["AID_Multilabel"].values()) == pytest.approx(5.153 * 3000, abs=1.5)


@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_split_of_each_class(scenes, ratio):
    data = load_data("AID", scenes, train_ratio=ratio)
    counts = {split_name: split.labels.sum(0) for split_name, split in data.splits.items()}
    totals = np.array([20, 20, 30, 10])
    np.testing.assert_array_equal(counts["test"], np.rint((1 - ratio) * totals))
    np.testing.assert_array_equal(counts["train"] + counts["val"] + counts["test"], totals)
    assert (counts["val"] >= 1).all() and counts["val"].sum() <= max(4, 2 * VALIDATION_FRACTION * ratio * 80)
    assert len({image for split in data.splits.values() for image in split.images}) == 80


def test_split_depends_on_the_seed_alone(scenes):
    first, repeated, different = (load_data("AID", scenes, seed=seed).splits["test"].images for seed in (1, 1, 2))
    assert first == repeated != different


@unicode_names
def test_written_split_is_fed_back(scenes, tmp_path):
    (scenes / "AID" / "River").rename(scenes / "AID" / "größer Fluss.1")
    data = load_data("AID", scenes, seed=7)
    data.write_lists(tmp_path)
    again = load_data("AID", scenes, {split_name: tmp_path / f"{split_name}.txt" for split_name in data.splits}, seed=8)
    assert again.label_names == data.label_names and again.single_label and again.train_ratio is None
    for split_name, split in data.splits.items():
        repeated = again.splits[split_name]
        assert [image.resolve() for image in split.images] == [image.resolve() for image in repeated.images]
        np.testing.assert_array_equal(split.labels, repeated.labels)


def test_classes_of_lists_are_the_lines_or_the_folders(tmp_path):
    for number in range(20):
        write_image(tmp_path / "flat" / f"{number}.png", number)
    lines = [f"flat/{number}.png {'a b' if number % 2 else 'c'}" for number in range(20)]
    (tmp_path / "train.txt").write_text("\n".join(lines[:14]))
    (tmp_path / "test.txt").write_text("\n".join(lines[14:]))
    lists = {split_name: tmp_path / f"{split_name}.txt" for split_name in ("train", "test")}
    data = load_data("Custom", tmp_path, lists)
    assert data.label_names == ["a b", "c"] and names_of(data, "test") == ["c", "a b"] * 3
    data.write_lists(tmp_path)  # the class in the line, not the folder's name
    assert names_of(load_data("Custom", tmp_path, lists), "test") == ["c", "a b"] * 3


def test_names_of_a_trained_classifier_order_the_labels(scenes, tmp_path):
    (tmp_path / "test.txt").write_text("Pond/pond_1.jpg\nAirport/airport_1.jpg\n")
    data = load_data("AID", scenes, {"test": tmp_path / "test.txt"}, label_names=SCENES[::-1])
    assert data.splits["test"].labels.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]


# Bad class folders

def test_bad_class_folders(scenes, tmp_path):
    root = scenes / "AID"
    (root / "Square").mkdir()
    with pytest.raises(InputError, match="class folder .*Square holds no images"):
        load_data("AID", scenes)
    (root / "Square" / "notes.txt").write_text("")
    with pytest.raises(InputError, match="class folder .*Square holds no images"):
        load_data("AID", scenes)
    shutil.rmtree(root / "Square")
    write_classes(root, {"Square": 2})
    with pytest.raises(InputError, match="too few images in 1 class .Square: 2. of .*raise --train_ratio"):
        check("AID", scenes)
    shutil.rmtree(root / "Square")
    write_classes(root, {"pond": 20})
    with pytest.raises(InputError, match="classes 'Pond' and 'pond' differ only in case, blanks"):
        load_data("AID", scenes)
    shutil.rmtree(root / "pond")
    write_image(root / "preview.png", 0)
    with pytest.raises(InputError, match="image .*preview.png lies next to the class folders"):
        load_data("AID", scenes)
    with pytest.raises(InputError, match="there is no folder .*NWPU-RESISC45; download: https"):
        load_data("NWPU", scenes)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no class folders in .*empty.*label table"):
        load_data("Custom", tmp_path / "empty")


def test_classes_that_are_too_small_for_the_split(tmp_path):
    for few, ratio, message in [(1, 0.8, "1 class .few: 1. of .* for each of train, val, test"),
                                 (4, 0.2, "few: 4"), (2, 0.5, "few: 2")]:
        shutil.rmtree(tmp_path / "Custom", ignore_errors=True)
        write_classes(tmp_path / "Custom", {"many": 40, "few": few})
        with pytest.raises(InputError, match=message):
            check("Custom", tmp_path, train_ratio=ratio)
    shutil.rmtree(tmp_path / "Custom")
    write_classes(tmp_path / "Custom", {"many": 40, "few": 3})  # one of each is enough
    check("Custom", tmp_path)
    data = load_data("Custom", tmp_path)
    assert all(split.labels[:, 0].sum() == 1 for split in data.splits.values())


def test_files_that_are_not_images_are_skipped_with_a_warning(scenes, capsys):
    for name in ("Thumbs.db", "pond.webp", ".hidden.txt"):
        (scenes / "AID" / "Pond" / name).write_text("")
    data = load_data("AID", scenes)
    assert sum(len(split.images) for split in data.splits.values()) == 80
    warnings = capsys.readouterr().err
    assert "skipped 2 files (Pond/Thumbs.db, Pond/pond.webp) below" in warnings and "hidden" not in warnings


def test_classes_without_training_images(tmp_path, scenes):
    write_classes(tmp_path / "Custom" / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "Custom" / "test", {"a": 2, "c": 2})
    with pytest.raises(InputError, match="c_1.jpg has the class 'c', which no training image has"):
        load_data("Custom", tmp_path)
    (tmp_path / "l.txt").write_text("Pond/pond_1.jpg Pond\nPond/pond_1.jpg River\n")
    with pytest.raises(InputError, match="line 2: Pond/pond_1.jpg is of class 'River' here and of class 'Pond'"):
        load_data("AID", scenes, {"train": tmp_path / "l.txt"})


def test_two_lists_that_disagree(scenes, tmp_path):
    (tmp_path / "train.txt").write_text("Pond/pond_1.jpg Pond\nRiver/river_1.jpg River\n")
    (tmp_path / "test.txt").write_text("Pond/pond_1.jpg River\n")
    with pytest.raises(InputError, match="the lists give .*pond_1.jpg two classes, 'Pond' and 'River'"):
        load_data("AID", scenes, {split_name: tmp_path / f"{split_name}.txt" for split_name in ("train", "test")})


def test_a_single_class(tmp_path):
    write_classes(tmp_path / "Custom", {"a": 9})
    with pytest.raises(InputError, match="all images in .* are of the class 'a'.*at least two"):
        check("Custom", tmp_path)
    (tmp_path / "t.csv").write_text("image,label\n" + "".join(f"a_{number},a\n" for number in range(1, 10)))
    with pytest.raises(InputError, match="all images in .* are of the class 'a'.*at least two"):
        check("Custom", tmp_path, label_path=tmp_path / "t.csv")


def test_a_ratio_for_a_split_that_is_there_already(ucm, scenes, tmp_path):
    with pytest.raises(InputError, match="--train_ratio is for images without a split"):
        load_data("UCM_Multilabel", ucm, train_ratio=0.5).check_options(None, 0.5)
    (tmp_path / "l.txt").write_text("\n".join(f"{name}/{name.lower()}_{n}.jpg" for name in SCENES for n in range(1, 9)))
    with pytest.raises(InputError, match="--train_ratio"):
        load_data("AID", scenes, {"train": tmp_path / "l.txt"}, train_ratio=0.5).check_options(None, 0.5)
    load_data("AID", scenes, train_ratio=0.5).check_options(None, 0.5)


@unicode_names
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_names_match_in_either_form(tmp_path, form):
    opposite = {"NFC": "NFD", "NFD": "NFC"}[form]
    place = unicodedata.normalize(form, "Küste é")
    write_classes(tmp_path / "Custom", {place: 10, "海": 10})
    assert load_data("Custom", tmp_path).label_names == ["Küste é", "海"]
    rows = [f"{path.stem},{'sea' if path.parent.name == '海' else 'Küste'}\n" for path in tmp_path.rglob("*.jpg")]
    (tmp_path / "t.csv").write_text("image,labels\n" + unicodedata.normalize(opposite, "".join(rows)), encoding="utf-8")
    data = load_data("Custom", tmp_path, label_path=tmp_path / "t.csv")
    assert data.label_names == ["Küste", "sea"]
    assert all(data.splits["test"].labels[:, 1] == [image.parent.name == "海" for image in data.splits["test"].images])


# Custom tables

def write_custom(root, table="labels.csv", header="image,labels", separator=";"):
    """40 images in two folders, with rows of names: sea and sand, or water, or nothing."""
    rows = []
    for number in range(40):
        write_image(root / "images" / str(number % 2) / f"my.photo {number}.png", number)
        rows.append(f"my.photo {number}," + [f"sea{separator} sand", "water", "sand", ""][number % 4])
    (root / table).write_text("\n".join([header, *rows]))


@pytest.mark.parametrize("separator", [";", "|"])
def test_table_of_names(tmp_path, separator):
    write_custom(tmp_path, separator=separator)
    data = load_data("Custom", tmp_path)
    assert data.label_names == ["sand", "sea", "water"] and not data.single_label and data.train_ratio == 0.8
    assert [len(split.images) for split in data.splits.values()] == [29, 3, 8]
    for split in data.splits.values():
        expected = [[[1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]][int(image.stem.split()[1]) % 4]
                    for image in split.images]
        np.testing.assert_array_equal(split.labels, expected)


def test_custom_table_of_cells_and_split_by_folders(tmp_path):
    # The same names in two folders.
    keys = [f"{folder}/{number}.png" for folder in ("train", "test") for number in range(12)]
    for seed, key in enumerate(keys):
        write_image(tmp_path / key, seed)
    labels = random_labels(24)
    write_table(tmp_path / "labels.tsv", keys, labels, "\t")
    data = load_data("Custom", tmp_path)
    assert len(data.splits["test"].images) == 12 and data.train_ratio is None
    expected = dict(zip(keys, labels.tolist()))
    for split in data.splits.values():
        assert split.labels.tolist() == [expected[image.relative_to(tmp_path).as_posix()] for image in split.images]


def test_table_of_classes(tmp_path):
    names = ["Kiefern, jung", "sea"]
    rows = ["image\tlabel"]
    for number in range(20):
        write_image(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png\t{names[number % 2]}")
    (tmp_path / "labels.tsv").write_text("\n".join(rows))
    data = load_data("Custom", tmp_path)
    assert data.single_label and data.label_names == names
    for split_name, split in data.splits.items():
        assert names_of(data, split_name) == [names[int(image.stem) % 2] for image in split.images]
    (tmp_path / "labels.tsv").write_text("\n".join([*rows[:-1], "19\t"]))
    with pytest.raises(InputError, match=r"line 21 \('19'\): no class; with the header image,label each image has "
                                         "exactly one"):
        load_data("Custom", tmp_path)


def test_row_keys_in_other_spellings(tmp_path):
    keys = ["a.jpg", str(tmp_path / "b" / "1.png"), "c\\1.PNG", "./d.png", "e.f"]
    for seed, path in enumerate(["a.JPG", "b/1.png", "c/1.png", "d.png", "e.f.tif"]):
        write_image(tmp_path / path, seed)
    (tmp_path / "labels.csv").write_text("image,labels\n" + "".join(f"{key},n{i}\n" for i, key in enumerate(keys)))
    table = read_label_table(tmp_path / "labels.csv")
    images = [tmp_path / path for path in ("a.JPG", "b/1.png", "c/1.png", "d.png", "e.f.tif")]
    np.testing.assert_array_equal(table.labels_of(images), np.eye(5))


def test_the_most_specific_row_belongs_to_an_image(tmp_path):
    for seed, place in enumerate("ab"):
        write_image(tmp_path / place / "beach.png", seed)
    (tmp_path / "labels.csv").write_text("image,labels\nbeach,sea\na/beach.png,ship\n")
    table = read_label_table(tmp_path / "labels.csv")
    assert table.names == ["sea", "ship"]
    assert table.labels_of([tmp_path / place / "beach.png" for place in "ab"]).tolist() == [[0, 1], [1, 0]]


def test_a_table_in_the_archives_folder(tmp_path):
    write_custom(tmp_path / "Custom" / "unpacked")
    data = load_data("Custom", tmp_path)
    assert data.label_names == ["sand", "sea", "water"]
    data.write_lists(tmp_path)
    again = load_data("Custom", tmp_path, {split_name: tmp_path / f"{split_name}.txt" for split_name in data.splits})
    assert again.label_names == data.label_names and not again.single_label
    np.testing.assert_array_equal(again.splits["test"].labels, data.splits["test"].labels)


def test_one_row_for_two_images_in_two_splits(tmp_path):
    for split_name in ("train", "test"):
        for number in range(10 if split_name == "train" else 1):
            write_image(tmp_path / split_name / f"{number}.png", number + len(split_name))
    write_table(tmp_path / "labels.csv", [str(number) for number in range(10)], random_labels(10))
    with pytest.raises(InputError, match="share the row '0' .* could belong to either"):
        load_data("Custom", tmp_path)


def test_two_rows_for_one_image_of_a_list(tmp_path):
    write_image(tmp_path / "a.jpg", 0)
    (tmp_path / "list.txt").write_text("a.jpg\n")
    (tmp_path / "labels.csv").write_text("image,sea\na.jpg,1\na,0\n")
    with pytest.raises(InputError, match="labels.csv has two rows for .*a.jpg, with and without its extension"):
        load_data("Custom", tmp_path, {"test": tmp_path / "list.txt"})


def test_a_table_without_any_label(tmp_path):
    write_custom(tmp_path)
    (tmp_path / "labels.csv").write_text("image,sea\n" + "".join(f"my.photo {number},0\n" for number in range(40)))
    with pytest.raises(InputError, match="no training image in .* has any label"):
        check("Custom", tmp_path)


@pytest.mark.parametrize("content, message", [
    ("image,labels\na,sea,sand\n", r"line 2 \('a'\): 3 cells, but the header has 2.*semicolons"),
    ("image,labels\na,sea\nb,Sea;sand\n", r"line 3 \('b'\): label 'Sea' differs from 'sea' above only in case"),
    ("image,labels\na,sea\na,sand\n", "already has a row above"), ("image,labels\na,\nb,\n", "names no label"),
    ("image,labels\n./x\\a,sea\nx/a,sand\n", "already has a row above")])
def test_bad_tables_of_names(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_label_table(tmp_path / "t.csv")


def test_unknown_names_in_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("image,labels\na,sea\nb,sae; sand\n")
    with pytest.raises(InputError, match=r"line 3 \('b'\): unknown label 'sae'; is it 'sea'\?; known are sea, sand"):
        read_label_table(tmp_path / "t.csv", ["sea", "sand"])
    (tmp_path / "t.csv").write_text("image,labels\na,sea\n")
    table = read_label_table(tmp_path / "t.csv", ["sea", "sand"])  # not all of them need occur
    assert table.names == ["sea", "sand"] and table.rows["a"].tolist() == [1, 0]


def test_a_column_label_of_0_and_1_holds_classes(tmp_path):
    (tmp_path / "t.csv").write_text("image,label\na,1\nb,0\n")
    table = read_label_table(tmp_path / "t.csv")
    assert table.names == ["0", "1"] and table.rows["a"].tolist() == [0, 1] and table.single_label


def test_custom_images_next_to_a_folder_of_folders(tmp_path):
    for number in range(12):
        write_image(tmp_path / ("2023/may" if number % 2 else "") / f"{number}.png", number)
    write_table(tmp_path / "labels.csv", [str(number) for number in range(12)], random_labels(12))
    assert sum(len(split.images) for split in load_data("Custom", tmp_path).splits.values()) == 12


def test_custom_table_and_images_do_not_match(tmp_path):
    write_custom(tmp_path)
    (tmp_path / "images" / "0" / "my.photo 0.png").rename(tmp_path / "images" / "0" / "new.png")
    with pytest.raises(InputError, match="no image below .* for 1 row .my.photo 0"):
        load_data("Custom", tmp_path)
    write_image(tmp_path / "images" / "1" / "my.photo 0.png", 0)
    with pytest.raises(InputError, match="no row for 1 image .*new.png"):
        load_data("Custom", tmp_path)


@pytest.mark.parametrize("outer, inner", [
    (["north", "south"], ["sea", "sand"]), (["2023", "2024"], ["sea", "sand"]),
    (["photos", "masks"], ["sea", "sand"]), (["sea", "sand"], ["2023", "2024"])])
def test_folders_that_may_be_no_classes(tmp_path, outer, inner):
    for above in outer:
        write_classes(tmp_path / "Custom" / above, dict.fromkeys(inner, 2))
    write_classes(tmp_path / "Custom" / outer[1], {"ship": 2})  # one more
    with pytest.raises(InputError, match=r"2 folders .* of the same names, 2 folders .*which are the classes"):
        load_data("Custom", tmp_path)
    write_image(tmp_path / "Custom" / outer[0] / "a.png", 1)  # a class that has images itself
    assert load_data("Custom", tmp_path).label_names == sorted(outer)


@pytest.mark.parametrize("names, message", [
    (["images", "masks"], "folders images, masks in .* named like images, bands or annotations"),
    (["RGB", "NIR"], "named like images, bands"), (["nan", "sea"], "class folder .*nan: 'nan' is no label"),
    (["sea;sand", "sea"], "class folder .* 'sea;sand' is not one class"),
    (["train_images", "test_images"], "test_images, train_images in .* are named like a split"),
    (["train-jpg", "test-jpg"], "are named like a split"), (["train", "test1"], "are named like a split"),
    (["trainval", "test"], "are named like a split"), (["train2017", "val2017"], "are named like a split"), (["images_tr", "images_test"], "are named like a split"),
    (["01", "1"], "'01' and '1' differ only in"), (["3 17", "3"], "several labels per image need a label table"),
    (["sea", "sea (1)"], r"1 class \(sea \(1\)\) are named like copies"), (["sea", "sea - Copy"], "like copies")])
def test_folders_that_are_no_classes(tmp_path, names, message):
    write_classes(tmp_path / "Custom", dict.fromkeys(names, 5))
    with pytest.raises(InputError, match=message):
        load_data("Custom", tmp_path)


@pytest.mark.parametrize("names, is_warned", [
    (["forest", "sea", "forest+sea"], True), (["forest", "sea", "sea_forest"], True), (["sea", "sea_ice"], False),
    (["Pepper,_bell___healthy", "Pepper,_bell___spot", "Potato___healthy"], False), (["10%", "50%"], False),
    (["size=1", "NaCl 0.5"], False), ([f"{a} of {b}" for a in "abcdefg" for b in "xyz"], False), (["temp_-5", "temp_5"], False), (["A", "A*"], False),
    (list(LABEL_COUNTS["NWPU-RESISC45"]), False), (list(LABEL_COUNTS["AID"]), False), (["forest (1)", "sea"], False)])
def test_class_folders_that_look_like_combinations(tmp_path, capsys, names, is_warned):
    write_classes(tmp_path / "Custom", dict.fromkeys(names, 1))
    load_data("Custom", tmp_path)
    assert ("may be several labels in one" in capsys.readouterr().err) == is_warned


@pytest.mark.parametrize("name, is_warned", [
    ("sea_1 (1).png", True), ("sea_1 - Copy.png", True), ("sea_1 copy 2.png", True), ("sea_1.bmp", True),
    ("sea_1_mask.png", True), ("sea_1-rot90.png", True), ("sea_9_jpg.rf.1a2b.png", False), ("new (1).png", False),
    ("sea_1_flipTB.png", True), ("sea_1_90deg.png", True), ("aug_0_sea_1.png", True), ("sea_1-150x150.png", True),
    ("sea_original_sea_1.png_1a.png", True), ("sea_1@2x.png", True), ("sea_1 (Ann's conflicted copy 2024).png", True),
    ("sea_1_1.png", False), ("sea_11.png", False), ("thumbnails/sea_1.png", True), ("small/augmented/sea_1.png", True),
    ("a/sea_9.png", False), ("google_sea_1.png", False), ("sea_at_sunset.png", False), ("rose_red.png", False),
    ("sea_1 - Kopie.png", True), ("sea_1 kopie 2.png", True), ("Copie de sea_1.png", True), ("IMG_1-edited.png", False),
    ("rotten_sea_1.png", False), ("field_crop_1.png", False), ("old_rotonda.png", False), ("IMG_E1.png", False),
    ("sea_1 2.png", True), ("sea_9 2.png", False)])
def test_images_named_like_copies(tmp_path, capsys, name, is_warned):
    write_classes(tmp_path / "Custom", {"sea": 5, "sand": 5})
    write_image(tmp_path / "Custom" / "sea" / name, 1)
    load_data("Custom", tmp_path)
    error = capsys.readouterr().err
    assert ("warning: 1 image" in error and "named like copies" in error) == is_warned


@pytest.mark.parametrize("name", ["harbour_blur", "harbour-edited", "harbour_gray", "harbour_sharp", "harbour copie"])
def test_an_edited_image_without_a_number(tmp_path, capsys, name):
    write_classes(tmp_path, {"sea": 5, "sand": 5})
    write_image(tmp_path / "sea" / f"{name}.png", 1)
    load_data("Custom", tmp_path)
    assert "named like copies" not in capsys.readouterr().err
    write_image(tmp_path / "sea" / "harbour.png", 2)
    load_data("Custom", tmp_path)
    assert f"{name}.png of " in capsys.readouterr().err


def test_copies_of_classes_in_other_languages(tmp_path):
    write_classes(tmp_path, {"sea": 5, "sand": 5, "sea - Kopie": 5})
    with pytest.raises(InputError, match="named like copies of other classes"):
        load_data("Custom", tmp_path)


@pytest.mark.parametrize("endings, is_warned", [
    (("_pre_disaster", "_post_disaster"), True), (("_t1", "_t2"), True), (("_R", "_G", "_B"), True),
    (("_left", "_right"), True), ((".cutout", ".jitter"), True), (("_1", "_2"), False), (("_a",), False)])
def test_images_of_one_place_with_the_same_endings(tmp_path, capsys, endings, is_warned):
    write_classes(tmp_path, {"sea": 1, "sand": 1})
    for seed, (name, place, ending) in enumerate(itertools.product(("sea", "sand"), range(5), endings)):
        write_image(tmp_path / name / f"x{place}{ending}.png", seed)
    load_data("Custom", tmp_path)
    error = capsys.readouterr().err
    assert (f"{10 * (len(endings) - 1)} images" in error and "bands" in error) == is_warned


def test_an_image_of_a_split_named_like_a_copy_of_another_splits(tmp_path, capsys):
    for split in ("train", "test"):
        write_classes(tmp_path / "Custom" / split, {"sea": 5, "sand": 5})
    load_data("Custom", tmp_path)
    assert "copies" not in capsys.readouterr().err  # numbers that start anew in each split
    write_image(tmp_path / "Custom" / "train" / "sea" / "augmented" / "sea_1.png", 1)
    write_image(tmp_path / "Custom" / "train" / "sea" / "sea_2_flip.png", 1)
    load_data("Custom", tmp_path)
    assert "warning: 2 images" in (error := capsys.readouterr().err) and "named like copies" in error
    lists = {"train": "sea/sea_1.jpg sea sand/sand_1.jpg sand", "test": "sea/augmented/sea_1.png sea"}
    for split, lines in lists.items():
        (tmp_path / f"{split}.txt").write_text("".join(f"train/{image} {name}\n" for image, name in
                                                       zip(lines.split()[::2], lines.split()[1::2])))
    load_data("Custom", tmp_path, {split: str(tmp_path / f"{split}.txt") for split in lists})
    assert "warning: 1 image" in (error := capsys.readouterr().err) and "named like copies" in error


@pytest.mark.parametrize("folders, is_warned", [
    (["beach", "forest", "forest/beach"], True), (["train/beach", "train/forest", "test/beach/test", "test/forest"], True),
    (["beach", "beach/test", "forest/2023"], True), (["beach/beach", "forest/2023", "forest/deep"], False)])
def test_folders_inside_a_class_named_like_another_class_or_a_split(tmp_path, capsys, folders, is_warned):
    for folder in folders:
        write_classes((tmp_path / "Custom" / folder).parent, {Path(folder).name: 5})
    load_data("Custom", tmp_path)
    assert ("1 folder (" in (error := capsys.readouterr().err) and "another class or a split" in error) == is_warned


@pytest.mark.parametrize("folders, named", [
    (["forest", "forest/rejected", "water"], "1 folder (rejected)"), (["forest", "forest_old", "water"], "1 folder (forest_old)"),
    (["forest", "unsorted", "New folder"], "2 folders (New folder, unsorted)"), (["forest", "forest-v2"], "1 folder (forest-v2)"),
    (["type_1", "type_2"], None), (["old town", "new town"], None), (["forest", "forest_2/deep"], "1 folder (forest_2)"),
    (["storage", "storage tank"], None)])
def test_folders_of_what_was_put_aside(tmp_path, capsys, folders, named):
    for folder in folders:
        write_classes((tmp_path / "Custom" / folder).parent, {Path(folder).name: 5})
    load_data("Custom", tmp_path)
    error = capsys.readouterr().err
    assert f"{named} in {tmp_path / 'Custom'} are named like images put aside" in error if named else "aside" not in error


@pytest.mark.parametrize("names, is_warned", [
    (["train_images", "test_images"], True), (["train2017", "val2017", "test2017"], True), (["train", "eval"], True),
    (["fold0", "fold1"], True), (["trainval", "test"], True), (["imagesTr", "imagesTs"], True), (["trainset", "testset"], True),
    (["TrainImages", "TestImages"], True), (["Test_Site_A", "Test_Site_B"], False), (["seg_train", "seg_test"], True), (["train", "test"], False), (["north", "south"], False)])
def test_folders_beside_a_table_named_like_a_split(tmp_path, capsys, names, is_warned):
    for name in names:
        write_classes(tmp_path / "Custom", {name: 5})
    rows = [f"{name.lower()}_{number},{'sea' * (number % 2)}" for name in names for number in range(1, 6)]
    (tmp_path / "Custom" / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    load_data("Custom", tmp_path)
    assert ("are named like a split, but all images are split anew" in capsys.readouterr().err) == is_warned


def test_a_table_that_contradicts_the_folders(tmp_path, capsys):
    write_classes(tmp_path / "Custom", {"sea": 5, "Sand": 5})
    rows = [f"{name.lower()}_{number},{name.lower()}" for name in ("sea", "Sand") for number in range(1, 6)]
    for changed, is_warned in ((rows, False), (["sea_1,sand", *rows[1:]], True)):
        (tmp_path / "Custom" / "labels.csv").write_text("\n".join(["image,label", *changed]))
        load_data("Custom", tmp_path)
        error = capsys.readouterr().err
        assert ("does not give 1 image" in error and "sea_1.jpg" in error and "the class" in error) == is_warned


def test_a_list_that_contradicts_the_folders(tmp_path, capsys):
    write_classes(tmp_path, {"sea": 5, "sand": 5})
    lines = [f"{name}/{name}_{number}.jpg {name}" for name in ("sea", "sand") for number in range(1, 6)]
    for changed, is_warned in ((lines, False), (["sea/sea_1.jpg sand", *lines[1:]], True)):
        (tmp_path / "list.txt").write_text("\n".join(changed))
        load_data("Custom", tmp_path, {"train": tmp_path / "list.txt"})
        assert ("a list does not give 1 image" in capsys.readouterr().err) == is_warned


@pytest.mark.parametrize("tested, is_warned", [("01", False), ("10", True)])
def test_lists_that_number_the_classes_differently(tmp_path, capsys, tested, is_warned):
    lists = {}
    for split, ids in (("train", "01"), ("test", tested)):
        write_classes(tmp_path / split, {"sea": 5, "sand": 5})
        lists[split] = tmp_path / f"{split}.txt"
        lists[split].write_text("".join(f"{split}/{name}/{name}_{number}.jpg {label}\n" for name, label in
                                        zip(("sea", "sand"), ids) for number in range(1, 6)))
    load_data("Custom", tmp_path, lists)
    error = capsys.readouterr().err
    warning = f"named sea are of class '0' in {lists['train']}, but of class '1' in {lists['test']}: do these lists"
    assert warning in error if is_warned else "number the classes" not in error


def test_lists_of_folders_that_mix_classes(tmp_path, capsys):
    """Their folders say nothing of the numbers."""
    lists = {split: tmp_path / f"{split}.txt" for split in ("train", "test")}
    for split, file in lists.items():
        write_classes(tmp_path / split, {"images": 6})
        file.write_text("".join(f"{split}/images/images_{number}.jpg {number % 2}\n" for number in range(1, 7)))
    load_data("Custom", tmp_path, lists)
    assert "number the classes" not in capsys.readouterr().err


@pytest.mark.parametrize("folders, is_warned", [
    (["beach/rome", "beach/oslo", "forest/rome", "forest/oslo"], True), (["beach", "forest"], False),
    (["train/beach", "train/forest", "test/beach", "test/forest"], False)])
def test_lists_of_folders_inside_folders(tmp_path, capsys, folders, is_warned):
    for folder in folders:
        write_classes((tmp_path / folder).parent, {Path(folder).name: 5})
    (tmp_path / "list.txt").write_text("\n".join(map(str, tmp_path.rglob("*.jpg"))))
    load_data("Custom", tmp_path, {"train": tmp_path / "list.txt"})
    error = capsys.readouterr().err
    assert "2 classes (" in error and "named after several folders" in error if is_warned else "several" not in error


def test_images_elsewhere_with_names_of_a_table(tmp_path, capsys):
    for place in ("a", "b"):
        write_classes(tmp_path / place / "Custom", {"images": 5})
        (tmp_path / place / "Custom" / "labels.csv").write_text(
            "image,sea,sand\n" + "".join(f"images_{number},{number % 2},1\n" for number in range(1, 6)))
    for place, is_warned in (("a", False), ("b", True)):
        lists = {"test": tmp_path / f"{place}.txt"}
        lists["test"].write_text("\n".join(map(str, (tmp_path / place).rglob("*.jpg"))))
        load_data("Custom", tmp_path / "a", lists)
        error = capsys.readouterr().err
        assert ("5 images (" in error and "labels by the file's name alone; if these are other images" in error) == is_warned


@pytest.mark.parametrize("header, row", [("image,sea,sand,wood", "{key},{sea},{sand},{wood}"), ("image,labels", "{key},{labels}")])
def test_several_labels_that_contradict_most_images_of_a_folder(tmp_path, capsys, header, row):
    write_classes(tmp_path, {"sea": 6, "sand": 6, "tree": 6})
    images = [(name, f"{name}_{number}") for name in ("sea", "sand", "tree") for number in range(1, 7)]
    for shift, expected in ((0, False), (2, False), (6, True)):
        rows = [row.format(key=key, labels=name, **{label: int(label == name) for label in ("sea", "sand", "wood")})
                for (_, key), (name, _) in zip(images, images[shift:] + images[:shift])]
        (tmp_path / "labels.csv").write_text("\n".join([header, *rows]))
        load_data("Custom", tmp_path)
        assert ("images" in (error := capsys.readouterr().err) and "the label after which the folder is named" in error
                ) == expected


def test_a_part_of_a_published_data_set(tmp_path, capsys):
    write_classes(tmp_path / "AID", {"Beach": 5, "Forest": 5})
    load_data("AID", tmp_path)
    assert "holds 10 of the 10000 images of AID: was it unpacked in part?" in capsys.readouterr().err


def test_images_that_icloud_holds(tmp_path, capsys):
    write_classes(tmp_path / "Custom", {"sea": 5, "sand": 5})
    (tmp_path / "Custom" / "sea" / ".sea_7.png.icloud").write_bytes(b"x")
    load_data("Custom", tmp_path)
    assert "skipped 1 file (sea/.sea_7.png.icloud)" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("7_B02.png", "7_B03.png"), ("a_jpg.rf.1.png", "a_jpg.rf.2.png"), ("7_red.png", "7_nir.png"), ("DJI_1_T.png", "DJI_1_W.png"),
                                   ("plot1_RGB.png", "plot1_NIR.png"), ("0001_rgb.png", "0001_depth.png"),
                                   ("LC08_7_B2.png", "LC08_7_B3.png"), ("T32_B02_10m.png", "T32_B03_10m.png"), ("x.B02.png", "x.B04.png"),
                                   ("x_band4.png", "x_band5.png"), ("x_aug0.png", "x_aug1.png"), ("x_hflip.png", "x_vflip.png"),
                                   ("x_rot0.png", "x_rot90.png"), ("IMG_1234.png", "IMG_E1234.png"), ("PXL_1.png", "PXL_1~2.png"),
                                   ("aug_0_12.png", "aug_0_77.png")])
def test_bands_and_augmentations_of_one_place(tmp_path, capsys, names):
    write_classes(tmp_path / "Custom", {"sea": 5, "sand": 5})
    for seed, name in enumerate(names):
        write_image(tmp_path / "Custom" / "sea" / name, seed)
    load_data("Custom", tmp_path)
    assert "1 image (" in (error := capsys.readouterr().err) and f"{names[1]}" in error and "bands" in error


def test_a_folder_called_custom_beside_others(tmp_path, capsys):
    write_classes(tmp_path, {"forest": 5})
    write_classes(tmp_path / "Custom", {"sea": 5, "sand": 5})
    (tmp_path / "UCM_Multilabel").mkdir()
    assert load_data("Custom", tmp_path).label_names == ["sand", "sea"]
    assert "without 1 folder (forest) beside it" in capsys.readouterr().err


@pytest.mark.parametrize("name", [" sea", "sea "])
def test_class_names_that_lists_would_not_keep(tmp_path, name):
    write_classes(tmp_path / "Custom", {name: 5, "sand": 5})
    with pytest.raises(InputError, match=f"class folder '.*{name}' starts or ends with a blank; rename it"):
        load_data("Custom", tmp_path)


def test_links_that_lead_nowhere_are_counted(tmp_path, capsys):
    write_classes(tmp_path / "Custom", {"sea": 9, "sand": 9})
    for number in range(3):
        (tmp_path / "Custom" / "sea" / f"link_{number}.png").symlink_to(tmp_path / "nowhere.png")
    assert len(load_data("Custom", tmp_path).all_images().images) == 18
    assert "skipped 3 links (sea/link_0.png, sea/link_1.png, ...)" in capsys.readouterr().err


def test_few_training_images_are_warned_of(tmp_path, capsys):
    write_classes(tmp_path / "Custom", {"sea": 20, "sand": 3, "ship": 5})
    check("Custom", tmp_path)
    assert "fewer than 5 training images, too few to learn from, in 2 classes (sand: 1, ship: 3)" in (
        capsys.readouterr().err)


def test_mostly_unlabelled_training_images_are_warned_of(tmp_path, capsys):
    write_classes(tmp_path / "Custom", {"all": 40})
    stems = sorted(image.stem for image in (tmp_path / "Custom").rglob("*.jpg"))
    for unlabelled, is_warned in ((16, False), (32, True)):
        rows = [f"{stem},{'' if number < unlabelled else 'sea'}" for number, stem in enumerate(stems)]
        (tmp_path / "Custom" / "labels.csv").write_text("\n".join(["image,labels", *rows]))
        check("Custom", tmp_path)
        assert ("training images have no label" in capsys.readouterr().err) == is_warned


def test_class_folders_that_hold_folders_alone_are_warned_of(tmp_path, capsys):
    for name in ("seg_train/seg_train/sea", "seg_train/seg_train/sand", "seg_pred/seg_pred", "sea/2023"):
        write_classes(tmp_path / "Custom" / name, {"x": 3})
    load_data("Custom", tmp_path)
    assert "3 class folders (sea: 2023, seg_pred: seg_pred, ...)" in capsys.readouterr().err


@pytest.mark.parametrize("name, message", [("0 1 1", "several labels per image need a label table"),
                                           ("sea;sand", "several labels"), ("nan", "is no label"), ('"sea"', "quotes")])
def test_classes_of_a_list_that_are_none(tmp_path, name, message):
    for number in range(4):
        write_image(tmp_path / "Custom" / f"{number}.png", number)
    (tmp_path / "train.txt").write_text(f"0.png sea\n1.png sea\n2.png sand\n3.png {name}\n")
    with pytest.raises(InputError, match=message):
        load_data("Custom", tmp_path, {"train": str(tmp_path / "train.txt")})
