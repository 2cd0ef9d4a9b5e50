"""A run that is stopped in any way and resumed is bit-identical to an uninterrupted one."""

import json
import multiprocessing
import os
import random
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

import processes
import Train
from conftest import write_classes
from dataset import ImageDataset
from processes import Stop
from programs import evaluate, fails
from utils.errors import InputError, exit_cleanly
from utils.run.resume import check_same_data, explain_how_to_resume
from utils.run.run_folder import best_epoch, run_lock

SMALL = ["--model", "Small", "--pretrained", "none", "--image_size", "64", "--train_batch_size", "4", "--lr",
         "1e-3", "--device", "cpu", "--deterministic"]


def assert_equal(a, b) -> int:
    """Assert that two values, and all tensors in them, are bit-identical. Returns the tensors' bytes."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a.contiguous().view(-1).view(torch.uint8),
                                                  b.contiguous().view(-1).view(torch.uint8))
        return a.nbytes
    if isinstance(a, dict):
        assert list(a) == list(b)
        return sum(assert_equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        assert len(a) == len(b)
        return sum(map(assert_equal, a, b))
    assert a == b or a != a and b != b  # NaN
    return 0


def assert_equal_runs(a: Path, b: Path) -> int:
    """Assert that two runs' logs and checkpoints are equal, except for their options. Returns the compared bytes."""
    assert (a / "log.csv").read_bytes() == (b / "log.csv").read_bytes()
    assert not list(b.glob("*.partial"))
    compared = (a / "log.csv").stat().st_size
    for name in ("best.pth", "last.pth"):
        contents = [torch.load(folder / name, weights_only=True) for folder in (a, b)]
        for content in contents:
            content.pop("args")
            content.pop("run")
        compared += assert_equal(*contents)
    return compared


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Runs `processes.train` to its end: (options, stop) -> its exit code and what it printed."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that are forked")
    context = multiprocessing.get_context("forkserver")
    output = tmp_path_factory.mktemp("output") / "output"

    def run_to_its_end(argv: list, stop: Stop | None = None) -> tuple[int, str]:
        process = context.Process(target=processes.train, args=(list(map(str, argv)), stop, output))
        process.start()
        process.join()
        return process.exitcode, output.read_text()

    return run_to_its_end


def stop_and_resume(start, stops: list[Stop], work_dir: Path, *options) -> tuple[list[int], Path]:
    """Stop a run as often as `stops` says, then let it finish. Returns the processes' exit codes and its folder."""
    argv, codes = [*SMALL, *options, "--work-dir", work_dir, "--resume", "auto"], []
    for stop in [*stops, None]:
        for left in work_dir.glob("*/*.partial"):
            os.utime(left, (0, 0))  # an hour later
        code, printed = start(argv, stop)
        codes.append(code)
        # A worker whose main process was killed may print one.
        assert stop and stop.name == "KILL" or "Traceback" not in printed, printed
    assert codes[-1] == 0, printed
    begun = [folder for folder in work_dir.iterdir() if (folder / "last.pth").exists()]
    assert len(begun) == 1  # one that was killed before it began is left alone
    return codes, begun[0]


@pytest.fixture
def options(ucm) -> list[str]:
    return [*SMALL, "--dataset", "UCM_Multilabel", "--data_root", str(ucm), "--work-dir", str(ucm.parent / "my runs"),
            "--max_epoch", "2"]


def train(*argv) -> Path:
    return Train.main(list(map(str, argv)))


def rewritten(file: Path, **changes) -> None:
    torch.save({**torch.load(file, weights_only=True), **changes}, file)


# Stopped at any moment

def test_a_run_that_is_stopped_again_and_again(start, ucm, tmp_path):
    """An epoch has 6 steps of training and one of evaluation, and writes last.pth, log.csv and best.pth; a process that
    resumes the run writes them at its start as well."""
    options = ["--dataset", "UCM_Multilabel", "--data_root", ucm, "--max_epoch", 8]
    _, whole = stop_and_resume(start, [], tmp_path / "whole", *options)
    codes, stopped = stop_and_resume(start, [
        Stop("KILL", "open last.pth", 1), Stop("KILL", "rename last.pth", 1),  # before there is anything
        Stop("KILL", "training", 3), Stop("TERM", "training", 2), Stop("KILL", "open last.pth", 3),  # of epoch 2
        Stop("INT", "evaluation", 1), Stop("KILL", "rename last.pth", 2), Stop("KILL", "open log.csv", 2),  # of epoch 2
        Stop("KILL", "rename log.csv", 2), Stop("KILL", "open best.pth", 2), Stop("KILL", "rename best.pth", 2),
        Stop("TERM", "open last.pth", 2), Stop("INT", "rename best.pth", 1)], tmp_path / "stopped", *options)
    assert codes == [-9, -9, -9, 143, -9, 130, -9, -9, -9, -9, -9, 143, 130, 0]
    assert assert_equal_runs(whole, stopped) > 20_000
    assert resumed_after(stopped) == [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 6]


def resumed_after(folder: Path) -> list[int]:
    """After how many epochs a run was resumed, each time."""
    return [resumption["after_epoch"] for resumption in json.loads((folder / "args.json").read_text())["resumed"]]


@pytest.mark.long
@pytest.mark.parametrize("dataset, workers", [("UCM_Multilabel", 0), ("AID", 0), ("AID", 2)])
def test_many_kills(start, ucm, scenes, tmp_path, record, dataset, workers):
    """Of several labels per image, and of one, with random crops; at any moment after what is counted."""
    options = ["--dataset", dataset, "--data_root", ucm, "--max_epoch", 80]
    _, whole = stop_and_resume(start, [], tmp_path / "whole", *options)  # without workers
    draw = random.Random(7)
    stops = [Stop(name, what, draw.randint(1, 4), draw.uniform(0, 0.05)) for name, what in (
        ("TERM", "training"), ("INT", "training"), ("TERM", "evaluation"), ("INT", "open last.pth"), *[
            ("KILL", f"{how} {file}") for how in ("open", "rename") for file in ("last.pth", "log.csv")] * 4, *[
            ("KILL", what) for what in ("training", "evaluation")] * 4)]
    codes, stopped = stop_and_resume(start, stops, tmp_path / "stopped", *options, "--num_workers", workers)
    kills = [stop.what for stop, code in zip(stops, codes) if code == -signal.SIGKILL]
    assert len(kills) >= 20
    record(kills={what: kills.count(what) for what in sorted(set(kills))},
           stopped_by_SIGINT_or_SIGTERM=sum(code > 128 for code in codes),
           resumed_after_epochs=resumed_after(stopped), bytes_equal=assert_equal_runs(whole, stopped))


@pytest.mark.parametrize("name, code", [("INT", 130), ("TERM", 143), ("USR1", 138)])
def test_a_signal_to_all_processes(start, options, name, code):
    """As a terminal sends it, to the workers too; then the command that the message names."""
    whole = [*options, "--max_epoch", 3, "--num_workers", 2]
    stopped, output = start(whole, Stop(name, "training", 8, to_all=True))
    assert stopped == code and output.count("stopping after this step") == 1 and "Traceback" not in output, output
    assert "interrupted; 2 of 6 steps of this epoch will be repeated; resume with: python" in output
    command = shlex.split(output.rsplit("resume with: python ", 1)[1])
    assert command[0] == "Train.py"
    code, output = start(command[1:])
    assert code == 0 and " after 1 of 3 epochs" in output, output
    start([*whole, "--num_workers", 0])
    folders = sorted(Path(command[-1]).parent.iterdir())
    assert len(folders) == 2
    assert_equal_runs(*folders)


@pytest.mark.parametrize("name, code", [("HUP", 129), ("USR2", 140), ("XCPU", 152)])
def test_other_signals_to_all_processes(start, options, name, code):
    stopped, output = start([*options, "--num_workers", 2], Stop(name, "training", 2, to_all=True))
    assert stopped == code and output.count("stopping after this step") == 1 and "Traceback" not in output, output
    assert "interrupted; 2 of 6 steps of this epoch will be repeated; resume with: python" in output


@pytest.mark.parametrize("save, advice", [((), "the finished steps of this epoch will be repeated; resume with: "),
                                          (["--not-save"], "start again (no epoch was saved)\n")])
def test_an_error_after_a_signal_is_the_interruption(options, monkeypatch, capsys, save, advice):
    """As of a compiler that the signal stops too, in the first step with --compile."""
    def stopped_compiler(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("CppCompileError: C++ compile error\n" + 2790 * "#include <ATen>\n")

    monkeypatch.setattr(Train, "train_one_epoch", stopped_compiler)
    with pytest.raises(SystemExit) as stop:
        exit_cleanly(lambda: train(*options, *save))
    error = capsys.readouterr().err
    assert stop.value.code == 143 and f"interrupted; {advice}" in error and "Cpp" not in error, error


def test_a_second_ctrl_c_stops_at_once(options, monkeypatch, capsys):
    get, handler = ImageDataset.__getitem__, signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("utils.run.graceful_shutdown._SAME_SIGNAL", -1)  # no two signals are one
    monkeypatch.setattr(ImageDataset, "__getitem__", lambda self, item: os.kill(os.getpid(), signal.SIGINT) or get(
        self, item))
    with pytest.raises(SystemExit) as stop:
        exit_cleanly(lambda: train(*options))
    error = capsys.readouterr().err
    assert stop.value.code == 130 and "interrupted\n" in error and "--resume" not in error
    assert signal.getsignal(signal.SIGINT) is handler


# What may change, and what not

def test_a_longer_run(options, capsys, monkeypatch):
    whole = train(*options, "--max_epoch", 4)
    folder = train(*options, "--max_epoch", 1)
    monkeypatch.setattr(sys, "argv", ["Train.py", "--resume", "a b"])
    first = (folder / "log.csv").read_text()
    assert train("--resume", folder, "--max_epoch", 3, "--num_workers", 1, "--device", "auto", "--val_batch_size", 1
                 ) == folder
    log = (folder / "log.csv").read_text()
    assert log.startswith(first) and len(log.splitlines()) == 4
    assert not (whole / "log.csv").read_text().startswith(first)  # whose learning rate falls later
    metadata = json.loads((folder / "args.json").read_text())
    assert metadata["args"]["max_epoch"] == 3 and metadata["args"]["data_root"] == options[options.index("--data_root") + 1]
    assert resumed_after(folder) == [1] and metadata["resumed"][0]["command"] == "python Train.py --resume 'a b'"
    before = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    assert f"--max_epoch 2, but {folder} has 3 finished epochs" in fails(capsys, train, "--resume", folder,
                                                                         "--max_epoch", 2)
    assert train("--resume", folder) == folder
    assert "after 3 of 3 epochs; a larger --max_epoch would continue it" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == before


@pytest.mark.parametrize("argv, difference", [
    (["--model", "Resnet-18"], "--model Small, not Resnet-18"), (["--loss", "bce"], "--loss r4c, not bce"),
    (["--lr", "0.5", "--seed", "1"], "--lr 0.001, not 0.5, --seed 3050, not 1"), (["--dataset", "AID"], "--dataset"),
    (["--train_batch_size", "8"], "--train_batch_size 4, not 8"), (["--amp"], "--amp False, not True"),
    (["--save_path", "elsewhere"], "--save_path None, not"), (["--label_num", "5"], "the data have 4 labels")])
def test_other_options_are_refused(options, capsys, argv, difference):
    folder = train(*options, "--max_epoch", 1)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"}
    assert difference in fails(capsys, train, "--resume", folder, *argv)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"} == before


def test_other_data_are_refused_and_moved_data_are_not(options, ucm, tmp_path, capsys):
    folder = train(*options, "--max_epoch", 1)
    moved = ucm.rename(tmp_path / "elsewhere")
    assert "--data_root names another place" in fails(capsys, train, "--resume", folder, "--max_epoch", 2)
    command = ["--resume", folder, "--data_root", moved, "--max_epoch", 2]
    table = moved / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    good = table.read_text()
    table.write_text(good.replace("water", "lake"))
    assert "started with other labels: airplane, bare-soil, grass, water; now" in fails(capsys, train, *command)
    trained_on = (folder / "train.txt").read_text().split("\n")[3].split("/")[-1].split(".")[0]
    row = next(line for line in good.split("\n") if line.startswith(trained_on))
    table.write_text(good.replace(row, row[:-1] + str(1 - int(row[-1]))))
    error = fails(capsys, train, *command)
    assert "the labels of 1 image (" in error and trained_on in error
    table.write_text(good)
    image = next(moved.rglob(f"{trained_on}.tif"))
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    error = fails(capsys, train, *command)
    assert "1 image (" in error and "changed since" in error and str(image) in error
    image.write_bytes(content)
    lines = (folder / "train.txt").read_text().splitlines(keepends=True)
    (folder / "train.txt").write_text("".join(lines[::-1]))
    assert "the order or the split of the images changed since" in fails(capsys, train, *command)
    (folder / "train.txt").write_text("".join(lines))
    assert train(*command) == folder and len((folder / "log.csv").read_text().splitlines()) == 3


def test_other_test_images_are_warned_of(options, ucm, tmp_path, capsys):
    images = [path.as_posix() for path in sorted(ucm.rglob("*.tif"))]
    lists = [["--train_dir", images[:12]], ["--val_dir", images[12:18]], ["--test_dir", images[18:22]]]
    for option in lists:
        (tmp_path / f"{option[0]}.txt").write_text("\n".join(option[1]))
        option[1] = tmp_path / f"{option[0]}.txt"
    folder = train(*options, *sum(lists, []), "--max_epoch", 1)
    train("--resume", folder, "--max_epoch", 2)
    assert "test images" not in capsys.readouterr().err
    (tmp_path / "other.txt").write_text("\n".join(images[18:]))
    train("--resume", folder, "--max_epoch", 3, "--test_dir", tmp_path / "other.txt")
    assert f"warning: {folder} keeps the 4 test images that it was started with" in capsys.readouterr().err
    now = torch.load(folder / "last.pth", weights_only=True)
    before = {name: value for name, value in now.items() if name != "test_images"}  # of an older version
    check_same_data(folder, before, now, [])
    assert "test images" not in capsys.readouterr().err


def test_labels_of_another_kind_are_refused(tmp_path, capsys):
    write_classes(tmp_path / "Custom", {"sea": 12, "sand": 12})
    folder = train(*SMALL, "--dataset", "Custom", "--data_root", tmp_path, "--max_epoch", 1, "--work-dir", tmp_path / "runs")
    rows = [f"{image.stem},{image.parent.name}" for image in (tmp_path / "Custom").rglob("*.jpg")]
    (tmp_path / "Custom" / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    error = fails(capsys, train, "--resume", folder, "--max_epoch", 2)
    assert f"{folder} was started with one class per image, and the data now have several; restore" in error


def test_auto(options, capsys):
    auto = [*options, "--resume", "auto"]
    first = train(*auto)  # there is none to resume
    assert "no run in" in (out := capsys.readouterr().out) and "nearest" not in out
    second = train(*auto, "--lr", "2e-3")
    assert first != second
    assert f"a new one starts; the nearest: {first} was started with --lr 0.001, not 0.002" in capsys.readouterr().out
    log = (first / "log.csv").read_bytes()
    assert train(*auto) == first and (first / "log.csv").read_bytes() == log
    longer = train(*auto, "--max_epoch", 3)  # with another learning-rate schedule
    assert longer not in (first, second) and len(list(first.parent.iterdir())) == 3
    assert f"the nearest: {first} was started with --max_epoch 2, not 3" in capsys.readouterr().out
    assert train("--resume", "auto", "--work-dir", first.parent) == longer  # the newest of all
    assert "no folder images_tr" in fails(capsys, train, "--resume", "auto", "--work-dir", first.parent, "--data_root",
                                          first)  # a run of the defaults, of which there is none yet
    (first.parent / "empty").mkdir()
    (first.parent / "empty" / "args.json").write_text("{")
    shutil.copytree(first, first.parent / "not saved", ignore=shutil.ignore_patterns("*.pth"))
    shutil.copytree(first, first.parent / "odd", ignore=shutil.ignore_patterns("*.pth"))
    (first.parent / "odd" / "args.json").write_text('{"args": {"save_path": 5}}')
    assert train(*auto, "--lr", "2e-3") == second
    assert "--resume has an empty value" in fails(capsys, train, "--resume", "")


def test_deterministic_is_one_of_a_runs_options(options, capsys):
    folder = train(*[option for option in options if option != "--deterministic"], "--max_epoch", 1)
    assert "--deterministic False, not True" in fails(capsys, train, "--resume", folder, "--deterministic")


def test_checkpoints_in_a_place_of_their_own(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = train(*options, "--max_epoch", 1, "--save_path", "weights")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train("--resume", folder, "--max_epoch", 2) == folder
    assert torch.load(tmp_path / "weights" / "last.pth", weights_only=True)["epoch"] == 2
    second = [*options, "--max_epoch", 1, "--loss", "bce", "--save_path"]
    assert "weights/best.pth belongs to another run" in fails(capsys, train, *second, "../weights")
    second = train(*second, "others")
    shutil.copy("others/last.pth", tmp_path / "weights")
    assert f"belongs to the run {second.name}" in fails(capsys, train, "--resume", folder, "--max_epoch", 3)
    assert evaluate("--weights_path", folder)["run"] == folder.name
    shutil.copy("others/best.pth", tmp_path / "weights")
    error = fails(capsys, evaluate, "--weights_path", folder)
    assert f"weights/best.pth belongs to the run {second.name}, and not to {folder}" in error
    assert f"not to {folder}" in fails(capsys, train, *options, "--pretrained_path", folder)
    assert evaluate("--weights_path", tmp_path / "weights" / "best.pth")["run"] == second.name


def test_two_runs_that_start_with_one_save_path(options, tmp_path, monkeypatch, capsys):
    """Also if the first has already finished when the second may write."""
    monkeypatch.setattr("utils.run.run_folder.time.sleep", lambda seconds: None)
    start_run = Train.start_run

    def start_another_in_between(args, *others):
        monkeypatch.setattr("Train.start_run", start_run)
        folder = start_run(args, *others)
        train(*options, "--max_epoch", 1, "--save_path", tmp_path / "weights")
        return folder

    monkeypatch.setattr("Train.start_run", start_another_in_between)
    error = fails(capsys, train, *options, "--max_epoch", 1, "--seed", 7, "--save_path", tmp_path / "weights")
    assert "weights/best.pth belongs to another run" in error
    assert torch.load(tmp_path / "weights" / "best.pth", weights_only=True)["args"]["seed"] != 7
    (tmp_path / "locked").mkdir()
    with run_lock(tmp_path / "locked"):
        error = fails(capsys, train, *options, "--max_epoch", 1, "--save_path", tmp_path / "locked")
    assert "another process is training" in error and not (tmp_path / "locked" / "last.pth").exists()


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "last.pth").unlink(), "there is no"),
    (lambda folder: shutil.rmtree(folder), "is not a run folder"),
    (lambda folder: (folder / "args.json").write_text("[]"), "args.json cannot be read"),
    (lambda folder: (folder / "last.pth").write_bytes(b"0" * 99), "last.pth is not a readable"),
    (lambda folder: shutil.copy(folder / "best.pth", folder / "last.pth"), "is not a last.pth of this version"),
    (lambda folder: rewritten(folder / "last.pth", optimizer=[]), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", state_dict={}), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", log=[{"epoch": 1}]), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", log=3), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", run="another"), "belongs to the run another, and not to"),
    (lambda folder: rewritten(folder / "last.pth", progress={"steps": 3}), "in the middle of an epoch by an older")])
def test_what_cannot_be_resumed(options, capsys, damage, message):
    folder = train(*options, "--max_epoch", 1)
    damage(folder)
    assert message in fails(capsys, train, "--resume", folder, "--max_epoch", 2)


def test_the_split_is_made_again_if_a_list_is_lost(options):
    folder = train(*options)
    for lost in ("train.txt", "val.txt"):
        lists = [(folder / name).read_bytes() for name in ("train.txt", "val.txt")]
        (folder / lost).unlink()
        assert train("--resume", folder) == folder
        for name, content in zip(("train.txt", "val.txt"), lists):
            (folder / name).write_bytes(content)


@pytest.fixture
def every_epoch_is_the_best(monkeypatch):
    monkeypatch.setattr(Train, "validation_metrics", processes.metrics_with_ties)


@pytest.mark.usefixtures("every_epoch_is_the_best")
def test_files_lost_between_two_writes_are_made_again(options, capsys):
    folder = train(*options)
    log, best = (folder / "log.csv").read_bytes(), torch.load(folder / "best.pth", weights_only=True)
    assert best["epoch"] == 2
    for lost in (b"", log[:-9], log + log.splitlines(True)[-1]):
        (folder / "log.csv").write_bytes(lost)
        (folder / "best.pth").unlink()
        train("--resume", folder)
        assert (folder / "log.csv").read_bytes() == log
        assert_equal(torch.load(folder / "best.pth", weights_only=True)["state_dict"], best["state_dict"])
    rows = torch.load(folder / "last.pth", weights_only=True)["log"]
    rewritten(folder / "last.pth", log=[{**rows[0], "val_OF1": 0.6}, rows[1]])
    (folder / "best.pth").unlink()
    capsys.readouterr()
    train("--resume", folder)
    assert f"{folder / 'best.pth'}, of epoch 1, is missing" in capsys.readouterr().err


class OutOfMemory(ImageDataset):
    """In a worker, the system kills it; in the training process, an allocation fails."""

    def __getitem__(self, item):
        if torch.utils.data.get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the manual")


@pytest.mark.parametrize("argv", [["--num_workers", "1"], ["--num_workers", "0"]])
def test_out_of_memory(options, capsys, monkeypatch, argv):
    monkeypatch.setattr(Train, "ImageDataset", OutOfMemory)
    error = fails(capsys, train, *options, *argv)
    assert "probably out of memory (" in error and "fewer --num_workers; with the latter, resume with: python" in error
    error = fails(capsys, train, *options, *argv, "--not-save")
    assert error.endswith("with the latter, start again (no epoch was saved)\n")


class TooSmallSharedMemory(ImageDataset):
    def __getitem__(self, item):
        os.kill(os.getpid(), signal.SIGBUS)


def test_too_small_a_shared_memory(options, capsys, monkeypatch):
    monkeypatch.setattr(Train, "ImageDataset", TooSmallSharedMemory)
    error = fails(capsys, train, *options, "--num_workers", 1)
    assert "/dev/shm" in error and "or use --num_workers 0; once fixed, resume with: python" in error


@pytest.mark.parametrize("epoch, advice", [(1, "once fixed, start again\n"),
                                           (2, "only if it is restored as it was, resume with: python Train.py")])
def test_a_run_is_not_resumed_with_another_image(options, capsys, monkeypatch, epoch, advice):
    """What replaces an unreadable image is refused, and an unread epoch is not worth to restore it."""
    steps = Train.train_one_epoch

    def break_image(network, loader, *rest):
        if loader.batch_sampler.sampler.epoch == epoch:
            loader.dataset.images[0].write_bytes(b"broken")
        return steps(network, loader, *rest)

    monkeypatch.setattr(Train, "train_one_epoch", break_image)
    error = fails(capsys, train, *options)
    assert "cannot be decoded" in error and f"replace or remove it; {advice}" in error, error


def test_a_checkpoint_of_another_run_is_not_of_this_one(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.pth").touch()
    with pytest.raises(InputError, match=r"start again \(no epoch was saved\)$"):
        with explain_how_to_resume(tmp_path, tmp_path / "weights"):
            raise InputError("a full disk")


def test_a_drive_without_locks(options, monkeypatch):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("utils.run.atomic.fcntl.flock", flock)
    train(*options, "--max_epoch", 1)


@pytest.mark.parametrize("metric", ["val_OF1", "val_accuracy"])
def test_the_later_epoch_of_a_tie_is_the_best(metric):
    log = []
    assert best_epoch(log) == (0, -1)
    for epoch, (score, best) in enumerate([(0.5, 1), (0.4, 1), (0.5, 3), (0.6, 4), (0.5, 4)], start=1):
        log.append({"epoch": epoch, "val_OF1": 1 - score, metric: score})
        assert best_epoch(log) == (best, log[best - 1][metric])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_a_lock_ends_with_its_context_and_not_with_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.run.run_folder.time.sleep", lambda seconds: None)
    with run_lock(tmp_path):
        worker = os.fork()
        if not worker:
            signal.pause()
        with pytest.raises(InputError, match="another process"), run_lock(tmp_path):
            pass
    try:
        with run_lock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_two_processes_do_not_train_one_run(options, capsys, monkeypatch):
    folder = train(*options, "--max_epoch", 1)
    monkeypatch.setattr("utils.run.run_folder.time.sleep", lambda seconds: None)
    with open(folder / ".lock", "wb") as lock:
        import fcntl
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is training" in fails(capsys, train, "--resume", folder, "--max_epoch", 2)
    train("--resume", folder, "--max_epoch", 2)


# A full disk

@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["last.pth", "best.pth", "log.csv"])
@pytest.mark.usefixtures("every_epoch_is_the_best")
def test_a_full_disk(options, capsys, monkeypatch, name):
    """The kernel's own ENOSPC, in the second epoch: then there is room again."""
    whole = train(*options)
    save = Train.save_progress

    def fill_and_save(*state, start):
        epoch = len(state[-1])

        def fill_and_start(write):
            folder = next(path for path in whole.parent.iterdir() if path != whole)
            start(lambda: ((epoch == 2 and os.symlink("/dev/full", folder / f"{name}.0.partial")), write()))

        save(*state, start=fill_and_start)

    with monkeypatch.context() as patch:
        patch.setattr(Train, "save_progress", fill_and_save)
        patch.setattr("utils.run.atomic.token_hex", lambda size: "0")
        error = fails(capsys, train, *options)
    folder = next(path for path in whole.parent.iterdir() if path != whole)
    assert str(folder / name) in error and "No space left on device" in error
    assert f"; once fixed, resume with: python Train.py --resume {shlex.quote(str(folder))}\n" in error
    assert not list(folder.glob("*.partial"))
    done = torch.load(folder / "last.pth", weights_only=True)["epoch"]
    assert done == (1 if name == "last.pth" else 2) and torch.load(folder / "best.pth", weights_only=True)["epoch"] == 1
    assert len((folder / "log.csv").read_text().splitlines()) == (3 if name == "best.pth" else 2)
    train("--resume", folder)
    assert_equal_runs(whole, folder)


# The same log every time

@pytest.mark.parametrize("dataset", ["UCM_Multilabel", "AID"])
def test_the_same_log_with_any_number_of_workers(ucm, scenes, options, dataset):
    logs = [(train(*options, "--dataset", dataset, "--not-save", "--num_workers", workers) / "log.csv").read_bytes()
            for workers in (0, 0, 2)]
    assert logs[0] == logs[1] == logs[2] and b"images_per_second" not in logs[0]


def test_deterministic_algorithms(options):
    train(*options, "--max_epoch", 1)
    assert torch.are_deterministic_algorithms_enabled()
    train(*[option for option in options if option != "--deterministic"], "--max_epoch", 1)
    assert not torch.are_deterministic_algorithms_enabled()


# Losses that are not finite

def test_the_step_that_is_not_finite_is_named(options, monkeypatch, capsys):
    loaded, get, build = [], ImageDataset.__getitem__, Train.build_criterion

    def loss_that_fails(args):
        loss = build(args)
        loss.register_forward_hook(lambda module, inputs, output: (
            output[0] * (float("inf") if len(loaded) > 22 + 8 else 1), output[1]))
        return loss

    def get_and_note(self, item):
        loaded.extend([self.images[item[0]]] if isinstance(item, tuple) else [])
        return get(self, item)

    monkeypatch.setattr(Train, "build_criterion", loss_that_fails)
    monkeypatch.setattr(ImageDataset, "__getitem__", get_and_note)
    error = fails(capsys, train, *options)
    assert "error: epoch 2, step 3: loss inf, feature " in error and ", gradient norm " in error, error
    assert f"images of this step: {', '.join(map(str, loaded[22 + 8:22 + 12]))}\n" in error
    folder, = Path(options[options.index("--work-dir") + 1]).iterdir()
    assert torch.load(folder / "last.pth", weights_only=True)["epoch"] == 1
    assert torch.load(folder / "nonfinite.pth", weights_only=True)["state_dict"]
    assert len((folder / "log.csv").read_text().splitlines()) == 2
    again = fails(capsys, train, "--resume", folder)  # nothing but the progress bar's position differs
    assert "epoch 2, step 1" in again  # the hook counts on
