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
    monkeypatch.setattr(reproduce, "SEARCH_SEEDS", (1, 2))
    monkeypatch.setattr(reproduce, "HEADLINE_TABLES", {"UCM": TABLE, "AID": "other"})
    return tmp_path


RATES = {"1e-4": 0.1, "2e-4": 0.4, "5e-4": 0.3, "1e-3": 0.2}  # validation results


def finish_search(table, row, values=RATES, mAP=0.5):
    """2e-4 is the best rate."""
    for rate, val in values.items():
        for seed in (1, 2):
            finish(Run(table, row, rate, seed), val, mAP)


def finish(run, val=0.5, mAP=0.5, drawn=(0.4, 0.6), chosen=True):
    run.results.mkdir(parents=True)
    (run.results / "args.json").write_text(json.dumps({"args": vars(Train.parse_arguments(run.options))}))
    figures = {"mAP": mAP, "OF1": mAP / 2, "macro_F1": 0.1, "example_F1": 0.2, "example_F2": 0.3}
    (run.results / "metrics.json").write_text(json.dumps({
        "epoch": 2, "metrics": figures, "without_rare_labels": {"macro_F1": 0.4},
        "reference_script": {"F1": 0.6, "F2": 0.7},
        **({"at_validation_threshold": {"OF1": 0.8, "macro_F1": 0.9}} if chosen else {})}))
    (run.results / "log.csv").write_text(
        f"epoch,lr,train_loss,val_mAP,val_OF1\n1,1,1,0.9,0.01\n2,1,1,0.9,{val}\n3,1,1,0.9,0.02\n")
    np.savez(run.results / "bootstrap.npz", **{"mAP": np.array(drawn), "micro F1": np.array(drawn) / 2})


def rates(runs):
    return list(dict.fromkeys(run.rate for run in runs))


def test_the_search_goes_beyond_an_end_that_is_the_best(study):
    assert rates(reproduce.search(TABLE, "bce", (1, 2))) == ["1e-4", "2e-4", "5e-4", "1e-3"]
    assert {run.seed for run in reproduce.search(TABLE, "bce", (1, 2))} == {1, 2}
    assert reproduce.chosen_rate(TABLE, "bce") is None and reproduce.chosen_rate("other", "bce") is None
    finish_search(TABLE, "bce", {"1e-4": 0.1, "2e-4": 0.2, "5e-4": 0.3, "1e-3": 0.4})
    assert rates(reproduce.search(TABLE, "bce", (1, 2)))[-1] == "2e-3"
    assert reproduce.chosen_rate(TABLE, "bce") is None
    for seed in (1, 2):
        finish(Run(TABLE, "bce", "2e-3", seed), 0.36)
    assert reproduce.chosen_rate(TABLE, "bce") == reproduce.chosen_rate("other", "bce") == "1e-3"
    assert [(run.rate, run.seed) for run in reproduce.runs_of(TABLE, "bce")][10:] == [("1e-3", 3)]
    finish_search(TABLE, "r4c", {"1e-4": 0.9, "2e-4": 0.2, "5e-4": 0.3, "1e-3": 0.4})
    assert rates(reproduce.search(TABLE, "r4c", (1,)))[0] == "5e-5"


def test_the_mean_over_the_seeds_selects_the_rate(study):
    for seed, values, best in ((1, (0.1, 0.5, 0.4, 0.2), "2e-4"), (2, (0.1, 0.3, 0.45, 0.6), "5e-4")):
        for rate, val in zip(RATES, values):
            finish(Run(TABLE, "bce", rate, seed), val)
        assert reproduce.chosen_rate(TABLE, "bce") == best
        assert reproduce.is_provisional(TABLE, "bce") == (seed == 1)
        text = reproduce.tables_text(TABLE)
        assert (f"| bce | {best}* | 1 |" in text) == ("* the rate that the first seed selected" in text) == (seed == 1)
    assert f"| bce | {best} | 2 |" in text


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
            options = vars(Train.parse_arguments(command[2:])) | {"data_root": str(study / "data")}
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
    assert {(run.table, run.row) for run in reproduce.searched("one label", "ce", (1, 2))} == {("one label", "ce")}
    assert {(run.table, run.row) for run in reproduce.searched("one label", "r4c", (1, 2))} == {(TABLE, "r4c")}
    for row, of in (("r4c_bound", "r4c_bound"), ("r4c_bound_no_feature", "r4c_bound"), ("r4c_only_label", "r4c")):
        assert {(run.table, run.row) for run in reproduce.searched("other", row, (1, 2))} == {(TABLE, of)}
    finish_search("one label", "ce")
    finish_search(TABLE, "r4c")
    finish(Run("one label", "r4c", "2e-4", 1))
    assert reproduce.search_table("one label").splitlines()[2:] == [
        "| ce | 10.00 / 10.00 | 40.00 / 40.00 | 30.00 / 30.00 | 20.00 / 20.00 |"]
    assert reproduce.search_table("other") == ""


def test_runs_are_trained_tested_and_kept_once(study, commands):
    reproduce.main(["other/bce", "--jobs", "2"])
    trained = [command for command in commands if command[0] == "Train.py"]
    assert len(trained) == 8 + 2  # the search of the other table, and two seeds at the chosen rate
    Train.parse_arguments(trained[0][1:])
    assert {command[command.index("--lr") + 1] for command in trained if "AID_Multilabel" in command} == {"2e-4"}
    assert all("--resume auto" in " ".join(command) for command in trained)
    stored = Run("other", "bce", "2e-4", 2).results
    assert str(study) not in (stored / "args.json").read_text()  # recognised in another folder
    assert {file.name for file in stored.iterdir()} == {"args.json", "log.csv", "metrics.json", "per_label.csv",
                                                      "bootstrap.npz"}
    assert "| bce | 2e-4 | 2 | 1, 1 | 50.00 ± 0.00 |" in (reproduce.RESULTS / "other.md").read_text(encoding="utf-8")
    commands.clear()
    reproduce.main(["other"])
    assert [command[0] for command in commands].count("Train.py") == 8 + 2
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
    for row in ("bce", "r4c_bound"):
        for rate, val in RATES.items():
            for seed in (1, 2):
                finish(Run(TABLE, row, rate, seed), val, drawn=np.zeros(3))
    reproduce.main(["other", f"{TABLE}/bce"])
    trained = [command for command in commands if command[0] == "Train.py"]
    assert [(command[2], command[command.index("--seed") + 1]) for command in trained] == [
        ("UCM_Multilabel", "3"), *[("AID_Multilabel", seed) for seed in "1122"]]


def test_each_job_has_a_gpu_of_those_that_are_visible(study, monkeypatch):
    given = []
    monkeypatch.setattr(reproduce.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    both = threading.Barrier(2)  # two at a time, on however busy a machine
    monkeypatch.setattr(reproduce, "call", lambda command, environment, output: (
        given.append(environment["CUDA_VISIBLE_DEVICES"]), output.touch(), both.wait(), 2)[-1])
    with pytest.raises(InputError, match="bce_1e-4_seed1 failed"):
        reproduce.main([f"{TABLE}/bce", "--jobs", "2"])
    assert sorted(given) == ["2"] * 4 + ["5"] * 4


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
    assert [command[0] for command in commands].count("Train.py") == 6 + 9
    assert "| bce | 2e-4 | 3 |" in (reproduce.RESULTS / f"{TABLE}.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no row or table is called other/asl: see --list"):
        reproduce.main(["other/asl"])


def test_tables_are_the_figures_of_the_files(study):
    values = {"bce": (0.5, 0.6, 0.7), "r4c": (0.55, 0.62, 0.78)}
    drawn = {row: np.random.default_rng(place).normal(values[row], 0.1, (200, 3)).T
             for place, row in enumerate(values)}
    for row, row_values in values.items():
        finish_search(TABLE, row, dict.fromkeys(("1e-4", "5e-4", "1e-3"), 0.3))
        for seed, value in zip((1, 2, 3), row_values):
            finish(Run(TABLE, row, "2e-4", seed), val=0.6, mAP=value, drawn=drawn[row][seed - 1], chosen=row == "r4c")
    text = reproduce.tables_text(TABLE)
    assert ("| bce | 2e-4 | 3 | 2, 2, 2 | 60.00 ± 10.00 | 30.00 ± 5.00 | 10.00 ± 0.00 | - | - | 40.00 ± 0.00 |"
            in text)  # whose checkpoints did not record the threshold
    assert "| 10.00 ± 0.00 | 80.00 ± 0.00 | 90.00 ± 0.00 | 40.00 ± 0.00 |" in text
    differences = np.subtract(values["r4c"], values["bce"])
    t_test = scipy.stats.ttest_rel(values["r4c"], values["bce"])
    of_seeds = t_test.confidence_interval()
    of_images = np.percentile((drawn["r4c"] - drawn["bce"]).mean(0), [2.5, 97.5])
    half = (np.ptp(of_seeds)**2 + np.ptp(of_images)**2)**0.5 / 2
    of_both = differences.mean() - half, differences.mean() + half
    low, high = (f"{100 * end:+.2f}" for end in of_both)
    assert f"| r4c - bce | 3 | {100 * differences.mean():+.2f} [{low}, {high}], " in text
    assert "| bce | 30.00 / 30.00 | 60.00 / 60.00 | 30.00 / 30.00 | 30.00 / 30.00 |" in text
    reproduce.main([])
    assert (reproduce.RESULTS / f"{TABLE}.md").read_text(encoding="utf-8") == text
    row = (reproduce.RESULTS / f"{TABLE}_differences.csv").read_text().splitlines()[1].split(",")
    assert row[:4] == ["r4c", "bce", "mAP", "3"]
    assert [float(cell) for cell in row[4:11]] == pytest.approx(
        [differences.mean(), *of_seeds, *of_images, *of_both], abs=1e-6)
    mAP, f1 = reproduce.differences(TABLE)
    assert float(row[11]) == pytest.approx(mAP.p_value(), abs=1e-6) and t_test.pvalue < mAP.p_value() < 1
    assert [mAP.corrected, f1.corrected] == pytest.approx(reproduce.holm([mAP.p_value(), f1.p_value()]))
    assert (reproduce.RESULTS / f"{TABLE}.csv").read_text().splitlines()[5].startswith("r4c,2e-4,2,2,0.62")
    assert (reproduce.RESULTS / f"{TABLE}.png").exists() and not (reproduce.RESULTS / "other.md").exists()


def test_the_p_value_is_the_error_at_which_the_interval_ends_at_zero():
    generator = np.random.default_rng(0)
    for seeds in (2, 3, 5):
        values = generator.normal(0.02, 0.01, seeds)
        without_images = reproduce.Difference("r4c", "bce", "mAP", values, np.full(100, values.mean()))
        assert without_images.p_value() == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
        drawn = generator.normal(0.02, 0.01, 1000)
        without_seeds = reproduce.Difference("r4c", "bce", "mAP", np.full(seeds, drawn.mean()), drawn)
        error = without_seeds.p_value()
        assert np.ptp(np.percentile(drawn, [50 * error, 100 - 50 * error])) / 2 == pytest.approx(drawn.mean())
        both = reproduce.Difference("r4c", "bce", "mAP", values, drawn)
        assert np.hypot(*both.half_lengths(both.p_value())) == pytest.approx(abs(values.mean()))
        assert reproduce.Difference("r4c", "bce", "mAP", -values, -drawn).p_value() == pytest.approx(both.p_value())
        low, high = both.intervals()[2]
        assert (both.p_value() < 0.05) == (low * high > 0)
    assert reproduce.Difference("", "", "", np.array([0.1, -0.1]), drawn).p_value() == 1
    assert reproduce.Difference("", "", "", np.array([0.5, 0.5]), drawn).p_value() < 1e-9
    assert reproduce.Difference("", "", "", np.array([0.1]), drawn).p_value() is None


def test_holm_by_hand():
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 * 1, which may not be below the one before.
    assert reproduce.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert reproduce.holm([0.6, 0.9]) == [1, 1] and reproduce.holm([]) == []


def test_an_ablation_is_compared_with_what_it_is_of_and_one_seed_has_an_interval_of_the_images(study, monkeypatch):
    monkeypatch.setitem(reproduce.TABLES, "ablations", Table("--dataset UCM_Multilabel", "--max_epoch 2",
                                                             ("r4c_bound_no_feature", "r4c"), (1, 2)))
    finish_search(TABLE, "r4c_bound", mAP=0.4)
    finish(Run("ablations", "r4c_bound_no_feature", "2e-4", 1), mAP=0.45, drawn=(0.5, 0.6))
    text = reproduce.tables_text("ablations")
    assert "| r4c_bound_no_feature - r4c_bound | 1 | +5.00 [+0.25, +9.75] |" in text
    reproduce.write_tables("ablations")
    row = (reproduce.RESULTS / "ablations_differences.csv").read_text().splitlines()[1]
    assert row == "r4c_bound_no_feature,r4c_bound,mAP,1,0.050000,,,0.002500,0.097500,,,,"
    for row in ("r4c", "bce"):
        finish_search(TABLE, row)
    finish(Run("ablations", "r4c", "2e-4", 1))
    assert "| r4c - bce |" not in reproduce.tables_text("ablations")
    for data, budget in (("--dataset AID_Multilabel", "--max_epoch 2"), ("--dataset UCM_Multilabel", "--max_epoch 3")):
        monkeypatch.setitem(reproduce.TABLES, "ablations", Table(data, budget, ("r4c_bound_no_feature", "r4c"), (1, 2)))
        text = reproduce.tables_text("ablations")
        assert "| r4c_bound_no_feature | 2e-4 | 1 |" in text and "difference" not in text  # the row is elsewhere


@pytest.mark.parametrize("seeds, corrected, cell", [
    (3, 0.04, "**+3.00 [{low}, {high}]**, 0.04"), (3, 0.06, "+3.00 [{low}, {high}], 0.06"), (1, None, "+3.00 [+2.00, +4.00]")])
def test_a_difference_is_bold_where_its_corrected_p_value_is_small(seeds, corrected, cell):
    difference = reproduce.Difference("r4c", "bce", "mAP", np.linspace(0.03, 0.03, seeds), np.repeat([0.02, 0.04], 50),
                                      corrected)
    low, high = (f"{100 * end:+.2f}" for end in difference.intervals()[2] or (0, 0))
    assert reproduce.differences_table([difference]).splitlines() == [
        "| difference | seeds | mAP |", "| --- | --- | --- |",
        f"| r4c - bce | {seeds} | {cell.format(low=low, high=high)} |"]


def test_the_comparisons_are_those_of_the_protocol():
    assert [*reproduce.COMPARISONS[:12]] == [
        *((row, baseline) for row in ("twoway", "zlpr", "smoothap", "r4c", "r4c_bound") for baseline in ("bce", "asl")),
        ("r4c_bound", "r4c"), ("r4c_bound", "twoway")]
    assert dict(reproduce.COMPARISONS[12:]) == reproduce.ABLATION_OF


def test_the_headline_says_how_many_seeds_are_finished(study):
    for place, row in enumerate(("bce", "asl", "r4c_bound")):
        finish_search(TABLE, row, {rate: val for rate, val in RATES.items() if rate != "2e-4"})
        for seed, mAP in ((1, 0.5), (2, 0.7)):
            finish(Run(TABLE, row, "2e-4", seed), 0.4, mAP + place / 100)
    for place, row in enumerate(("bce", "asl")):
        finish(Run(TABLE, row, "2e-4", 3), mAP=0.6 + place / 100)
    finish(Run("other", "r4c_bound", "2e-4", 2), mAP=0.8)
    assert reproduce.headline_table().splitlines() == [
        "| row | UCM: mAP | UCM: micro F1 | AID: mAP | AID: micro F1 |", "| --- | --- | --- | --- | --- |",
        "| bce | 60.00 ± 10.00 | 30.00 ± 5.00 |  |  |", "| focal |  |  |  |  |",
        "| asl | 61.00 ± 10.00 | 30.50 ± 5.00 |  |  |",
        *(f"| {row} |  |  |  |  |" for row in ("twoway", "zlpr", "smoothap", "r4c")),
        "| r4c_bound | 62.00 ± 14.14 (2) | 31.00 ± 7.07 (2) | 80.00 (1) | 40.00 (1) |"]


def test_the_answer_has_a_column_for_each_table_with_a_comparison(study):
    for row, mAP in (("asl", 0.5), ("r4c_bound", 0.54), ("r4c", 0.52)):
        finish_search(TABLE, row, mAP=mAP)
    assert [line.split(" | ")[:2] for line in reproduce.answer_table().splitlines()[2:]] == [
        ["| r4c - asl", "**+2.00 [+2.00, +2.00]**, 6e-12 |"], ["| r4c_bound - asl", "**+4.00 [+4.00, +4.00]**, 6e-12 |"],
        ["| r4c_bound - r4c", "**+2.00 [+2.00, +2.00]**, 6e-12 |"]]
    assert reproduce.answer_table().splitlines()[0] == "| difference | UCM |"


def test_results_of_other_options_are_refused(study):
    run = Run(TABLE, "r4c_bound", "1e-4", 1)
    finish(run)
    assert run.is_done
    options = json.loads((run.results / "args.json").read_text())
    (run.results / "args.json").write_text(json.dumps({"args": {**options["args"], "bound": False}}))
    with pytest.raises(InputError, match="was made with --bound False, and r4c_bound has True: remove"):
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
