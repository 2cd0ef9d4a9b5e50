"""Finding images and labels, and splitting them, in the distributors' layouts."""

import numpy as np
import pytest

from conftest import NAMES, random_labels, write_image, write_table
from dataset import load_data
from dataset.data import find_source
from dataset.label_table import read_label_table
from utils.errors import InputError


def test_ucm_split(ucm):
    data = load_data("UCM_Multilabel", ucm)
    train, val, test = (data.splits[name] for name in ("train", "val", "test"))
    assert data.label_names == NAMES
    assert sorted(path.stem[-2:] for path in test.images) == ["80"] * 3 + ["99"] * 3
    assert len(train.images) + len(val.images) == 24 and len(val.images) >= 2
    assert not set(train.images) & set(val.images)
    table = read_label_table(ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt")
    for split in (train, val, test):
        np.testing.assert_array_equal(split.labels, [table.rows[path.stem] for path in split.images])


def test_aid_split_is_the_official_one(aid):
    for spelling in ("AID_Multilabel", "AID_Multilable"):
        data = load_data(spelling, aid)
        assert all("images_test" in path.parts for path in data.splits["test"].images)
        assert len(data.splits["test"].images) == 6
        assert len(data.splits["train"].images) + len(data.splits["val"].images) == 20


def test_a_test_scene_in_a_folder_of_its_own_name_is_tested(aid):
    scene = aid / "AID_Multilabel" / "images_test" / "Pond"
    scene.rename(scene.with_name("unpacked"))
    scene.mkdir()
    scene.with_name("unpacked").rename(scene / "Pond")
    scene = aid / "AID_Multilabel" / "images_test" / "Airport"
    (scene.parent / "images_test").mkdir()
    scene.rename(scene.parent / "images_test" / "Airport")
    assert len(load_data("AID_Multilabel", aid).splits["test"].images) == 6


def test_written_split_gives_the_same_data(ucm, tmp_path):
    data = load_data("UCM_Multilabel", ucm, seed=7)
    data.write_lists(tmp_path)
    again = load_data("UCM_Multilabel", ucm, {name: tmp_path / f"{name}.txt" for name in data.splits})
    for name, split in data.splits.items():
        assert [path.resolve() for path in split.images] == [path.resolve() for path in again.splits[name].images]
        np.testing.assert_array_equal(split.labels, again.splits[name].labels)


def test_custom_lists_and_table(tmp_path):
    keys = [f"x.{i}" for i in range(12)]
    for seed, key in enumerate(keys):
        write_image(tmp_path / "my images" / f"{key}.png", seed)
    write_table(tmp_path / "my.csv", keys, random_labels(12))
    (tmp_path / "train.txt").write_text("".join(f"my images/{key}.png\n" for key in keys[:10]))
    data = load_data("UCM_Multilabel", tmp_path / "nowhere", {"train": tmp_path / "train.txt"}, tmp_path / "my.csv")
    assert set(data.splits) == {"train", "val"}  # no test set is invented
    assert sorted(p.stem for s in data.splits.values() for p in s.images) == sorted(keys[:10])


@pytest.mark.parametrize("header, line, is_right", [
    ("image,label", "a.png sea", True), ("image,label", "a.png", True), ("image,label", "a.png  SEA", True),
    ("image,label", "a.png sand", False), ("image,label", "a.png 0", False), ("image,label", "a.png flat", True),
    ("image,labels", "a.png sea", True), ("image,labels", "a.png sand", False), ("image,labels", "a.png 0", True),
    ("image,label", "without_row.png sand", True)])
def test_a_table_beside_lists_must_not_contradict_them(tmp_path, monkeypatch, header, line, is_right):
    """What a list without classes has, the name of the folder, contradicts nothing; nor does a row that is missing,
    which is another error."""
    root = tmp_path / "flat"
    for seed, name in enumerate(["a", "b", "c", "d", "without_row"]):
        write_image(root / f"{name}.png", seed)
    (root / "labels.csv").write_text(f"{header}\na,sea\nb,sand\nc,sea\nd,sand\n")
    (root / "train.txt").write_text(f"b.png sand\n{line}\nc.png\nd.png\n")
    lists = {"train": str(root / "train.txt")}
    monkeypatch.chdir(root)
    for data_root in (root, "."):
        if is_right:
            find_source("Custom", data_root, lists)
        else:
            with pytest.raises(InputError, match=r"train.txt gives .*a.png the class '(sand|0)', and .*labels.csv does"):
                find_source("Custom", data_root, lists)
        found = find_source("Custom", data_root, lists, root / "labels.csv")  # a table that is given is right
        assert found.labels.rows["a"].tolist() == [0, 1]


def test_missing_pieces_are_named(ucm, aid, tmp_path):
    root = ucm / "UCM_Multilabel"
    with pytest.raises(InputError, match="unknown data set 'UC'"):
        load_data("UC", ucm)
    with pytest.raises(InputError, match="no folder UCMerced_LandUse/Images in .*download: .*ucmerced"):
        load_data("UCM_Multilabel", tmp_path / "nowhere")
    extra = root / "UCMerced_LandUse" / "Images" / "river" / "river98.tif"
    write_image(extra, 0)
    with pytest.raises(InputError, match="no row for 1 image .*river98.tif"):
        load_data("UCM_Multilabel", ucm)
    for name in ("river.tif", "river102.tif"):
        extra = extra.rename(extra.with_name(name))
        with pytest.raises(InputError, match=f"{name} does not end with a two-digit number"):
            load_data("UCM_Multilabel", ucm)
    extra.unlink()
    (root / "UCMerced_LandUse" / "Images" / "river" / "river00.tif").unlink()
    with pytest.raises(InputError, match=r"no image below .* for 1 row \(river00\)"):
        load_data("UCM_Multilabel", ucm)
    (root / "multilabels" / "LandUse_Multilabeled.txt").unlink()
    with pytest.raises(InputError, match="no table multilabels/LandUse_Multilabeled.txt"):
        load_data("UCM_Multilabel", ucm)
    (aid / "AID_Multilabel" / "images_test").rename(aid / "AID_Multilabel" / "elsewhere")
    with pytest.raises(InputError, match="no folder images_tr and images_test"):
        load_data("AID_Multilabel", aid)


def test_hidden_files_and_folders_are_skipped(ucm):
    images = ucm / "UCM_Multilabel" / "UCMerced_LandUse" / "Images"
    for hidden in ("river/._river00.tif", "river/.ipynb_checkpoints/river00-checkpoint.tif"):
        write_image(images / hidden, 0)
    (images / "river" / "Thumbs.db").write_text("")
    assert sum(len(split.images) for split in load_data("UCM_Multilabel", ucm).splits.values()) == 30


def test_overlapping_lists_are_warned_of(ucm, tmp_path, capsys):
    images = [path.as_posix() for path in sorted(ucm.rglob("*.tif"))]
    for name, listed in (("train", images[:20]), ("val", images[20:25]), ("test", images[17:])):
        (tmp_path / f"{name}.txt").write_text("\n".join(listed))
    load_data("UCM_Multilabel", ucm, {name: tmp_path / f"{name}.txt" for name in ("train", "val", "test")})
    warnings = capsys.readouterr().err
    assert "3 images are both in the train and in the test list" in warnings
    assert "5 images are both in the val and in the test list" in warnings
    assert "the train and in the val" not in warnings


def test_repeated_lines_of_a_list_count_once(ucm, tmp_path, capsys):
    images = [path.as_posix() for path in sorted(ucm.rglob("*.tif"))]
    (tmp_path / "train.txt").write_text("\n".join(images[:20] + images[:20]))
    data = load_data("UCM_Multilabel", ucm, {"train": tmp_path / "train.txt"})
    assert sorted(path.as_posix() for split in data.splits.values() for path in split.images) == images[:20]
    assert "repeats 20 images" in capsys.readouterr().err


def test_two_images_of_one_name(ucm):
    folder = ucm / "UCM_Multilabel" / "UCMerced_LandUse" / "Images"
    write_image(folder / "other" / "river00.tif", 99)
    with pytest.raises(InputError, match="share the row"):
        load_data("UCM_Multilabel", ucm)
