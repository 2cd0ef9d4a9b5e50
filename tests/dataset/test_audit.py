"""python -m dataset.audit: what it finds in miniatures with known faults."""

import json
import shutil

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from conftest import write_image
from dataset.audit import draw_audit, main
from dataset.label_table import read_label_table
from programs import fails, fails_alone


def audit(root, *argv, code=0):
    """Audit a data set below `root`; returns the report, after checking the exit code."""
    arguments = ["--data_root", root, "--save_path", root / "audit", *argv]
    if code:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code == code
    else:
        main([str(argument) for argument in arguments])
    return json.loads((root / "audit" / "audit.json").read_text(encoding="utf-8"))


def image(ucm, name):
    return ucm / "UCM_Multilabel" / "UCMerced_LandUse" / "Images" / name[:-2] / f"{name}.tif"


def test_counts_and_co_occurrence(ucm):
    report = audit(ucm, "--dataset", "UCM_Multilabel")
    assert report["problems"] == [] and report["images"] == {"train": 22, "val": 2, "test": 6}
    table = read_label_table(ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt")
    labels = np.stack(list(table.rows.values())).astype(int)
    names = list(report["labels"])
    assert [sum(counts.values()) for counts in report["labels"].values()] == labels.sum(0).tolist()
    for row, column in np.ndindex(4, 4):
        assert report["co_occurrence"][row][column] == sum(a and b for a, b in labels[:, [row, column]])
    assert names == table.names and report["labels_per_image"]["mean"] == pytest.approx(labels.sum() / 30)
    assert report["sizes"] == {"64 x 72": 30} and report["identical"] == []
    assert any("differs from the published one: airplane" in note for note in report["notes"])
    assert any("too rare to score" in note for note in report["notes"])


def test_published_counts_are_found_under_other_spellings(ucm, capsys):
    table = ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    table.write_text(table.read_text().replace("bare-soil", "Bare soil"))
    assert audit(ucm, "--dataset", "UCM_Multilabel")["published"]["labels"]["Bare soil"] == 718
    assert "718" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Bare soil"))


def test_identical_images_with_different_labels(ucm):
    table = ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    rows = {line.split("\t")[0]: line.partition("\t")[2] for line in table.read_text().splitlines()}
    rows["forest02"] = "\t".join("10" [int(cell)] for cell in rows["forest01"].split("\t"))
    table.write_text("".join(f"{key}\t{row}\n" for key, row in rows.items()))
    shutil.copy(image(ucm, "forest01"), image(ucm, "forest02"))
    problem, = audit(ucm, "--dataset", "UCM_Multilabel", code=1)["problems"]
    assert "1 identical image(s) with different labels" in problem and "forest02.tif" in problem


def test_leaks_and_duplicates(ucm):
    Image.open(image(ucm, "river00")).save(image(ucm, "airplane80"), compression="tiff_lzw")  # train = test
    shutil.copy(image(ucm, "forest01"), image(ucm, "forest02"))
    report = audit(ucm, "--dataset", "UCM_Multilabel", code=1)
    duplicates = {tuple(sorted(duplicate["image"].split("/")[-1] for duplicate in group["images"])): group
             for group in report["identical"]}
    assert duplicates.keys() == {("airplane80.tif", "river00.tif"), ("forest01.tif", "forest02.tif")}
    assert not duplicates["airplane80.tif", "river00.tif"]["same_file_bytes"]
    assert duplicates["forest01.tif", "forest02.tif"]["same_file_bytes"]
    problem, *others = report["problems"]
    assert all("identical image(s) with different labels" in other for other in others)  # their labels are random
    assert "1 identical image(s) in different splits" in problem
    assert "airplane80.tif" in problem and "forest" not in problem


def test_a_duplicate_in_validation_is_a_problem(ucm):
    (ucm / "train.txt").write_text("\n".join(str(image(ucm, f"river0{number}")) for number in range(4)))
    (ucm / "val.txt").write_text(str(image(ucm, "forest00")))
    shutil.copy(image(ucm, "river01"), image(ucm, "forest00"))
    report = audit(ucm, "--dataset", "UCM_Multilabel", "--train_dir", ucm / "train.txt", "--val_dir", ucm / "val.txt",
                   code=1)
    assert "river01.tif (train) = " in report["problems"][0] and "forest00.tif (val)" in report["problems"][0]


def test_missing_unreadable_and_unlabelled_images(ucm, capsys):
    image(ucm, "river01").unlink()
    image(ucm, "river02").write_bytes(b"text")
    write_image(image(ucm, "river77"), 0)
    write_image(image(ucm, "river03"), 1, (50, 40))
    report = audit(ucm, "--dataset", "UCM_Multilabel", code=1)
    assert report["without_image"] == ["river01"] and report["without_labels"][0].endswith("river77.tif")
    assert len(report["unreadable"]) == 1 and "river02.tif cannot be decoded" in report["unreadable"][0]
    assert [path.split("/")[-1] for path in report["odd_sized"]] == ["river03.tif"]
    printed = capsys.readouterr().out
    for word in ("river01", "river02.tif", "river77.tif", "river03.tif 40 x 50"):
        assert word in printed
    assert len(report["problems"]) == 3


def test_class_folders(scenes, capsys):
    shutil.copy(scenes / "AID" / "Pond" / "pond_1.jpg", scenes / "AID" / "Pond" / "pond_31.jpg")
    report = audit(scenes, "--dataset", "AID", code=1)
    assert report["co_occurrence"] is None and report["labels_per_image"] == {"mean": 1.0, "images": {"1": 81}}
    assert "fewer images than published in 30 class(es): Airport 20 of 360" in report["problems"][-1]
    (scenes / "AID").rename(scenes / "Custom")  # nothing is known of these but what is there
    (scenes / "Custom" / "Pond" / "pond_31.jpg").unlink()
    report = audit(scenes, "--dataset", "Custom")
    assert report["published"] is None and report["identical"] == [] == report["problems"]
    assert "reading" in capsys.readouterr().err  # the progress bar


def test_a_class_too_small_to_split_is_a_problem(scenes):
    for image in sorted((scenes / "AID" / "Pond").iterdir())[1:]:
        image.unlink()
    (scenes / "AID").rename(scenes / "Custom")
    report = audit(scenes, "--dataset", "Custom", code=1)
    assert "too few images in 1 class (Pond: 1)" in report["problems"][0] and sum(report["images"].values()) == 51


def test_lists(ucm, tmp_path):
    for split, lines in (("train", ["river00", "river01", "forest07", "nowhere"] + [f"airplane0{i}" for i in range(8)]),
                        ("test", ["river80", "forest07"])):
        (tmp_path / f"{split}.txt").write_text("".join(
            f"UCMerced_LandUse/Images/{name[:-2]}/{name}.tif\n" for name in lines))
    report = audit(ucm, "--dataset", "UCM_Multilabel", "--train_dir", tmp_path / "train.txt", "--test_dir",
                   tmp_path / "test.txt", code=1)
    assert len(report["without_image"]) == 1 and "nowhere.tif" in report["without_image"][0]
    assert any("forest07.tif" in problem and "different splits" in problem for problem in report["problems"])


def test_a_list_of_test_images_alone(ucm, tmp_path):
    (tmp_path / "test.txt").write_text("UCMerced_LandUse/Images/river/river80.tif\n")
    report = audit(ucm, "--dataset", "UCM_Multilabel", "--test_dir", tmp_path / "test.txt")
    assert report["images"] == {"test": 1} and report["problems"] == []


def test_figure_shows_the_counts(ucm):
    report = audit(ucm, "--dataset", "UCM_Multilabel")
    bars, matrix = draw_audit(report).axes
    widths = [[bar.get_width() for bar in container] for container in bars.containers]
    assert widths == [[counts[split] for counts in report["labels"].values()] for split in ("train", "val", "test")]
    shown = matrix.images[0].get_array()
    together = np.array(report["co_occurrence"])
    np.testing.assert_allclose(shown, 100 * together / np.diag(together)[:, None])
    report["co_occurrence"] = None
    assert len(draw_audit(report).axes) == 1


@pytest.mark.parametrize("names", [["a", "b"], [f"a long name of a label, {number}" for number in range(17)]])
def test_titles_of_the_figure_fit_their_panels(names):
    together = np.eye(len(names), dtype=int).tolist()
    figure = draw_audit({"labels": {name: {"train": 3} for name in names}, "images": {"train": 3},
                         "co_occurrence": together})
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        title, panel = axes.title.get_window_extent(), axes.get_window_extent()
        assert panel.x0 <= title.x0 and title.x1 <= panel.x1 and panel.height > 0.2 * figure.bbox.height


def test_input_of_which_nothing_fits(ucm, scenes, capsys, tmp_path):
    (tmp_path / "l.txt").write_text("UCMerced_LandUse/Images/river/nowhere.tif\n")
    error = fails(capsys, audit, ucm, "--dataset", "UCM_Multilabel", "--test_dir", tmp_path / "l.txt")
    assert "none of the images in list file" in error and "nowhere.tif" in error
    (tmp_path / "t.csv").write_text("image,labels\nx,sea\n")
    error = fails(capsys, audit, scenes, "--dataset", "AID", "--label_path", tmp_path / "t.csv")
    assert "has no row for 80 images" in error and "the first one is for 'x'" in error
    (scenes / "Custom").mkdir()
    (scenes / "Custom" / "labels.csv").write_text("image,labels\nx,sea\n")
    assert "there are no images" in fails(capsys, audit, scenes, "--dataset", "Custom")
    error = fails(capsys, main, ["--dataset", "AID", "--data_root", str(scenes), "--save_path", str(scenes / "AID")])
    assert "lies inside the data set" in error


def test_bad_input(capsys, tmp_path):
    assert "unknown data set" in fails(capsys, main, ["--dataset", "DOTA"])
    assert "captain-whu" in fails_alone(capsys, "dataset.audit", "--dataset", "AID", "--data_root", tmp_path)
