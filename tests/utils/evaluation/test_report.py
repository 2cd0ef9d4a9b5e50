"""Test.py's figures and report.html from trained checkpoints, one and several, and with input that cannot be used."""

import base64
import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score

import Test
from conftest import DPI, NAMES, read_scores, write_image, write_ucm
from programs import evaluate, fails, train
from utils.evaluation.html_report import write_html_report
from utils.evaluation.report import evaluate as evaluate_scores
from utils.figures.scores import score_figures
from utils.figures.style import new_figure
from utils.results import Results

ALL_FIGURES = {"training", "score_histogram", "reliability", "precision_recall", "thresholds", "co_occurrence",
               "mistakes"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """"data", and a trained run of two losses; tests must not change them."""
    root = tmp_path_factory.mktemp("runs")
    data = write_ucm(root / "data")
    return {"data": data} | {loss: train("--dataset", "UCM_Multilabel", "--data_root", data, "--loss", loss,
                                         "--work-dir", root / loss, "--max_epoch", 1) for loss in ("r4c", "bce")}


@pytest.fixture
def both(runs) -> list:
    return ["--weights_path", runs["r4c"] / "best.pth", runs["bce"] / "best.pth"]


class Page(HTMLParser):
    """Tables as lists of rows of cells, images and their texts, and the words of each card."""

    VOID = {"meta", "link", "img"}

    def __init__(self, file: Path):
        super().__init__()
        self.open, self.tables, self.images, self.cards, self.references, self.words = [], [], [], [], [], []
        self.feed(file.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.references += [values[name] for name in ("src", "href") if name in values]
        if tag == "img":
            self.images.append(values["alt"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if values.get("class") == "card":
            self.cards.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1] += data
            elif self.cards:
                self.cards[-1] += data.strip() + " "


def decoded(reference: str) -> np.ndarray:
    """The pixels of an image in the page."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(reference.split(",")[1]))).convert("RGB")).astype(float)


def test_report_of_two_checkpoints(runs, both, tmp_path, capsys):
    evaluate(*both, "--save_path", tmp_path, "--report", 4, "--show_predictions", 2, "--show_gradcam", 3, "--select",
             "disagree", "--formats", "svg")
    drawn = {path.stem for path in tmp_path.glob("*.svg")}
    gradcam = {stem for stem in drawn if stem.startswith("gradcam_")}
    assert drawn == ALL_FIGURES | {"predictions_1"} | gradcam and len(gradcam) == 3
    assert all(f"figure:  {tmp_path / stem}.svg" in capsys.readouterr().out for stem in list(drawn)[:1])
    reports = {title: json.loads((tmp_path / folder / "metrics.json").read_text())
               for title, folder in (("R4C", "1_R4C"), ("BCE", "2_BCE"))}
    page = Page(tmp_path / "report.html")
    assert all(reference.startswith("data:") for reference in page.references)
    overall, per_label = page.tables
    assert overall[0] == ["", "R4C", "BCE"]
    assert overall[2] == ["mAP", *(f"{100 * report['metrics']['mAP']:.2f}" for report in reports.values())]
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name, title, best in (("mAP", "mAP", max), ("hamming_loss", "Hamming loss", min), (
            "coverage", "coverage (labels)", min)):
        values = [report["metrics"][name] for report in reports.values()]
        cells = re.search(rf"<td>{re.escape(title)}</td>(.*?)</tr>", html)[1].split("<td")[1:]
        assert [cell.startswith(" class=best>") for cell in cells] == [value == best(values) for value in values]
    assert [row[0] for row in per_label[1:]] == NAMES
    assert per_label[0] == ["label", "positives", *(f"{title} {figure}" for title in reports
                                                    for figure in ("AP", "P", "R", "F1"))]
    assert per_label[2][5] == f"{100 * reports['R4C']['per_label'][NAMES[1]]['F1']:.2f}"
    assert len(page.cards) == 4 and len(page.images) == len(drawn) + 4
    icon, *shown_images = page.references
    assert icon == "data:," and all(np.ptp(decoded(figure)) > 200 for figure in shown_images[:len(drawn)])  # not blank
    scores, labels = zip(*(read_scores(tmp_path / folder) for folder in ("1_R4C", "2_BCE")))
    labels = labels[0]
    losses = [np.mean([(matrix[i, labels[i] == 1][:, None] <= matrix[i, labels[i] == 0]).mean() for matrix in scores])
              if 0 < labels[i].sum() < 4 else 0 for i in range(6)]
    with open(tmp_path / "1_R4C" / "scores.csv", newline="") as file:
        images = [Path(row["image"]).name for row in csv.DictReader(file)]
    shown = [images.index(card.split()[0]) for card in page.cards]
    assert [losses[image] for image in shown] == sorted(losses, reverse=True)[:4]
    sources = {path.name: np.asarray(Image.open(path), float) for path in runs["data"].rglob("*.tif")}
    for image, shown_image in zip(shown, shown_images[len(drawn):]):
        alike = {name: np.corrcoef(decoded(shown_image).ravel(), source.ravel())[0, 1]
                 for name, source in sources.items()}
        assert max(alike, key=alike.get) == images[image]
    for card, image in zip(page.cards, shown):
        for title, matrix in zip(("R4C", "BCE"), scores):
            words = card.split(f"{title}:")[1].split("BCE:")[0]
            for column, name in enumerate(NAMES):
                is_fp = matrix[image, column] > 0.5 and not labels[image, column]
                is_fn = matrix[image, column] <= 0.5 and labels[image, column]
                assert (f"+ {name} {matrix[image, column]:.2f}" in words) == bool(is_fp)
                assert (f"− {name} {matrix[image, column]:.2f}" in words) == bool(is_fn)


def test_f1_at_the_threshold_of_the_validation_images(runs, tmp_path, monkeypatch, capsys):
    """It is the checkpoint's, whatever the test images say; a bare state dict has none."""
    monkeypatch.setattr("Test.score_figures", lambda results: [])
    content = torch.load(runs["bce"] / "best.pth", weights_only=True)
    torch.save({**content, "threshold": 0.49}, tmp_path / "known.pth")
    torch.save(content["state_dict"], tmp_path / "bare.pth")
    scores = np.linspace(0.47, 0.51, 24, dtype=np.float32).reshape(6, 4)
    monkeypatch.setattr("Test.predict", lambda *_, **__: (scores, 0))
    evaluate("--weights_path", tmp_path / "known.pth", tmp_path / "bare.pth", "--model", "Small", "--label_num", 4,
             "--image_size", 64, "--save_path", tmp_path / "out", "--report", "--formats", "svg")
    known, bare = (json.loads(file.read_text()) for file in sorted((tmp_path / "out").glob("*/metrics.json")))
    scores, labels = read_scores(next((tmp_path / "out").glob("1_*")))
    micro, macro = (f1_score(labels, scores > 0.49, average=average, zero_division=0) for average in ("micro", "macro"))
    assert known["at_validation_threshold"] == pytest.approx({"threshold": 0.49, "OF1": micro, "macro_F1": macro})
    assert "at_validation_threshold" not in bare and known["metrics"] == bare["metrics"] and micro != macro
    printed, = (line for line in capsys.readouterr().out.splitlines() if line.startswith("micro, macro F1 at"))
    assert printed.split()[3:] == (f"at 0.49 {100 * micro:.2f} {100 * macro:.2f} (the threshold with the best micro F1 "
                                   "on the validation images)").split()
    page = Page(tmp_path / "out" / "report.html")
    rows = {row[0]: row[1:] for row in page.tables[0]}
    assert rows["micro F1 at the validation images' threshold"] == [f"{100 * micro:.2f} at 0.49", "-"]
    assert rows["macro F1 at the validation images' threshold"] == [f"{100 * macro:.2f} at 0.49", "-"]
    assert {"F1 of mean example P, R", "F2 of mean example P, R", "F2 of CP, CR (CF2)"} < rows.keys()


def test_one_checkpoint_writes_beside_itself(runs, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(runs["r4c"], run)
    evaluate("--weights_path", run / "best.pth", "--show_scores", "--show_predictions", "--formats", "svg")
    assert {path.stem for path in (run / "test_best").glob("*.svg")} == ALL_FIGURES - {"training"} | {"predictions_1"}
    monkeypatch.setattr("Test.score_figures", lambda results: [])
    evaluate("--weights_path", run / "best.pth", "--report", "--formats", "png")
    page = Page(run / "test_best" / "report.html")
    assert len(page.cards) == 6 and (run / "test_best" / "training.png").exists()


def test_figures_of_an_earlier_test_are_named(runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs["r4c"], run)
    evaluate("--weights_path", run / "best.pth", "--show_predictions", 1, "--formats", "png")
    assert "earlier test" not in capsys.readouterr().err
    evaluate("--weights_path", run / "best.pth")
    assert f"1 figure (predictions_1.png) in {run / 'test_best'} are of an earlier test" in capsys.readouterr().err


def test_several_checkpoints_keep_their_own_results_and_share_a_folder_of_figures(runs, both, tmp_path):
    work_dir = tmp_path / "work"
    evaluate(*both, "--work-dir", work_dir)
    assert not work_dir.exists()  # nothing to draw
    evaluate(*both, "--work-dir", work_dir, "--show_predictions", 1)
    assert {path.name for path in (work_dir / "comparison").iterdir()} == {"predictions_1.png", "predictions_1.pdf"}
    assert all((runs[loss] / "test_best" / "metrics.json").is_file() for loss in ("r4c", "bce"))


def test_columns_follow_the_labels_names(runs, tmp_path, monkeypatch):
    """A checkpoint whose labels are in another order says the same about each label."""
    content = torch.load(runs["bce"] / "best.pth", weights_only=True)
    order = [2, 0, 3, 1]
    content["label_names"] = [content["label_names"][column] for column in order]
    for name in ("fc.weight", "fc.bias"):
        content["state_dict"][name] = content["state_dict"][name][order]
    content["args"]["loss"], content["loss_title"] = "asl", "ASL"
    torch.save(content, tmp_path / "other.pth")
    drawn = []
    monkeypatch.setattr("Test.draw_gradcam", lambda image, maps, *args: drawn.append(maps) or new_figure(1, 1))
    evaluate("--weights_path", runs["bce"] / "best.pth", tmp_path / "other.pth", "--save_path", tmp_path / "out",
             "--show_gradcam", 1)
    np.testing.assert_allclose(drawn[0]["BCE"], drawn[0]["ASL"], atol=1e-6)
    assert drawn[0]["BCE"].any()
    (scores, labels), (same_scores, same_labels) = (
        read_scores(tmp_path / "out" / title) for title in ("1_BCE", "2_ASL"))
    np.testing.assert_allclose(scores, same_scores, atol=1e-6)
    np.testing.assert_array_equal(labels, same_labels)


def test_images_without_labels(runs, both, tmp_path):
    shown_images = tmp_path / "unlabelled"
    for index, size in enumerate([(64, 64), (20, 900), (900, 20)]):
        write_image(shown_images / f"{index}.png", index, size)
    evaluate(*both, "--images", shown_images, "--save_path", tmp_path / "out", "--show_predictions", 3,
             "--show_gradcam", 3, "--formats", "png")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "1_R4C", "2_BCE", *(f"{stem}.png" for stem in ("predictions_1", "gradcam_1_0", "gradcam_2_1", "gradcam_3_2"))}
    with open(tmp_path / "out" / "2_BCE" / "predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    with Image.open(tmp_path / "out" / "gradcam_2_1.png") as shown_image:
        assert min(shown_image.size) > 1 * DPI


def test_what_cannot_be_drawn(runs, both, tmp_path, capsys):
    content = torch.load(runs["bce"] / "best.pth", weights_only=True)
    content["label_names"][-1] = "lake"
    torch.save(content, tmp_path / "lake.pth")
    error = fails(capsys, evaluate, *both, tmp_path / "lake.pth", "--show_predictions")
    assert f"{runs['r4c'] / 'best.pth'}" in error and f"{tmp_path / 'lake.pth'}" in error
    assert "only the first ['water'], only the second ['lake']" in error
    content["label_names"][-1], content["single_label"] = "water", True
    torch.save(content, tmp_path / "single.pth")
    assert "(one label per image)" in fails(capsys, evaluate, *both, tmp_path / "single.pth")
    (tmp_path / "file").write_text("")
    out = ["--save_path", tmp_path / "out"]
    for argv, message in ((["--save_path", tmp_path / "file"], "cannot be made"),
                           (["--show_predictions", 1, "--select", "nowhere", *out], "--select nowhere: no such image"),
                           (["--images", runs["data"], "--report"], "--report has no effect with --images"),
                           (["--images", runs["data"], "--show_scores"], "--show_scores has no effect with --images"),
                           (["--images", runs["data"], "--save_path", runs["data"] / "out"],
                            "lies inside the data set"),
                           (["--select", "best"], "--select has no effect without --show_predictions"),
                           (["--images", runs["data"], "--show_gradcam", 1, "--select", "worst", *out], "needs images"),
                           (["--show_gradcam", 0], "must be at least 1"), (["--formats", "gif"], "invalid choice")):
        assert message in fails(capsys, evaluate, *both, *argv)
    assert not (tmp_path / "out").exists()  # all of that is said before the work
    alone = ["--weights_path", runs["bce"] / "best.pth", "--show_predictions", 1, "--select", "disagree", *out]
    assert "needs at least two checkpoints" in fails(capsys, evaluate, *alone)
    evaluate(*both, "--show_predictions", 100, *out, "--formats", "svg")
    assert "100 images to show, but there are only 6" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {"predictions_1.svg", "predictions_2.svg"}


def test_the_page_shows_names_as_they_are(tmp_path):
    names = ["<b>sea & sand</b>", '"quoted" $5', "never there"]
    labels = np.array([[1, 0, 0], [0, 1, 0]], np.uint8)
    results = Results([tmp_path / "<i>1.png", tmp_path / "2.png"], names, labels, False)
    results.add("R4C <co>", np.array([[0.2, 0.9, 0.1], [0.3, 0.8, 0.7]]))
    report = {"weights": "a<b>.pth", "epoch": None, "image_size": 64,
              **evaluate_scores(results.scores["R4C <co>"], labels, names)}
    write_html_report(tmp_path / "report.html", "a < b", {"R4C <co>": report}, [], results,
                      lambda path: Image.new("RGB", (8, 8)))
    page = Page(tmp_path / "report.html")
    assert [row[0] for row in page.tables[1][1:]] == names and "R4C <co> AP" in page.tables[1][0]
    assert page.tables[1][3][2] == "-"  # the AP of a label without positives
    assert "class=best" not in (tmp_path / "report.html").read_text(encoding="utf-8")  # nothing to compare
    assert any("left out of mAP: never there." in words for words in page.words)
    assert "<i>1.png" in page.cards[0] and '+ "quoted" $5 0.90' in page.cards[0]
    assert "− <b>sea & sand</b> 0.20" in page.cards[0] and "+ never there 0.70" in page.cards[1]


def test_checkpoints_of_one_run_are_told_apart(runs, tmp_path):
    run = runs["bce"]
    evaluate("--weights_path", run / "best.pth", run / "last.pth", run / "best.pth", "--save_path", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"1_BCE_{run.name}_best"[:82], f"2_BCE_{run.name}_last"[:82]}


def test_single_label_report_has_a_confusion_per_checkpoint(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("Test.score_figures", lambda results: [
        shown for shown in score_figures(results) if shown.stem.startswith(("confusion", "mistakes"))])
    monkeypatch.setattr("Test.predict", lambda *_, **__: (np.full((64, 4), 0.25) + [0.1, 0, 0, 0], 0))
    run = train("--dataset", "AID", "--data_root", scenes, "--loss", "ce", "--work-dir", tmp_path, "--max_epoch", 1)
    evaluate("--weights_path", run / "best.pth", "--report", "--formats", "svg")
    assert (run / "test_best" / "confusion_1.svg").is_file() and not (run / "test_best" / "mistakes.svg").exists()
    assert "val_threshold" not in (run / "log.csv").read_text()
    assert "at_validation_threshold" not in json.loads((run / "test_best" / "metrics.json").read_text())
    page = Page(run / "test_best" / "report.html")
    assert not any("validation" in row[0] for row in page.tables[0])
    assert page.tables[0][2][0] == "overall accuracy (OA)"
    assert {"macro F1", "macro F1 (arg max)"} < {row[0] for row in page.tables[0]}
    assert len(page.tables[1]) == 5 and "Each class, in percent (P, R, F1: arg max)" in page.words
    with open(run / "test_best" / "per_label.csv", newline="") as file:
        recalls = [f"{100 * float(row['argmax_recall']):.2f}" for row in csv.DictReader(file)]
    assert [row[4] for row in page.tables[1][1:]] == recalls == ["100.00", "0.00", "0.00", "0.00"]


def test_checkpoints_for_different_test_images_are_not_compared(scenes, tmp_path, capsys):
    weights = [train("--dataset", "AID", "--data_root", scenes, "--loss", loss, "--seed", seed, "--work-dir", tmp_path,
                     "--max_epoch", 1) / "best.pth" for loss, seed in (("ce", 1), ("bce", 2))]
    error = fails(capsys, evaluate, "--weights_path", *weights)
    assert (f"{weights[0]} and {weights[1]} do not have the same test images; name the images to test with --test_dir"
            in error)
    out = ["--save_path", tmp_path / "out", "--test_dir", weights[0].with_name("test.txt")]
    assert evaluate("--weights_path", *weights, *out)["images"] == 54
    assert "10 of the 64 images of" in capsys.readouterr().err  # the second was trained on them


def test_the_buffer_is_that_of_the_training(runs, tmp_path, monkeypatch):
    content = torch.load(runs["r4c"] / "best.pth", weights_only=True)
    content["args"]["range_label"] = 0.3
    assert content.pop("buffer_halfwidth") == 0.1  # as older versions, which do not record it
    torch.save(content, tmp_path / "wide.pth")
    drawn = []
    monkeypatch.setattr("utils.figures.scores.draw_predictions",
                        lambda images, results: drawn.append(results.buffer_halfwidths) or [])
    evaluate("--weights_path", runs["bce"] / "best.pth", runs["r4c"] / "best.pth", tmp_path / "wide.pth", "--save_path",
             tmp_path / "out", "--show_predictions", 1)
    assert list(drawn[0].values()) == [None, 0.1, 0.3]
    assert list(drawn[0]) == ["BCE", "R4C, range_label 0.1", "R4C, range_label 0.3"]


def test_equal_options_in_equal_folders_keep_their_titles_apart(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("Test.score_figures", lambda results: [])
    for name in ("a", "b"):
        (tmp_path / name / "run").mkdir(parents=True)
        shutil.copy(runs["bce"] / "best.pth", tmp_path / name / "run" / "best.pth")
    weights = [tmp_path / "a" / "run" / "best.pth", tmp_path / "b" / "run" / "best.pth",
               tmp_path / "a" / ".." / "a" / "run" / "best.pth"]  # the last is the first
    evaluate("--weights_path", *weights, "--save_path", tmp_path / "out", "--report", "--formats", "svg")
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(folders) == 2 and all((folder / "metrics.json").is_file() for folder in folders)
    assert Page(tmp_path / "out" / "report.html").tables[0][0][1:] == [
        f"BCE {weights[2]}", f"BCE {weights[1]}"]


def test_a_bare_state_dict_beside_a_checkpoint(runs, tmp_path, capsys):
    torch.save(torch.load(runs["r4c"] / "best.pth")["state_dict"], tmp_path / "bare.pth")
    options = ["--model", "Small", "--label_num", 4, "--image_size", 64]
    evaluate("--weights_path", tmp_path / "bare.pth", runs["r4c"] / "best.pth", *options, "--save_path",
             tmp_path / "out", "--show_predictions", 1)
    bare, known = (read_scores(tmp_path / "out" / folder)[0] for folder in (f"1_{tmp_path.name}_bare", "2_R4C"))
    np.testing.assert_array_equal(bare, known)


def test_older_numbered_figures_do_not_stay(runs, tmp_path):
    out = ["--weights_path", runs["bce"] / "best.pth", "--save_path", tmp_path, "--formats", "svg"]
    evaluate(*out, "--show_gradcam", 2, "--show_predictions", 6)
    assert len(list(tmp_path.glob("gradcam_*"))) == 2 and len(list(tmp_path.glob("predictions_*"))) == 2
    (tmp_path / "predictions_1_notes.txt").write_text("mine")
    evaluate(*out, "--show_predictions", 1, "--select", "best")
    assert len(list(tmp_path.glob("gradcam_*"))) == 2  # not drawn this time
    assert {path.name for path in tmp_path.glob("predictions_*")} == {"predictions_1.svg", "predictions_1_notes.txt"}


@pytest.mark.parametrize("labels, scores, rows", [
    ([0, 1, 1, 0], [[0.9, 0.1, 0.2, 0.3], [0.3, 0.1, 0.1, 0.2]], [2, 1, 0]),  # present, then predicted by any
    ([0, 0, 0, 0], [[0.1, 0.4, 0.2, 0.3], [0.1, 0.2, 0.3, 0.2]], [1]),  # neither: what ranks first
    (None, [[0.1, 0.6, 0.2, 0.7], [0.1, 0.2, 0.8, 0.2]], [2, 3, 1])])
def test_rows_of_gradcam(tmp_path, monkeypatch, labels, scores, rows):
    write_image(tmp_path / "a.png", 0)
    results = Results([tmp_path / "a.png"], NAMES, None if labels is None else np.array([labels], np.uint8), False)
    for title, row in zip(("R4C", "BCE"), scores):
        results.add(title, np.array([row]))
    monkeypatch.setattr("Test.draw_gradcam", lambda image, maps, labels, results: list(labels))
    assert Test.explain([], results, torch.device("cpu")) == rows


def test_the_figures_show_the_selected_images(runs, tmp_path, monkeypatch):
    shown, saved = [], {}
    monkeypatch.setattr("utils.figures.scores.draw_predictions", lambda images, results: shown.extend(
        zip(results.images, images)) or [])
    monkeypatch.setattr("Test.draw_gradcam", lambda image, maps, labels, results: shown.append(
        (results.images[0], image)) or new_figure(1, 1))
    monkeypatch.setattr("utils.figures.scores.save_figure",
                        lambda figure, path, formats: saved.update({path.name: figure}))
    names = ["river99", "airplane80", "forest99"]
    evaluate("--weights_path", runs["bce"] / "best.pth", "--save_path", tmp_path, "--report", 1, "--show_predictions",
             "--show_gradcam", "--select", *names)
    assert [path.stem for path, _ in shown] == names + names
    for path, image in shown:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(path)))
    assert [axes.get_title() for axes in saved["training"].axes] == ["training loss", "validation (%)", "learning rate"]
