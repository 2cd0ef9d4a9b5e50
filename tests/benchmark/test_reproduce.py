"""The study's script: how it chooses rates, what it skips, and what its tables say."""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, f1_score

import Train
from benchmark import reproduce
from benchmark.reproduce import Run, Table
from utils.errors import InputError
from utils.run.graceful_shutdown import Interrupted

TABLE = "ucm_aitlas_96px_20epochs"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of two rows on two tables, in an empty folder."""
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr(reproduce, "TABLES", {
        TABLE: Table("--dataset UCM_Multilabel", "--max_epoch 2", seeds=(1, 2, 3)),
        "other": Table("--dataset AID_Multilabel", "--max_epoch 2", ("bce", "r4c_bound"), (1, 2))})
    monkeypatch.setattr(reproduce, "SEEDS", (1, 2, 3))
    monkeypatch.setattr(reproduce, "HEADLINE_TABLES", {"UCM": TABLE, "AID": "other"})
    return tmp_path


def finish(run, val=0.5, mAP=0.5, drawn=(0.4, 0.6)):
    run.results.mkdir(parents=True)
    (run.results / "args.json").write_text(json.dumps({"args": vars(Train.parse_arguments(run.options))}))
    figures = {"mAP": mAP, "OF1": mAP / 2, "macro_F1": 0.1, "example_F1": 0.2, "example_F2": 0.3}
    (run.results / "metrics.json").write_text(json.dumps({
        "epoch": 2, "metrics": figures, "without_rare_labels": {"macro_F1": 0.4},
        "reference_script": {"F1": 0.6, "F2": 0.7}}))
    (run.results / "log.csv").write_text(
        f"epoch,lr,train_loss,val_mAP,val_OF1\n1,1,1,0.9,0.01\n2,1,1,0.9,{val}\n3,1,1,0.9,0.02\n")
    np.savez(run.results / "bootstrap.npz", **{"mAP": np.array(drawn), "micro F1": np.array(drawn) / 2})


def test_the_search_goes_beyond_an_end_that_is_the_best(study):
    assert [run.rate for run in reproduce.search(TABLE, "bce")] == ["1e-4", "2e-4", "5e-4", "1e-3"]
    assert reproduce.chosen_rate(TABLE, "bce") is None and reproduce.chosen_rate("other", "bce") is None
    for rate, val in {"1e-4": 0.1, "2e-4": 0.2, "5e-4": 0.3, "1e-3": 0.4}.items():
        finish(Run(TABLE, "bce", rate, 1), val)
    assert [run.rate for run in reproduce.search(TABLE, "bce")][-1] == "2e-3"
    assert reproduce.chosen_rate(TABLE, "bce") is None
    finish(Run(TABLE, "bce", "2e-3", 1), 0.35)
    assert reproduce.chosen_rate(TABLE, "bce") == reproduce.chosen_rate("other", "bce") == "1e-3"
    assert [(run.rate, run.seed) for run in reproduce.runs_of(TABLE, "bce")][5:] == [("1e-3", 2), ("1e-3", 3)]
    for rate, val in {"1e-4": 0.9, "2e-4": 0.2, "5e-4": 0.3, "1e-3": 0.4}.items():
        finish(Run(TABLE, "r4c", rate, 1), val)
    assert [run.rate for run in reproduce.search(TABLE, "r4c")][0] == "5e-5"


@pytest.fixture
def commands(study, monkeypatch):
    """What would be run; the files of each run are written, and 2e-4 is the best rate."""
    commands = []

    def stand_in(command, environment, output):
        commands.append(command[1:])
        assert environment["OMP_NUM_THREADS"] == "1"
        if command[1] == "Train.py":
            folder = study / command[command.index("--work-dir") + 1] / "run"
            lr = float(command[command.index("--lr") + 1])
            (folder / "test_best").mkdir(parents=True)
            (folder / "best.pth").touch()
            options = vars(Train.parse_arguments(command[2:]))
            (folder / "args.json").write_text(json.dumps({"args": options}))
            (folder / "log.csv").write_text(
                f"epoch,lr,train_loss,val_mAP,val_OF1\n1,1,1,0.9,{0.9 - abs(lr - 2e-4)}\n2,1,1,0.9,0.1\n")
        else:
            views = "--all_views" in command
            test = study / command[-1] if views else (study / command[-1]).parent / "test_best"
            test.mkdir(exist_ok=True)
            (test / "metrics.json").write_text(json.dumps({
                "epoch": 1, "without_rare_labels": {"macro_F1": 0.4}, "reference_script": {"F1": 0.6, "F2": 0.7},
                "metrics": dict.fromkeys(["mAP", "OF1", "macro_F1", "example_F1", "example_F2"], 0.5 + 0.1 * views)}))
            (test / "per_label.csv").touch()
            (test / "scores.csv").write_text('image,score a,score b,label a,label b\n"x,y",.9,.2,1,0\nz,.3,.8,1,1\n')
        return 0

    monkeypatch.setattr(reproduce, "call", stand_in)
    monkeypatch.setattr(reproduce, "DRAWS", 3)
    return commands


def test_softmax_is_searched_where_it_is_and_an_ablation_takes_the_rate_of_what_it_is_of(study, monkeypatch):
    monkeypatch.setitem(reproduce.TABLES, "one label", Table("--dataset AID", "--max_epoch 2", ("ce", "r4c"), (1, 2)))
    assert {(run.table, run.row) for run in reproduce.searched("one label", "ce")} == {("one label", "ce")}
    assert {(run.table, run.row) for run in reproduce.searched("one label", "r4c")} == {(TABLE, "r4c")}
    for row, of in (("r4c_bound", "r4c_bound_no_feature"), ("r4c_only_label", "r4c")):
        assert {(run.table, run.row) for run in reproduce.searched("other", row)} == {(TABLE, of)}
    for rate, val in {"1e-4": 0.1, "2e-4": 0.4, "5e-4": 0.3, "1e-3": 0.2}.items():
        finish(Run("one label", "ce", rate, 1), val)
        finish(Run(TABLE, "r4c", rate, 1), val)
    finish(Run("one label", "r4c", "2e-4", 1))
    assert reproduce.search_table("one label").splitlines()[2:] == ["| ce | 10.00 | 40.00 | 30.00 | 20.00 |"]
    assert reproduce.search_table("other") == ""


def test_runs_are_trained_tested_and_kept_once(study, commands):
    reproduce.main(["other/bce", "--jobs", "2"])
    trained = [command for command in commands if command[0] == "Train.py"]
    assert len(trained) == 4 + 2  # the search of the other table, and two seeds at the chosen rate
    Train.parse_arguments(trained[0][1:])
    assert {command[command.index("--lr") + 1] for command in trained if "AID_Multilabel" in command} == {"2e-4"}
    assert all("--resume auto" in " ".join(command) for command in trained)
    stored = Run("other", "bce", "2e-4", 2).results
    assert {file.name for file in stored.iterdir()} == {"args.json", "log.csv", "metrics.json", "per_label.csv",
                                                      "bootstrap.npz"}
    assert "| bce | 2e-4 | 2 | 1, 1 | 50.00 ± 0.00 |" in (reproduce.RESULTS / "other.md").read_text(encoding="utf-8")
    commands.clear()
    reproduce.main(["other"])
    assert [command[0] for command in commands].count("Train.py") == 4 + 2  # the search of what it is a change of
    commands.clear()
    reproduce.main(["other"])
    assert not commands


def test_the_views_of_an_image_are_tested_too(study, commands, monkeypatch):
    monkeypatch.setitem(reproduce.TABLES, "views", Table("--dataset AID_Multilabel", "--max_epoch 2", ("bce", "r4c"),
                                                         (1,), "views", views=True))
    reproduce.main(["views/bce"])
    monkeypatch.setitem(reproduce.TABLES, "views", Table("--dataset AID_Multilabel", "--max_epoch 2", ("bce", "r4c"),
                                                         (1,), "views"))
    reproduce.main(["views/r4c"])
    lines = (reproduce.RESULTS / "views.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "| 2e-4 | 1 | 1 |" in line]
    assert [row.split(" | ")[4] for row in rows] == ["50.00", "50.00", "60.00"]
    assert [row.split(" | ")[0] for row in rows] == ["| bce", "| r4c", "| bce"]


def test_every_row_has_a_seed_before_any_has_the_next(study, commands):
    for row in ("bce", "r4c_bound_no_feature"):
        for rate, val in {"1e-4": 0.1, "2e-4": 0.4, "5e-4": 0.3, "1e-3": 0.2}.items():
            finish(Run(TABLE, row, rate, 1), val, drawn=np.zeros(3))
    reproduce.main(["other", f"{TABLE}/bce"])
    trained = [command for command in commands if command[0] == "Train.py"]
    assert [(command[2], command[command.index("--seed") + 1]) for command in trained] == [
        *[("UCM_Multilabel", seed) for seed in "23"], *[("AID_Multilabel", seed) for seed in "1122"]]


def test_each_job_has_a_gpu_of_those_that_are_visible(study, monkeypatch):
    given = []
    monkeypatch.setattr(reproduce.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    both = threading.Barrier(2)  # two at a time, on however busy a machine
    monkeypatch.setattr(reproduce, "call", lambda command, environment, output: (
        given.append(environment["CUDA_VISIBLE_DEVICES"]), output.touch(), both.wait(), 2)[-1])
    with pytest.raises(InputError, match="bce_1e-4_seed1 failed"):
        reproduce.main([f"{TABLE}/bce", "--jobs", "2"])
    assert sorted(given) == ["2", "2", "5", "5"]


def test_a_run_that_fails_is_said_when_the_others_are_done(study, commands, monkeypatch):
    stand_in = reproduce.call

    def fails_at(command, environment, output):
        if command[1] == "Train.py" and "--loss r4c --lr 2e-4" in " ".join(command):
            output.write_text("epoch 1/2\nTrain.py: error: x.tif is not there\n")
            return 2
        return stand_in(command, environment, output)

    monkeypatch.setattr(reproduce, "call", fails_at)
    with pytest.raises(InputError, match=r"^\S+/r4c_2e-4_seed1 failed \(Train.py: error: x.tif is not there; the whole output "
                                         r"is in .*output.txt\)$"):
        reproduce.main([f"{TABLE}/r4c", f"{TABLE}/bce"])
    assert [command[0] for command in commands].count("Train.py") == 3 + 6
    assert "| bce | 2e-4 | 3 |" in (reproduce.RESULTS / f"{TABLE}.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no row or table is called other/asl: see --list"):
        reproduce.main(["other/asl"])


def test_tables_are_the_figures_of_the_files(study):
    values = {"bce": (0.5, 0.6, 0.7), "r4c": (0.55, 0.62, 0.78)}
    drawn = {row: np.random.default_rng(place).normal(values[row], 0.1, (200, 3)).T
             for place, row in enumerate(values)}
    for row, row_values in values.items():
        for rate in ("1e-4", "5e-4", "1e-3"):
            finish(Run(TABLE, row, rate, 1), val=0.3)
        for seed, value in zip((1, 2, 3), row_values):
            finish(Run(TABLE, row, "2e-4", seed), val=0.6, mAP=value, drawn=drawn[row][seed - 1])
    text = reproduce.tables_text(TABLE)
    assert "| bce | 2e-4 | 3 | 2, 2, 2 | 60.00 ± 10.00 | 30.00 ± 5.00 | 10.00 ± 0.00 | 40.00 ± 0.00 |" in text
    differences = np.subtract(values["r4c"], values["bce"])
    of_seeds = scipy.stats.ttest_rel(values["r4c"], values["bce"]).confidence_interval()
    of_images = np.percentile((drawn["r4c"] - drawn["bce"]).mean(0), [2.5, 97.5])
    half = (np.ptp(of_seeds)**2 + np.ptp(of_images)**2)**0.5 / 2
    of_both = differences.mean() - half, differences.mean() + half
    low, high = (f"{100 * end:+.2f}" for end in of_both)
    assert f"| r4c - bce | 3 | {100 * differences.mean():+.2f} [{low}, {high}] |" in text
    assert "| bce | 30.00 | 60.00 | 30.00 | 30.00 |" in text
    reproduce.main([])
    assert (reproduce.RESULTS / f"{TABLE}.md").read_text(encoding="utf-8") == text
    row = (reproduce.RESULTS / f"{TABLE}_differences.csv").read_text().splitlines()[1].split(",")
    assert row[:4] == ["r4c", "bce", "mAP", "3"]
    assert [float(cell) for cell in row[4:]] == pytest.approx(
        [differences.mean(), *of_seeds, *of_images, *of_both], abs=1e-6)
    assert (reproduce.RESULTS / f"{TABLE}.csv").read_text().splitlines()[5].startswith("r4c,2e-4,2,2,0.62")
    assert (reproduce.RESULTS / f"{TABLE}.png").exists() and not (reproduce.RESULTS / "other.md").exists()


def test_an_ablation_is_compared_with_what_it_is_of_and_one_seed_has_an_interval_of_the_images(study):
    for rate, val in {"1e-4": 0.1, "2e-4": 0.4, "5e-4": 0.3, "1e-3": 0.2}.items():
        finish(Run(TABLE, "r4c_bound_no_feature", rate, 1), val, mAP=val)
    finish(Run("other", "r4c_bound", "2e-4", 1), mAP=0.45, drawn=(0.5, 0.6))
    assert "| r4c_bound - r4c_bound_no_feature | 1 | +5.00 [+0.25, +9.75] |" in reproduce.tables_text("other")
    reproduce.write_tables("other")
    row = (reproduce.RESULTS / "other_differences.csv").read_text().splitlines()[1]
    assert row == "r4c_bound,r4c_bound_no_feature,mAP,1,0.050000,,,0.002500,0.097500,,"
    assert reproduce.chosen_rate("other", "r4c_bound_no_feature_runner_up_lr") == "5e-4"


@pytest.mark.parametrize("of_both, cell", [((0.01, 0.05), "**+3.00 [+1.00, +5.00]**"), (None, "+3.00 [+2.00, +4.00]"),
                                           ((-0.01, 0.07), "+3.00 [-1.00, +7.00]")])
def test_a_difference_is_bold_where_its_interval_of_both_excludes_zero(of_both, cell):
    table = reproduce.differences_table([("r4c", "bce", "mAP", 3, 0.03, [None, (0.02, 0.04), of_both])])
    assert table.splitlines() == ["| difference | seeds | mAP |", "| --- | --- | --- |", f"| r4c - bce | 3 | {cell} |"]


def test_a_baseline_at_its_second_rate_shares_the_runs_of_the_search_and_is_compared(study, monkeypatch):
    monkeypatch.setitem(reproduce.TABLES, TABLE, Table(
        "--dataset UCM_Multilabel", "--max_epoch 2", ("bce", "bce_runner_up_lr", "r4c"), (1, 2)))
    for rate, val in {"1e-4": 0.1, "2e-4": 0.4, "5e-4": 0.3, "1e-3": 0.2}.items():
        finish(Run(TABLE, "bce", rate, 1), val, mAP=val)
        finish(Run(TABLE, "r4c", rate, 1), val, mAP=0.5)
    assert reproduce.seeds_of(TABLE, "bce_runner_up_lr") == [Run(TABLE, "bce", "5e-4", 1), Run(TABLE, "bce", "5e-4", 2)]
    text = reproduce.tables_text(TABLE)
    assert "| bce_runner_up_lr | 5e-4 | 1 | 2 | 30.00 |" in text and text.count("| bce |") == 2  # with the search
    assert [line.split(" [")[0] for line in text.splitlines() if " - " in line] == [
        "| r4c - bce | 1 | +10.00", "| r4c - bce_runner_up_lr | 1 | +20.00", "| bce_runner_up_lr - bce | 1 | -10.00"]
    monkeypatch.setitem(reproduce.TABLES, "80/20", Table(
        "--dataset UCM_Multilabel", "--max_epoch 2", ("bce_runner_up_lr", "r4c"), (1, 2)))
    finish(Run("80/20", "r4c", "2e-4", 1))
    assert "bce_runner_up_lr" not in reproduce.tables_text("80/20")  # that of another table has other test images


def test_the_headline_has_the_tables_that_are_whole(study):
    for place, row in enumerate(reproduce.HEADLINE):
        for rate, val in {"1e-4": 0.1, "2e-4": 0.4, "5e-4": 0.3, "1e-3": 0.2}.items():
            finish(Run(TABLE, row, rate, 1), val, mAP=0.5 + place / 100)
        finish(Run(TABLE, row, "2e-4", 2), mAP=0.7 + place / 100)
    assert reproduce.headline_table().splitlines()[0] == "| row |"
    for place, row in enumerate(reproduce.HEADLINE):
        finish(Run(TABLE, row, "2e-4", 3), mAP=0.6 + place / 100)
    assert reproduce.headline_table().splitlines()[:7:2] == [
        "| row | UCM: mAP | UCM: micro F1 |", "| bce | 60.00 ± 10.00 | 30.00 ± 5.00 |",
        "| asl | 62.00 ± 10.00 | 31.00 ± 5.00 |", "| r4c_bound_no_feature | 64.00 ± 10.00 | 32.00 ± 5.00 |"]
    assert reproduce.headline_table().splitlines()[-1] == "| bce_runner_up_lr |  |  |"  # that table does not have it


def test_results_of_other_options_are_refused(study):
    run = Run(TABLE, "r4c_bound_no_feature", "1e-4", 1)
    finish(run)
    assert run.is_done
    options = json.loads((run.results / "args.json").read_text())
    (run.results / "args.json").write_text(json.dumps({"args": {**options["args"], "bound": False}}))
    with pytest.raises(InputError, match="was made with --bound False, and r4c_bound_no_feature has True: remove"):
        reproduce.main(["--list"])


@pytest.mark.parametrize("file, text", [("metrics.json", '{"metr'), ("bootstrap.npz", ""), ("bootstrap.npz", "PK"),
                                        ("log.csv", "epoch,lr,val_OF1\n1,1,0.5\n"), ("log.csv", None)])
def test_damaged_results_are_named(study, file, text):
    run = Run(TABLE, "bce", "1e-4", 1)
    finish(run)
    (run.results / file).unlink()
    if text is not None:
        (run.results / file).write_text(text)
    with pytest.raises(InputError, match=f"{run.results} is damaged .* remove that folder and run its command again"):
        reproduce.main(["--list"])


def test_an_unfinished_run_is_not_taken_for_a_finished_one(study, commands):
    run = Run(TABLE, "bce", "1e-4", 1)
    folder = study / "runs" / "study" / TABLE / run.name / "another"
    folder.mkdir(parents=True)
    finish(run)
    for file in ("args.json", "log.csv"):
        (run.results / file).replace(folder / file)
    (run.results / "metrics.json").unlink()
    text = (folder / "log.csv").read_text()
    (folder / "log.csv").write_text("".join(text.splitlines(keepends=True)[:2]))
    os.utime(folder / "log.csv", (2e9, 2e9))
    with pytest.raises(InputError, match="another is being trained by another process"):
        run.execute({"OMP_NUM_THREADS": "1"})


def test_a_signal_reaches_the_trainings(study):
    output = study / "output.txt"
    sleeper = ("import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); print('up', flush=True); "
               "time.sleep(60)")
    with ThreadPoolExecutor() as pool:
        code = pool.submit(reproduce.call, [sys.executable, "-c", sleeper], None, output)
        while not output.exists() or not output.read_text():
            time.sleep(0.05)
        with pytest.raises(Interrupted):
            reproduce.stop_the_children(signal.SIGTERM, None)
        assert code.result() == 143


def test_draws_are_resampled_images(monkeypatch):
    monkeypatch.setattr(reproduce, "DRAWS", 50)
    generator = np.random.default_rng(5)
    labels = (generator.random((40, 3)) < 0.4).astype(np.float32)
    scores = (0.3 * labels + 0.6 * generator.random((40, 3))).astype(np.float32)
    drawn = reproduce.bootstrap_metrics(scores, labels)
    images = np.random.default_rng(0).integers(40, size=40)  # the first draw
    assert drawn["mAP"][0] == pytest.approx(np.mean([
        average_precision_score(labels[images, c], scores[images, c]) for c in range(3)]))
    assert drawn["micro F1"][0] == pytest.approx(f1_score(labels[images], scores[images] > 0.5, average="micro"))
    assert abs(drawn["mAP"].mean() - average_precision_score(labels, scores)) < 0.05 < 10 * drawn["mAP"].std()
    item = np.eye(3)[generator.integers(3, size=40)]
    names, right = [f"image {number}" for number in range(40)], scores.argmax(1) == item.argmax(1)
    accuracy = reproduce.bootstrap_accuracy(names, scores, item)["accuracy"]
    assert len(accuracy) == 50 and abs(accuracy.mean() - right.mean()) < 0.05
    assert accuracy.std() == pytest.approx((right.mean() * (1 - right.mean()) / 40)**0.5, rel=0.3)
    # Another seed tests other images, in another order: those that both test are drawn alike.
    elsewhere = [f"/elsewhere/{name}" for name in names[::-1]]
    backwards = reproduce.bootstrap_accuracy(elsewhere, scores[::-1], item[::-1])["accuracy"]
    np.testing.assert_allclose(backwards, accuracy, rtol=1e-6)


def test_every_row_is_a_command_that_train_takes(capsys):
    reproduce.main(["--list"])
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == sum(len(table.rows) for table in reproduce.TABLES.values())
    for table in reproduce.TABLES.values():
        for row in table.rows:
            options = Train.parse_arguments(f"{table.data} {table.budget} {reproduce.ROWS[row]}".split())
            Train.build_criterion(options)
