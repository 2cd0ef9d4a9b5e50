"""python -m utils.evaluation.compare: groups by seed, means and deviations, tables, curves."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from programs import fails
from utils import metrics
from utils.evaluation.compare import main
from utils.figures.curves import draw_comparison
from utils.figures.style import save_figure
from utils.metrics import MULTILABEL_METRICS, SINGLE_LABEL_METRICS, Metric
from utils.options import NEUTRAL_OPTIONS, differing_options, options_of, run_titles

METRICS = dict.fromkeys((metric.name for metric in MULTILABEL_METRICS), 0.5)


def write_run(folder: Path, map_: float | None, epochs: int = 3, single_label: bool = False, **options) -> Path:
    """A run as Train.py and Test.py leave it; map_: the mAP of its test, None for a run that was not tested."""
    (folder / "test_best").mkdir(parents=True)
    args = {"loss": "r4c", "lr": 1e-4, "seed": 1, "max_epoch": epochs, "work_dir": str(folder.parent), **options}
    (folder / "args.json").write_text(json.dumps({"args": args}))
    names = ["epoch", "lr", "train_loss", "val_mAP", "val_OF1", *["val_accuracy"] * single_label]
    rows = [[epoch, 1e-4, 8 / epoch, 0.1 * epoch, 0.2 * epoch, *[0.3 * epoch] * single_label]
            for epoch in range(1, epochs + 1)]
    with open(folder / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    if map_ is not None:
        report = {"images": 6, "per_label": {"a": {}, "b": {}}, "metrics": {**METRICS, "mAP": map_}}
        if single_label:
            values = dict.fromkeys((metric.name for metric in SINGLE_LABEL_METRICS), 0.25)
            report["single_label"] = {**values, "top5": None}
        (folder / "test_best" / "metrics.json").write_text(json.dumps(report))
    return folder


def compare(tmp_path: Path, *runs: Path) -> dict:
    return main([*map(str, runs), "--save_path", str(tmp_path / "out"), "--formats", "png", "pdf", "svg"])


def test_seeds_share_a_row_with_mean_and_deviation(tmp_path, capsys):
    runs = [write_run(tmp_path / "a", 0.70), write_run(tmp_path / "b", 0.80, seed=2, work_dir="elsewhere"),
            write_run(tmp_path / "c", 0.60, loss="bce"), write_run(tmp_path / "d", 0.60, lr=1e-3)]
    groups = compare(tmp_path, *runs, runs[0])  # a run named twice counts once
    assert {title: [run.folder for run in group] for title, group in groups.items()} == {
        "R4C, lr 0.0001": runs[:2], "BCE": [runs[2]], "R4C, lr 0.001": [runs[3]]}
    with open(tmp_path / "out" / "test.csv", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    first = rows["R4C, lr 0.0001"]
    assert float(first["mAP"]) == pytest.approx(0.75)
    assert float(first["mAP_sd"]) == pytest.approx(np.std([0.7, 0.8], ddof=1))
    assert first["runs"] == "2" and rows["BCE"]["mAP_sd"] == "" and float(rows["BCE"]["OF1"]) == 0.5
    markdown = (tmp_path / "out" / "test.md").read_text(encoding="utf-8")
    assert "| R4C, lr 0.0001 | 2 | 75.00 ± 7.07 | 50.00 ± 0.00 |" in markdown and "| BCE | 1 | 60.00 |" in markdown
    assert markdown in capsys.readouterr().out
    latex = (tmp_path / "out" / "test.tex").read_text(encoding="utf-8").splitlines()
    assert latex[0] == r"\begin{tabular}{lrrrrrrr}" and latex[-1] == r"\end{tabular}"
    assert latex[2] == r"run & runs & mAP & micro F1 & macro F1 & CF1 & example F1 & example F2 \\"
    assert latex[4].startswith(r"R4C, lr 0.0001 & 2 & 75.00 $\pm$ 7.07 & 50.00 $\pm$ 0.00")
    assert {path.name for path in (tmp_path / "out").glob("curves.*")} == {"curves.png", "curves.pdf", "curves.svg"}


def test_latex_and_markdown_of_odd_names(tmp_path):
    compare(tmp_path, write_run(tmp_path / "a", 0.5, pretrained_path=r"50%_of|my\w{1}.pth"),
            write_run(tmp_path / "b", 0.5))
    latex = (tmp_path / "out" / "test.tex").read_text(encoding="utf-8")
    assert r"pretrained 50\%\_of|my\textbackslash w\{1\}.pth" in latex
    rows = (tmp_path / "out" / "test.md").read_text(encoding="utf-8").splitlines()
    assert {row.count("|") for row in rows} == {9}


def test_curves_are_those_of_the_logs(tmp_path):
    logs = {"R4C": [write_run(tmp_path / "a", None) / "log.csv", write_run(tmp_path / "b", None, epochs=2) / "log.csv"],
            "BCE": [write_run(tmp_path / "c", None) / "log.csv"]}
    figure = draw_comparison(logs)
    assert [axes.get_title() for axes in figure.axes] == [
        "validation mAP (%)", "validation micro F1 (%)", "training loss / first epoch's"]
    for axes, values in zip(figure.axes, ([10, 20, 30], [20, 40, 60], [1, 1 / 2, 1 / 3])):
        for line, epochs in zip(axes.lines, (3, 2, 3)):
            assert list(line.get_xdata()) == list(range(1, epochs + 1))
            assert list(line.get_ydata()) == pytest.approx(values[:epochs])
        seeds, second = axes.lines[:2], axes.lines[2]
        assert seeds[0].get_color() == seeds[1].get_color() != second.get_color()
        assert seeds[0].get_linestyle() != second.get_linestyle() and seeds[0].get_marker() != second.get_marker()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["R4C", "BCE"]


def test_a_loss_that_is_0_has_no_curve(tmp_path):
    log = write_run(tmp_path / "a", None) / "log.csv"
    log.write_text(log.read_text().replace("8.0,", "0.0,"))
    figure = draw_comparison({"smoothap": [log]})
    assert np.isnan(figure.axes[2].lines[0].get_ydata()).all()
    save_figure(figure, tmp_path / "curves", ["png"])


def test_the_checked_number_of_labels_makes_no_other_row(tmp_path):
    compare(tmp_path, write_run(tmp_path / "a", 0.5, label_num=None), write_run(tmp_path / "b", 0.5, label_num=4, seed=2))
    assert "| R4C | 2 | 50.00 ± 0.00 |" in (tmp_path / "out" / "test.md").read_text(encoding="utf-8")


def test_single_label_runs_have_single_label_columns(tmp_path):
    compare(tmp_path, write_run(tmp_path / "a", 0.5, single_label=True),
            write_run(tmp_path / "b", 0.5, single_label=True, seed=2))
    markdown = (tmp_path / "out" / "test.md").read_text(encoding="utf-8")
    assert "| run | runs | accuracy | average accuracy | kappa | macro F1 | top-5 | mAP |" in markdown
    assert "| 25.00 ± 0.00 |" in markdown
    assert "| - |" in markdown  # top-5 of few classes
    assert "validation accuracy (%)" in [axes.get_title() for axes in draw_comparison(
        {"a": [tmp_path / "a" / "log.csv"]}).axes]


def test_a_new_metric_is_one_record(tmp_path, monkeypatch):
    """A count is not in percent, and a run that was tested before the metric existed has no value."""
    metric = Metric("cardinality", "labels per image", lambda e: e.predicted.sum(1).mean(), "labels", percent=False)
    monkeypatch.setattr("utils.evaluation.compare.MULTILABEL_METRICS", (*MULTILABEL_METRICS, metric))
    monkeypatch.setitem(metrics.METRICS, metric.name, metric)
    file = write_run(tmp_path / "a", 0.5) / "test_best" / "metrics.json"
    report = json.loads(file.read_text())
    file.write_text(json.dumps({**report, "metrics": {**report["metrics"], metric.name: 3.5}}))
    compare(tmp_path, tmp_path / "a", write_run(tmp_path / "b", 0.5, loss="bce"))
    with open(tmp_path / "out" / "test.csv", newline="") as file:
        assert [row[metric.name] for row in csv.DictReader(file)] == ["3.5", ""]
    header, _, *rows = [line.split(" | ") for line in (tmp_path / "out" / "test.md").read_text().splitlines()]
    assert [row[header.index("labels")] for row in rows] == ["3.50", "-"]


def test_what_cannot_be_compared(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the default --save_path is
    monkeypatch.setattr("utils.evaluation.compare.save_figure", lambda *args: None)  # all is said in words
    untested = write_run(tmp_path / "a", None)
    compare(tmp_path, untested)
    assert f"not tested: python Test.py --weights_path {untested}/best.pth" in capsys.readouterr().err
    assert not (tmp_path / "out" / "test.md").exists()
    compare(tmp_path, untested, write_run(tmp_path / "b", 0.5, loss="bce"))
    assert "| R4C | 0 | - |" in capsys.readouterr().out
    second = write_run(tmp_path / "c", 0.5, loss="focal")
    report = json.loads((second / "test_best" / "metrics.json").read_text(encoding="utf-8"))
    (second / "test_best" / "metrics.json").write_text(json.dumps({**report, "images": 7}))
    elsewhere = write_run(tmp_path / "d", None, loss="asl", save_path=str(tmp_path / "b"))  # its best.pth lies there
    compare(tmp_path, elsewhere, tmp_path / "d" / ".." / "d")
    assert "| ASL | 1 | 50.00 |" in capsys.readouterr().out
    with open(untested / "log.csv", "a") as file:
        file.write("4,1e-4,2.0,0.")  # an epoch that is being written
    compare(tmp_path, untested)
    capsys.readouterr()
    write_run(tmp_path / "again", 0.5, loss="bce")
    compare(tmp_path, tmp_path / "b", tmp_path / "again")
    assert "BCE: several of its 2 runs have the same seed" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "single", 0.5, single_label=True)
    foreign = write_run(tmp_path / "foreign", 0.5)
    (foreign / "log.csv").write_text("step,loss\n1,2\n")
    third = write_run(tmp_path / "other", 0.5)
    (third / "test_best" / "metrics.json").write_text('{"mAP": 1}')
    labels = write_run(tmp_path / "labels", 0.5)
    (labels / "test_best" / "metrics.json").write_text(json.dumps({**report, "per_label": {"a": {}, "c": {}}}))
    older, strange = write_run(tmp_path / "older", 0.5), write_run(tmp_path / "strange", 0.5)
    (older / "test_best" / "metrics.json").write_text(json.dumps({**report, "weights": "x/best.pth", "epoch": 2}))
    (strange / "test_best" / "metrics.json").write_text(json.dumps({**report, "run": "c"}))
    views, larger = write_run(tmp_path / "views", 0.5, seed=2), write_run(tmp_path / "larger", 0.5, image_size=64)
    (views / "test_best" / "metrics.json").write_text(json.dumps({**report, "images": 6, "all_views": True}))
    (larger / "test_best" / "metrics.json").write_text(json.dumps({**report, "images": 6, "image_size": 96}))
    listed = write_run(tmp_path / "listed", 0.5)
    (listed / "test_best" / "metrics.json").write_text("[]")
    write_run(tmp_path / "started", None, epochs=0)
    (tmp_path / "file").write_text("")
    for argv, message in (([tmp_path / "nowhere"], "nowhere is not a run folder"),
                           ([tmp_path / "empty"], "empty is not a run folder"),
                           ([tmp_path / "started"], "has no finished epoch"),
                           ([tmp_path / "b", tmp_path / "single"], "compare them separately"),
                           ([tmp_path / "b", second], "they were tested on 6 and 7 images"),
                           ([tmp_path / "b", labels], "only the first has 1 label (b), only the second 1 label (c)"),
                           ([older], "results of epoch 2, but the best epoch of " + f"{older} is now 3; test its"),
                           ([strange], f"holds the results of the run c, not of {strange}"),
                           ([tmp_path / "b", views], "the first was tested as usual, the second with --all_views"),
                           ([larger, tmp_path / "b"], "the first was tested with --image_size 96, the second as usual"),
                           ([listed], "listed is not a run folder"), ([foreign], "is not the log of a run"), ([third], "other is not a run folder"),
                           ([untested, "--save_path", tmp_path / "file"], "file cannot be made"),
                           ([], "RUN"), ([untested, "--formats", "gif"], "invalid choice: 'gif'")):
        assert message in fails(capsys, lambda argv=argv: main(list(map(str, argv))))


def test_tests_of_other_data_are_warned_of(tmp_path, capsys):
    runs = [write_run(tmp_path / name, 0.5, seed=seed) for seed, name in enumerate("ab")]
    file = runs[1] / "test_best" / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "other_data": {"label_path": "x.csv"}}))
    compare(tmp_path, *runs)
    assert f"{runs[0]} was tested as usual, {runs[1]} --label_path x.csv: are" in capsys.readouterr().err


def test_runs_that_hardly_belong_together_are_warned_of(tmp_path, capsys):
    runs = [write_run(tmp_path / name, 0.5, seed=seed, data_root=str(tmp_path / root), max_epoch=6)
            for seed, (name, root) in enumerate(zip("abc", "xxy"))]
    for run, labels in zip(runs, ("old", "new", "new")):
        file = run / "test_best" / "metrics.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "digests": {"images": "same", "labels": labels},
                                    "other_data": {"data_root": "other"}}))
    for run, commit in zip(runs, "ppq"):
        record = json.loads((run / "args.json").read_text())
        (run / "args.json").write_text(json.dumps({**record, "git_commit": commit}))
    log = (runs[0] / "log.csv").read_text().splitlines()
    (runs[0] / "log.csv").write_text("\n".join([*log, *(log[-1].replace("3,", f"{epoch},", 1) for epoch in (4, 5, 6))]))
    compare(tmp_path, *runs)
    out, error = capsys.readouterr()
    assert f"warning: {runs[1]} has finished 3 of 6 epochs: resume it" in error and f"{runs[0]} has finished" not in error
    assert f"its runs found their data in {tmp_path / 'x'} and {tmp_path / 'y'}: are these the same?" in error
    assert "its runs are of several versions of the code, p and q" in error
    assert f"{runs[0]} and {runs[1]} were tested on the same images with different labels" in error
    assert "tested with --data_root other" in out


@pytest.mark.parametrize("options, processes, is_warned", [
    ({}, ({"processes": 1}, {"processes": 2}), True), ({}, ({"processes": 2}, {"processes": 2}), False),
    ({"sync_bn": True}, ({"processes": 2}, {"processes": 8}), False), ({}, ({"processes": 2}, {}), False),
    ({"sync_bn": True, "rank_within_gpu": True}, ({"processes": 2}, {"processes": 8}), True),
    ({}, ({"processes": 2}, {"processes": 2, "resumed": [{"processes": 4}]}), True)])
def test_runs_of_other_numbers_of_processes_are_warned_of(tmp_path, capsys, options, processes, is_warned):
    runs = [write_run(tmp_path / name, 0.5, seed=seed, **options) for seed, name in enumerate("ab")]
    for run, added in zip(runs, processes):
        (run / "args.json").write_text(json.dumps({**json.loads((run / "args.json").read_text()), **added}))
    compare(tmp_path, *runs)
    numbers = " and ".join(sorted({str(run["processes"]) for added in processes
                                   for run in (added, *added.get("resumed", ())) if run}))
    assert (f"its runs are of {numbers} processes, each" in capsys.readouterr().err) == is_warned


def test_other_images_of_the_same_names_are_warned_of(tmp_path, capsys):
    runs = [write_run(tmp_path / name, 0.5, seed=seed) for seed, name in enumerate("ab")]
    for run, content in zip(runs, "pq"):
        file = run / "test_best" / "metrics.json"
        digests = {"images": "names", "labels": "same", "files": content}
        file.write_text(json.dumps({**json.loads(file.read_text()), "digests": digests}))
    compare(tmp_path, *runs)
    assert f"{runs[0]} and {runs[1]} were tested on images of the same names with different" in capsys.readouterr().err


@pytest.mark.parametrize("digests, is_warned", [
    ([("a", "x"), ("a", "x"), None], False), ([("a", "x"), ("b", "x")], False), ([("a", "x"), ("a", "y")], False),
    ([("b", "y"), ("a", "x"), ("c", "x")], True)], ids=["same", "seed splits", "test grew", "grown"])
def test_runs_trained_on_other_data_are_named(tmp_path, capsys, digests, is_warned):
    """The odd one out, also if it comes first."""
    runs = [write_run(tmp_path / f"{seed}", 0.5, seed=seed) for seed in range(len(digests))]
    for run, values in zip(runs, digests):
        file = run / "test_best" / "metrics.json"
        data = values and {"training_data": dict(zip(("train_val", "train_val_test"), values))}
        file.write_text(json.dumps({**json.loads(file.read_text()), **(data or {})}))
    compare(tmp_path, *runs)
    error = capsys.readouterr().err
    assert (f"warning: {runs[0]}: trained on other images or labels than {runs[1]};" in error) == is_warned
    assert error.count("trained on other") == is_warned


def test_a_prolonged_run_is_named(tmp_path, capsys):
    """An interrupted one, whose learning rates are those of its length, is not."""
    runs = [write_run(tmp_path / name, 0.5, seed=seed) for seed, name in enumerate("ab")]
    for run in runs:
        record = json.loads((run / "args.json").read_text())
        (run / "args.json").write_text(json.dumps({**record, "resumed": [{"after_epoch": 1}]}))
    log = (runs[0] / "log.csv").read_text()
    (runs[0] / "log.csv").write_text(log.replace("2,0.0001,", "2,1e-05,").replace("3,0.0001,", "3,5e-06,"))
    compare(tmp_path, *runs)
    error = capsys.readouterr().err
    assert f"{runs[1]} was resumed with another --max_epoch" in error and error.count("another --max_epoch") == 1


def test_a_start_from_a_file_is_none_from_imagenet():
    records = [{"args": {"loss": "r4c", "pretrained": "none", "pretrained_path": None}},
               {"args": {"loss": "r4c", "pretrained": "imagenet", "pretrained_path": "/a/b.pth"}}]
    assert run_titles(records) == ["R4C, pretrained none", "R4C, pretrained b.pth"]


@pytest.mark.parametrize("runs, is_warned", [
    ([("r4c", 1, "x"), ("bce", 1, "x")], False), ([("r4c", 1, "x"), ("r4c", 2, "y"), ("bce", 1, "x"), ("bce", 2, "y")], False),
    ([("r4c", 1, "x"), ("bce", 2, "y")], True), ([("r4c", 1, "x"), ("r4c", 2, "y"), ("bce", 2, "y")], True),
    ([("r4c", 1, "x"), ("r4c", 1, "y")], True), ([("r4c", 1, None), ("bce", 1, "x"), ("asl", 1, "x")], False)])
def test_tests_on_different_images_are_warned_of(tmp_path, capsys, runs, is_warned):
    folders = []
    for number, (loss, seed, images) in enumerate(runs):
        folders.append(write_run(tmp_path / f"{number}", 0.5, loss=loss, seed=seed))
        file = folders[-1] / "test_best" / "metrics.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "digests": {"images": images, "labels": images}}))
        if not images:
            file.unlink()
    compare(tmp_path, *folders)
    assert ("were not all tested on the same images" in capsys.readouterr().err) == is_warned


def test_titles_say_what_differs():
    run = {"dataset": "UCM", "model": "Swin-T", "image_size": 64, "loss": "bce", "lr": 0.1, "seed": 1, "device": "cpu",
           "train_dir": "/some/where/train.txt"}

    def titles_of(*runs, **options):
        return run_titles([{"args": run} if run else {} for run in runs], **options)

    assert titles_of(run, {**run, "loss": "r4c", "lr": 0.2}) == ["BCE", "R4C"]
    for change, titles in (({"loss": "r4c", "model": "VGGNet-16"}, ["BCE, model Swin-T", "R4C, model VGGNet-16"]),
                           ({"lr": 0.2, "device": "cuda", "train_dir": "/b/t.txt"}, ["BCE, lr 0.1", "BCE, lr 0.2"]),
                           ({"train_dir": "/b/t.txt"}, ["BCE, train_dir train.txt", "BCE, train_dir t.txt"])):
        assert titles_of(run, {**run, **change}) == titles
    assert titles_of(run, run, {}) == ["BCE", "BCE", ""]
    assert titles_of(run, {**run, "seed": 2}, ignore=["seed"]) == ["BCE", "BCE"]
    # Options that older code did not have are off in its runs.
    assert titles_of(run, {**run, "amp": False}) == ["BCE", "BCE"]
    assert titles_of(run, {**run, "amp": True}) == ["BCE", "BCE, amp"]
    assert titles_of(run, {**run, "parts": ["label", "sample"]}) == ["BCE", "BCE, parts label sample"]
    assert run_titles([{"args": run, "loss_title": "Binary"}]) == ["Binary"]
    changed = {**run, "amp": False, "cache": None, "seed": 2}, {**run, "cache": "x"}
    assert differing_options(*changed, NEUTRAL_OPTIONS) == ["seed"]
    assert differing_options({**run, "amp": True}, run, NEUTRAL_OPTIONS) == ["amp"]


def test_an_option_that_did_not_exist_has_its_default(tmp_path):
    """Of the newer runs: an older one was not started with another value."""
    old, same, changed = write_run(tmp_path / "a", 0.5), write_run(tmp_path / "b", 0.6, seed=2, new=4), write_run(
        tmp_path / "c", 0.7, new=5)
    for folder in (same, changed):
        record = json.loads((folder / "args.json").read_text())
        (folder / "args.json").write_text(json.dumps({**record, "defaults": {"new": 4}}))
    groups = compare(tmp_path, old, same, changed)
    assert {title: [run.folder for run in group] for title, group in groups.items()} == {
        "R4C, new 4": [old, same], "R4C, new 5": [changed]}
    assert options_of([{"args": {"lr": 1}}, {"args": {"lr": 2}, "defaults": {"new": 4}}, {}]) == [
        {"lr": 1, "new": 4}, {"lr": 2, "new": 4}, {}]
