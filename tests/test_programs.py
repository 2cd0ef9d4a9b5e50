"""Train.py and Test.py end to end on miniature data sets in the distributors' layouts, and with bad input."""

import argparse
import csv
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import Test
import Train
from conftest import NAMES, ROOT, random_labels, read_scores, write_image, write_table
from dataset import Normalize
from loss import R4CLoss
from model import NETWORKS, build_model
from programs import evaluate, fails, fails_alone, train, train_ucm
from utils.cpu import prepare_cpu
from utils.errors import InputError, exit_cleanly
from utils.figures.curves import draw_curves
from utils.metrics import multilabel_metrics
from utils.results import Results
from utils.run.checkpoint import save_checkpoint


@pytest.fixture
def trained(ucm):
    return train_ucm(ucm)


def test_training_images_are_augmented_and_no_others(ucm, monkeypatch):
    """Each training image of an epoch is flipped and rotated by its own draws; validation and test images are not."""
    augmented, all_draws = [], []

    def augment(self, images, draws):
        augmented.extend(images)
        all_draws.append(draws)
        return Normalize.forward(self, images)

    monkeypatch.setattr("dataset.augment.AugmentAndNormalize.forward", augment)
    trained = train_ucm(ucm)
    evaluate("--weights_path", trained / "best.pth")
    assert len(augmented) == 2 * 22  # images in two epochs
    assert len(set(torch.cat(all_draws).flatten().tolist())) == 3 * 2 * 22


def test_run_folder(curves, trained, ucm):
    assert {path.name for path in trained.iterdir() if path.name != ".lock"} == {
        "args.json", "log.csv", "train.txt", "val.txt", "test.txt", "best.pth", "last.pth", "curves.png"}
    assert trained.name.startswith("UCM_Multilabel_Small_r4c_")
    metadata = json.loads((trained / "args.json").read_text())
    assert metadata["args"]["lr"] == 1e-3 and metadata["versions"]["torch"] == torch.__version__ and "cpu" in metadata["device"]
    with open(trained / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["lr"]) for row in rows] == [1e-4, 5e-5]  # the schedule of two epochs: x 0.1, then x 0.5 more
    for row in rows:
        parts = [float(row[f"train_{split_name}"]) for split_name in ("feature", "label", "sample")]
        assert sum(parts) == pytest.approx(float(row["train_loss"]), rel=1e-4)
        assert 0 <= float(row["val_OF1"]) <= 1 and float(row["train_images_per_second"]) > 0
    checkpoint = torch.load(trained / "last.pth", weights_only=True)
    assert checkpoint["label_names"] == NAMES and checkpoint["epoch"] == 2 and checkpoint["optimizer"]["state"]
    best = torch.load(trained / "best.pth", weights_only=True)
    assert best["best_score"] == pytest.approx(max(float(row["val_OF1"]) for row in rows), abs=1e-5)


def test_curves_are_those_of_the_log(trained):
    with open(trained / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = {line.get_label(): line for axes in draw_curves(trained / "log.csv", "R4C").axes for line in axes.lines}
    columns = {"loss": "train_loss", "feature": "train_feature", "label": "train_label", "sample": "train_sample",
               "mAP": "val_mAP", "micro F1": "val_OF1", "CF1": "val_CF1", "lr": "lr"}
    assert lines.keys() == columns.keys()
    for name, column in columns.items():
        percent = 100 if column.startswith("val") else 1
        assert list(lines[name].get_xdata()) == [1, 2]
        assert list(lines[name].get_ydata()) == pytest.approx([percent * float(row[column]) for row in rows])


def test_test_needs_the_checkpoint_alone(trained, capsys, tmp_path):
    report = evaluate("--work-dir", tmp_path / "runs", "--device", "cpu")
    printed = capsys.readouterr().out
    assert f"{100 * report['metrics']['mAP']:.2f}" in printed and report["images"] == 6
    folder = trained / "test_best"
    assert json.loads((folder / "metrics.json").read_text()) == report
    assert multilabel_metrics(*read_scores(folder)) == report["metrics"]
    # The validation list gives back the figure that chose the checkpoint.
    report = evaluate("--weights_path", trained / "best.pth", "--test_dir", trained / "val.txt",
                      "--save_path", tmp_path / "val")
    assert report["metrics"]["OF1"] == pytest.approx(torch.load(trained / "best.pth")["best_score"], abs=1e-6)


def test_test_from_another_working_directory(ucm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, pattern in (("l.txt", "*0[0-7].tif"), ("t.txt", "*99.tif")):
        images = [path.relative_to(tmp_path).as_posix() for path in ucm.rglob(pattern)]
        (tmp_path / name).write_text("\n".join(images))
    folder = train_ucm(Path("data"), "--work-dir", tmp_path / "runs", "--train_dir", "l.txt", "--test_dir", "t.txt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "t.txt").write_text("other.png\n")
    assert evaluate("--weights_path", folder / "best.pth")["images"] == 3


def test_label_columns_in_another_order_are_matched_by_name(trained, ucm, tmp_path):
    expected = evaluate("--weights_path", trained / "best.pth")
    table = ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    table.write_text("".join("\t".join([row[0], *row[:0:-1]]) + "\n" for row in rows))
    again = evaluate("--weights_path", trained / "best.pth")
    assert again["metrics"] == expected["metrics"] and again["per_label"] == expected["per_label"]


def test_other_labels_are_refused(trained, ucm, capsys):
    table = ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    table.write_text(table.read_text().replace("water", "lake", 1))
    error = fails(capsys, evaluate, "--weights_path", trained / "best.pth")
    assert "only the data ['lake'], only the checkpoint ['water']" in error


@pytest.mark.parametrize("loss", ["bce", "focal", "asl"])
def test_baselines_and_lists(aid, tmp_path, loss):
    root = aid / "AID_Multilabel"
    for split_name in ("tr", "test"):
        names = sorted(path.relative_to(root).as_posix() for path in root.glob(f"images_{split_name}/*/*.jpg"))
        (tmp_path / f"{split_name}.txt").write_text("".join(f"{name} scene\n" for name in names))
    folder = train("--data_root", aid, "--train_dir", tmp_path / "tr.txt", "--val_dir", tmp_path / "test.txt",
                   "--test_dir", tmp_path / "test.txt", "--label_path", root / "multilabel.csv",
                   "--loss", loss, "--work-dir", tmp_path, "--save_path", tmp_path / "weights")
    assert f"train_{loss}" in (folder / "log.csv").read_text() and not (folder / "best.pth").exists()
    assert len((folder / "train.txt").read_text().splitlines()) == 20
    assert evaluate("--weights_path", tmp_path / "weights" / "best.pth")["images"] == 6


def test_not_save(curves, ucm):
    folder = train_ucm(ucm, "--not-save")
    assert not list(folder.glob("*.pth")) and (folder / "curves.png").stat().st_size > 1000


def test_same_seed_same_log(ucm):
    logs = []
    for seed in (1, 1, 2):
        with open(train_ucm(ucm, "--seed", seed, "--not-save") / "log.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        logs.append([{name: value for name, value in row.items() if name != "train_images_per_second"} for row in rows])
    assert logs[0] == logs[1] != logs[2]


def test_the_original_readmes_command_line(tmp_path, monkeypatch):
    """python Train.py --dataset 'AID_Multilabel' --label_num 17 --model Resnet-50, given the data and the weights."""
    names = [f"label {i}" for i in range(17)]
    root, rows = tmp_path / "data" / "AID_Multilabel", [",".join(["IMAGE\\LABEL", *names])]
    rng = np.random.default_rng(0)
    for folder, numbers in (("images_tr", range(1, 7)), ("images_test", range(81, 83))):
        for number in numbers:
            write_image(root / folder / "Pond" / f"pond_{number}.jpg", number)
            rows.append(",".join([f"pond_{number}", *map(str, rng.integers(0, 2, 17))]))
    (root / "multilabel.csv").write_text("\n".join(rows))
    # From another folder, as a user whose data lies there; no network, so weights lie in torch's cache.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cache" / "hub" / "checkpoints" / NETWORKS["Resnet-50"].imagenet.url.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(build_model("Resnet-50", 17).state_dict(), file)
    parse = Train.parse_arguments

    def parse_and_shorten(argv):
        """The whole recipe is 400 epochs at 512 px: accept the command line as it stands, then run a small one."""
        args = parse(argv)
        args.max_epoch, args.image_size, args.not_save = 1, 64, True
        return args

    monkeypatch.setattr(Train, "parse_arguments", parse_and_shorten)
    folder = Train.main(["--dataset", "AID_Multilabel", "--label_num", "17", "--model", "Resnet-50"])
    assert folder.parent == Path("runs") and len((folder / "log.csv").read_text().splitlines()) == 2
    recipe = json.loads((folder / "args.json").read_text())["args"]
    assert (recipe["lr"], recipe["train_batch_size"], recipe["seed"], recipe["loss"]) == (1e-5, 16, 3050, "r4c")


def test_the_options_of_r4c_reach_the_loss():
    def attributes(*argv):
        return vars(Train.build_criterion(Train.parse_arguments(list(argv))))

    assert attributes() == vars(R4CLoss())
    changed = attributes("--number_sample", "3", "--range_sample", "0.2", "--number_label", "5", "--range_label", "0.3",
                         "--lambdas", "2", "--parts", "sample", "feature", "--bound")
    assert changed == vars(R4CLoss(3, 5, 0.2, 0.3, 2, ["feature", "sample"], bound=True))


def test_all_views_are_averaged_where_asked_for(trained, tmp_path, capsys):
    options = ["--weights_path", trained / "best.pth"]
    plain, averaged = evaluate(*options), evaluate(*options, "--all_views", "--save_path", tmp_path)
    assert (plain["all_views"], averaged["all_views"]) == (False, True)
    assert "x 64, means of 8 views\n" in capsys.readouterr().out
    assert (read_scores(trained / "test_best")[0] != read_scores(tmp_path)[0]).any()


# Bad input

def test_programs_stop_with_one_sentence(tmp_path, capsys):
    command = [sys.executable, "Train.py", "--dataset", "UCM_Multilabel", "--data_root", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "UCM_Multilabel") in done.stderr and "bigearth.eu" in done.stderr
    assert "train one first" in fails_alone(capsys, "Test", "--work-dir", tmp_path)


@pytest.mark.parametrize("program", ["Train.py", "Test.py"])
def test_help_loads_no_figures_and_no_scikit_learn(program):
    script = f"""if True:
        import runpy, sys
        sys.argv = [{program!r}, "--help"]
        try:
            runpy.run_path({program!r}, run_name="__main__")
        except SystemExit as stop:
            loaded = {{name.split(".")[0] for name in sys.modules}} & {{"sklearn", "scipy", "matplotlib", "hypothesis"}}
            sys.exit(f"{{stop.code}} {{sorted(loaded)}}")"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == "0 []\n" and "--device" in done.stdout


@pytest.mark.parametrize("chosen", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}], ids=str)
@pytest.mark.parametrize("program", ["Train.py", "Test.py"])
def test_threads_stop_spinning_unless_the_user_has_said_how_they_wait(program, chosen):
    script = f"""if True:
        import os, runpy, sys
        def tell(event, args):
            if event == "import" and args[0] == "torch":
                print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"), flush=True)
                os._exit(0)
        sys.addaudithook(tell)
        runpy.run_path({program!r}, run_name="__main__")"""
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=plain | chosen, capture_output=True, text=True)
    expected = {"GOMP_SPINCOUNT": "None" if chosen else "10000", "OMP_WAIT_POLICY": "None", **chosen}
    assert done.stdout.split() == list(expected.values())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is another one")
def test_freed_memory_is_used_again():
    script = """if True:
        import resource
        from utils.cpu import prepare_cpu
        prepare_cpu()
        faults = []
        for _ in range(10):
            memory = b"x" * 2**26
            del memory
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        print(faults[-1] - faults[0])"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=plain, capture_output=True, text=True)
    assert int(done.stdout) < 9 * 2**26 / os.sysconf("SC_PAGE_SIZE") / 100


@pytest.mark.parametrize("name", ["MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_users_setting_of_malloc_is_left(name, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv(name, "")
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("malloc was set"))
    prepare_cpu()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


@pytest.mark.parametrize("program", ["Train.py", "Test.py"])
def test_ctrl_c_during_imports_prints_one_word(program):
    script = f"""if True:
        import os, runpy, signal, sys
        def interrupt(event, args):
            if event == "import" and args[0] == "torch":
                os.kill(os.getpid(), signal.SIGINT)
        sys.addaudithook(interrupt)
        sys.argv = [{program!r}]
        runpy.run_path({program!r}, run_name="__main__")"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{program}: interrupted\n")


def test_a_start_from_a_run_that_knew_test_images(scenes, capsys):
    options = ("--dataset", "AID", "--data_root", scenes, "--train_ratio", 0.5, "--max_epoch", 1)
    first = train(*options, "--work-dir", scenes.parent / "runs", "--seed", 1)
    capsys.readouterr()
    again = train(*options, "--work-dir", scenes.parent / "runs", "--pretrained", "imagenet",
                  "--pretrained_path", first)
    lists = [set(line.rsplit(" ", 1)[0] for name in names for line in (run / name).read_text().splitlines())
             for run, names in ((first, ("train.txt", "val.txt")), (again, ("test.txt",)))]
    assert f"{len(lists[0] & lists[1])} test images were trained or validated on by" in capsys.readouterr().err


def test_a_start_from_a_run_that_was_trained_on_validation_images(ucm, capsys):
    """Those that it only validated on are not warned of: a second stage on the same split is right."""
    first = train_ucm(ucm, "--max_epoch", 1, "--seed", 1)
    for seed, is_warned in ((1, False), (2, True)):
        capsys.readouterr()
        again = train_ucm(ucm, "--max_epoch", 1, "--seed", seed, "--pretrained", "imagenet", "--pretrained_path", first)
        trained, validated = ({*(run / f"{split}.txt").read_text().splitlines()}
                              for run, split in ((first, "train"), (again, "val")))
        count, error = len(trained & validated), capsys.readouterr().err
        assert (count > 0) == is_warned == ("validation images were trained on by the run of" in error)
        assert f"{count} validation images" in error or not is_warned


def test_identical_images_in_different_splits_are_warned_of(ucm, tmp_path, capsys):
    """In one line; a file that two lists name is another warning's."""
    river, options = Path("UCMerced_LandUse", "Images", "river"), []
    for split, numbers in (("train", "0123"), ("val", "45"), ("test", "067")):
        options += [f"--{split}_dir", tmp_path / f"{split}.txt"]
        options[-1].write_text("".join(f"{river}/river0{number}.tif\n" for number in numbers))
    train_ucm(ucm, "--max_epoch", 1, *options)
    assert "identical" not in capsys.readouterr().err
    for copy, original in ("40", "61", "75"):
        shutil.copy(*(ucm / "UCM_Multilabel" / river / f"river0{number}.tif" for number in (original, copy)))
    train_ucm(ucm, "--max_epoch", 1, *options)
    line, = [line for line in capsys.readouterr().err.splitlines() if "different splits" in line]
    assert (f"different splits hold 3 identical images ({river}/river04.tif (val) = {river}/river00.tif (train), "
            f"{river}/river06.tif (test) = {river}/river01.tif (train), ...)") in line


def test_identical_images_with_different_labels_are_warned_of(ucm, tmp_path, capsys):
    """Within a split, too: here all images of the training are one, and two rows of the table differ."""
    root, table = ucm / "UCM_Multilabel", ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    names = [f"UCMerced_LandUse/Images/river/river0{number}.tif" for number in range(4)]
    for name in names[1:]:
        shutil.copy(root / names[0], root / name)
    (tmp_path / "train.txt").write_text("\n".join(names[:2]))
    (tmp_path / "val.txt").write_text("\n".join(names[2:]))
    lists = ("--max_epoch", 1, "--train_dir", tmp_path / "train.txt", "--val_dir", tmp_path / "val.txt")
    rows = dict(line.split("\t", 1) for line in table.read_text().splitlines())
    for key, is_warned in (("river00", False), ("forest00", True)):
        rows |= dict.fromkeys([f"river0{number}" for number in range(4)], rows["river00"]) | {"river01": rows[key]}
        table.write_text("".join(f"{key}\t{row}\n" for key, row in rows.items()))
        capsys.readouterr()
        train_ucm(ucm, *lists)
        error = capsys.readouterr().err
        assert (f"1 pair ({names[1]} (train) = {names[0]} (train)) of identical images have different labels" in error) == is_warned
        assert "different splits hold 2 identical images" in error


def test_what_tells_whether_runs_were_trained_on_the_same_data(scenes):
    """Class folders, which the seed splits: the images of all splits with their labels, in any order."""
    options = ("--dataset", "AID", "--data_root", scenes, "--train_ratio", 0.5, "--max_epoch", 1, "--work-dir",
               scenes.parent / "runs")

    def digests(seed):
        return evaluate("--weights_path", train(*options, "--seed", seed))["training_data"]

    first, other_seed = digests(1), digests(2)
    assert first["train_val"] != other_seed["train_val"] and first["train_val_test"] == other_seed["train_val_test"]
    (scenes / "AID" / "Pond" / "pond_1.jpg").rename(scenes / "AID" / "River" / "pond_1.jpg")
    assert not first.items() & digests(1).items()


def test_training_data_that_an_older_checkpoint_did_not_record():
    complete = {"trained_on": ["a", "b"], "labels": {"train": torch.eye(2)}, "label_names": ["x", "y"]}
    assert Test.digests_of_training(complete).keys() == {"train_val", "train_val_test"}
    reordered = {"trained_on": ["b", "a"], "labels": {"train": torch.eye(2)}, "label_names": ["y", "x"]}
    assert Test.digests_of_training(reordered) == Test.digests_of_training(complete)
    for older in ({}, {**complete, "trained_on": ["49292-0a1b2c3d"] * 2}, {**complete, "test_images": {"c": "d"}}):
        assert Test.digests_of_training(older) == {}


def test_the_order_of_the_labels_makes_no_other_test(tmp_path):
    write_image(tmp_path / "a.png", 0)
    names, labels = ["sea", "dock", "ship"], np.array([[1, 0, 0]])
    digests, reordered, other = (Test.digests_of(Results([tmp_path / "a.png"], *named, single_label=False)) for named in (
        (names, labels), (names[::-1], labels[:, ::-1]), (names[::-1], labels)))
    assert digests == reordered and digests["labels"] != other["labels"]


@pytest.mark.parametrize("place", ["run", "save_path"])
def test_an_unfinished_run_is_said(ucm, tmp_path, capsys, place):
    weights = tmp_path / "weights"
    folder = train_ucm(ucm, *(["--save_path", weights] if place == "save_path" else []))
    epoch = torch.load((weights if place == "save_path" else folder) / "best.pth")["epoch"]
    evaluate("--weights_path", folder)
    assert f"\nweights: epoch {epoch}\n" in capsys.readouterr().out
    record = json.loads((folder / "args.json").read_text())
    record["args"]["max_epoch"] = 400
    (folder / "args.json").write_text(json.dumps(record))
    for options in ([], ["--images", *ucm.rglob("river0*.tif")]):
        evaluate("--weights_path", folder, *options)
        assert f"weights: epoch {epoch}; the run has finished 2 of 400 epochs\n" in capsys.readouterr().out


def test_paths_in_args_json_are_absolute(ucm, monkeypatch):
    monkeypatch.chdir(ucm.parent)
    folder = train("--dataset", "UCM_Multilabel", "--data_root", ucm.name, "--max_epoch", 1, "--label_num", 4)
    assert json.loads((folder / "args.json").read_text())["args"]["data_root"] == str(ucm)
    resumed = train("--dataset", "UCM_Multilabel", "--data_root", ucm, "--max_epoch", 1, "--resume", "AUTO")
    assert resumed.resolve() == folder.resolve()


def test_a_batch_of_one_image_has_no_feature_ranking(ucm, capsys):
    train_ucm(ucm, "--max_epoch", 1, "--train_batch_size", 1)
    assert "L2R-feature has no other images to rank" in capsys.readouterr().err


@pytest.mark.parametrize("options, alone", [
    ([], "L2R-feature"), (["--loss", "smoothap"], "--loss smoothap"), (["--parts", "label"], None), (["--loss", "bce"], None)])
def test_a_batch_of_one_image_has_no_other_images_to_rank(options, alone, capsys):
    Train.build_criterion(Train.parse_arguments([*options, "--train_batch_size", "1"]))
    error = capsys.readouterr().err
    assert error.count("no other images") == bool(alone) and (not alone or f"1, {alone} has no other" in error)
    Train.build_criterion(Train.parse_arguments([*options, "--train_batch_size", "2"]))
    assert "no other images" not in capsys.readouterr().err


@pytest.mark.parametrize("setting", [("MPLBACKEND", "module://matplotlib_inline.backend_inline"), ("MATPLOTLIBRC", "rc")])
def test_figures_whatever_the_users_settings(tmp_path, monkeypatch, setting):
    (tmp_path / "rc").write_text("text.usetex: True\n")
    code = ("from pathlib import Path; from utils.figures.style import new_figure, save_figure; "
            "figure = new_figure(2, 2); "
            "figure.gca().set_title('a_b %'); save_figure(figure, Path('figure'), ['png'])")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), setting[0]: setting[1]}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "figure.png").stat().st_size


@pytest.mark.parametrize("argv, message", [
    (["--dataset", "DOTA"], "unknown data set 'DOTA': choose from AID_Multilabel"),
    (["--model", "AlexNet"], "unknown model 'AlexNet': choose from Resnet-50"),
    (["--label_num", "5"], "--label_num 5, but the data have 4 labels"),
    (["--train_dir", "nowhere.txt"], "list file nowhere.txt does not exist"),
    (["--test_dir", "nowhere.txt"], "need --train_dir too"),
    (["--label_path", "nowhere.csv"], "label table nowhere.csv does not exist"),
    (["--pretrained", "imagenet", "--pretrained_path", "nowhere.pth"], "weight file nowhere.pth does not exist"),
    (["--train_batch_size", "0"], "--train_batch_size: must be at least 1 and at most 100000, not 0"),
    (["--image_size", "0"], "--image_size: must be at least 64 and at most 10000, not 0"),
    (["--lr", "0"], "--lr: must be above 0, not 0"),
    (["--lr", "nan"], "--lr: must be above 0, not nan"),
    (["--lambdas", "inf"], "--lambdas: must be at least 0, not inf"),
    (["--seed", "4294967296"], "--seed: must be at least 0 and at most 4294967295"),
    (["--loss", "focal", "--focal_alpha", "-0.5"], "alpha must be -1 or between 0 and 1"),
    (["--device", "meta"], "--device meta cannot be used here"),
    (["--max_epoch", "2.5"], "'2.5' is not a whole number"),
    (["--range_label", "0.7"], "at least 0 and at most 0.5, not 0.7"),
    (["--loss", "asl", "--asl_gamma_neg", "0.5"], "gamma must be 0 or at least 1"),
    (["--device", "gpu"], "--device gpu cannot be used here"),
    (["--loss", "hinge"], "unknown choice 'hinge': choose from r4c, bce"),
    (["--parts", "labels"], "unknown choice 'labels': choose from feature, label, sample (did you mean label?)"),
    (["--lrate", "1"], "unrecognized arguments: --lrate"),
])
def test_bad_options(ucm, capsys, argv, message):
    assert message in fails(capsys, train_ucm, ucm, *argv)


@pytest.mark.parametrize("content", [b"text", "half"])
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_in_training(ucm, capsys, content, workers):
    for path in ucm.rglob("river0*.tif"):  # all of them, so that one is in training
        path.write_bytes(path.read_bytes()[:-3000] if content == "half" else content)
    error = fails(capsys, train_ucm, ucm, "--num_workers", workers)
    message = error.strip().splitlines()[-1]
    assert "error: image " in message and "river0" in message and "cannot be decoded" in message


def test_diverged_training_stops(ucm, capsys):
    """Weights of about the largest float32 there is: what follows is not finite, in whatever order it is summed."""
    error = fails(capsys, train_ucm, ucm, "--lr", "3e38", "--max_epoch", 4)
    assert "error: epoch 1, step 2: loss nan, feature " in error and "start again with a smaller --lr" in error


def test_bad_tables_and_images_stop_training(ucm, capsys):
    root = ucm / "UCM_Multilabel"
    table = root / "multilabels" / "LandUse_Multilabeled.txt"
    good = table.read_text()
    for bad, message in [("", "is empty"), (good + "river00\t1\t0\t0\t0\n", "already has a row above"),
                          (good + "river55\t1\t0\t0\t0\n", "no image below"),
                          (good + "river55\t1\t0\n", "2 label cells"),
                          (good + "river55\t1\t0\t0\t7\n", "0 or 1, not '7'")]:
        table.write_text(bad)
        assert message in fails(capsys, train_ucm, ucm)
    table.write_text(good)
    write_image(root / "UCMerced_LandUse" / "Images" / "river" / "river77.png", 1)
    assert "has no row for 1 image" in fails(capsys, train_ucm, ucm)


def test_unwritable_places(ucm, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    error = fails(capsys, train_ucm, ucm, "--work-dir", tmp_path / "file")
    assert "run folder" in error and "choose another --work-dir" in error
    error = fails(capsys, train_ucm, ucm, "--save_path", tmp_path / "file")
    assert str(tmp_path / "file") in error


def test_bad_checkpoints(trained, capsys, tmp_path):
    bad = tmp_path / "bad.pth"
    for content, message in [(b"", "not a readable"), ((trained / "best.pth").read_bytes()[:9999], "not a readable")]:
        bad.write_bytes(content)
        assert message in fails(capsys, evaluate, "--weights_path", bad)
    assert "does not exist" in fails(capsys, evaluate, "--weights_path", tmp_path / "nowhere.pth")
    for wrong in (["--model", "Swin-T"], ["--label_num", "17"]):
        error = fails(capsys, evaluate, "--weights_path", trained / "best.pth", *wrong)
        assert "is a Small with 4 labels" in error
    torch.save(build_model("MobileNet-V2", 4).state_dict(), bad)
    assert "give --model and --label_num" in fails(capsys, evaluate, "--weights_path", bad)
    error = fails(capsys, evaluate, "--weights_path", bad, "--model", "Small", "--label_num", 4)
    assert "check --model" in error


def test_bare_state_dict(trained, ucm, tmp_path, capsys):
    state = torch.load(trained / "best.pth")["state_dict"]
    torch.save({"net": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "bare.pth")
    expected = evaluate("--weights_path", trained / "best.pth")
    assert "prefix" not in capsys.readouterr().out
    options = ["--weights_path", tmp_path / "bare.pth", "--model", "Small", "--label_num", 4, "--dataset",
               "UCM_Multilabel", "--data_root", ucm, "--image_size", 64, "--test_batch_size", 2]
    assert evaluate(*options)["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    output, error = capsys.readouterr()
    assert "bare.pth: loaded; prefix 'net.module.' removed" in output
    assert "the outputs of a bare state dict are taken for airplane, bare-soil, grass, water, in this order" in error
    assert f"1 bare state dict ({tmp_path / 'bare.pth'}) do not tell how they were trained: images get 64 px" in error
    torch.save({**state, "fc.bias": state["fc.bias"] * torch.nan}, tmp_path / "bare.pth")
    assert "fc.bias holds NaN or infinity" in fails(capsys, evaluate, *options)
    torch.save({"state_dict": state, "args": argparse.Namespace()}, tmp_path / "bare.pth")
    assert "a pickled argparse.Namespace" in fails(capsys, evaluate, *options)


def test_a_bare_state_dict_has_the_order_of_a_checkpoint_beside_it(trained, ucm, tmp_path):
    """And not that of a label table whose columns were moved."""
    torch.save(torch.load(trained / "best.pth")["state_dict"], tmp_path / "bare.pth")
    expected = evaluate("--weights_path", trained / "best.pth")["metrics"]["mAP"]
    table = ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    table.write_text("".join("\t".join([key, *reversed(row)]) + "\n" for key, *row in
                             (line.split("\t") for line in table.read_text().splitlines())))
    evaluate("--weights_path", tmp_path / "bare.pth", trained / "best.pth", "--model", "Small", "--label_num", 4,
             "--image_size", 64, "--save_path", tmp_path / "out")
    found = [json.loads(file.read_text())["metrics"]["mAP"] for file in (tmp_path / "out").glob("*/metrics.json")]
    assert found == pytest.approx([expected, expected])


def test_a_checkpoint_of_own_lists_is_not_tested_on_unknown_images(ucm, tmp_path, capsys):
    images = [path.as_posix() for path in sorted(ucm.rglob("*.tif"))[:20]]
    (tmp_path / "train.txt").write_text("\n".join(images))
    folder = train_ucm(ucm, "--train_dir", tmp_path / "train.txt")
    assert "name the images to test with --test_dir" in fails(capsys, evaluate, "--weights_path", folder / "best.pth")


def test_labels_of_a_table_with_unicode_names(tmp_path, monkeypatch):
    keys = [f"b{number:02d}" for number in (*range(20), 90)]
    root = tmp_path / "UCM_Multilabel"
    for seed, key in enumerate(keys):
        write_image(root / "Images" / "b" / f"{key}.png", seed)
    write_table(root / "LandUse_Multilabeled.txt", keys, random_labels(21))
    table = root / "LandUse_Multilabeled.txt"
    table.write_text(table.read_text().replace("water", "größeres Gewässer"), encoding="utf-8")
    folder = train_ucm(tmp_path)
    assert "größeres Gewässer" in evaluate("--weights_path", folder / "best.pth")["per_label"]
    table.write_text(table.read_text(encoding="utf-8").replace("größeres Gewässer", "水"), encoding="utf-8")
    folder = train_ucm(tmp_path)
    output = io.TextIOWrapper(io.BytesIO(), "cp1252")  # as PYTHONIOENCODING=cp1252 python Test.py > FILE
    monkeypatch.setattr(sys, "stdout", output)
    exit_cleanly(lambda: evaluate("--weights_path", folder / "best.pth"))
    output.flush()
    assert b"\\u6c34 " in output.buffer.getvalue()


def test_results_are_written_before_they_are_printed(trained, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Test, "print", full_disk, raising=False)
    with pytest.raises(OSError):
        evaluate("--weights_path", trained / "best.pth")
    assert {"metrics.json", "per_label.csv", "scores.csv"} == {
        path.name for path in (trained / "test_best").iterdir()}


def test_full_disk_keeps_the_older_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "best.pth"
    save_checkpoint(path, {"epoch": 1})

    def full(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left on device.*the previous one is unchanged"):
        save_checkpoint(path, {"epoch": 2})
    assert torch.load(path)["epoch"] == 1 and list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_does_not_fit_says_why(tmp_path):
    """In the system's words, not torch's, which tell of a position in a file: here with a limit of a file's size."""
    resource = pytest.importorskip("resource")
    path, before = tmp_path / "last.pth", resource.getrlimit(resource.RLIMIT_FSIZE)
    save_checkpoint(path, {"epoch": 1})
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, before[1]))
        with pytest.raises(InputError, match=r"last.pth could not be written \(File too large\); the previous one"):
            save_checkpoint(path, {"epoch": 2, "state_dict": torch.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(path)["epoch"] == 1 and list(tmp_path.iterdir()) == [path]
