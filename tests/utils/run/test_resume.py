"""A run that is stopped, however, and gone on with is bit by bit the run that was not."""

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
from dataset import ImageDataset, ShuffledImages
from processes import Stop
from programs import fails
from utils.errors import InputError, exit_cleanly
from utils.run.resume import TrainingState
from utils.run.run_folder import run_lock

SMALL = ["--model", "Small", "--pretrained", "none", "--image_size", "64", "--train_batch_size", "4", "--lr",
         "1e-3", "--device", "cpu", "--deterministic"]


def same(one, other) -> int:
    """Assert that two values, and all tensors in them, are equal bit by bit. Returns the tensors' bytes."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one.contiguous().view(-1).view(torch.uint8),
                                                        other.contiguous().view(-1).view(torch.uint8))
        return one.nbytes
    if isinstance(one, dict):
        assert list(one) == list(other)
        return sum(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        assert len(one) == len(other)
        return sum(map(same, one, other))
    assert one == other or one != one and other != other  # NaN
    return 0


def same_run(one: Path, other: Path) -> int:
    """Assert that two runs' logs and checkpoints are equal, save for their options. Returns the bytes that are."""
    assert (one / "log.csv").read_bytes() == (other / "log.csv").read_bytes()
    assert not list(other.glob("*.partial"))
    equal = (one / "log.csv").stat().st_size
    for name in ("best.pth", "last.pth"):
        contents = [torch.load(folder / name, weights_only=True) for folder in (one, other)]
        for content in contents:
            content.pop("args")
            content.pop("run")
            content.get("progress", {}).pop("seconds", None)
        equal += same(*contents)
    return equal


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
    """The exit codes of the processes of a run that was stopped and goes on to its end at last, and its folder."""
    argv, codes = [*SMALL, *options, "--work-dir", work_dir, "--resume", "auto"], []
    for stop in [*stops, None]:
        code, printed = start(argv, stop)
        codes.append(code)
        assert "Traceback" not in printed, printed
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
    """An epoch has 6 steps of training and one of evaluation, and writes last.pth, log.csv and best.pth; whatever
    process goes on with the run writes them at its start as well, best.pth after a whole epoch alone."""
    options = ["--dataset", "UCM_Multilabel", "--data_root", ucm, "--max_epoch", 8]
    _, whole = stop_and_resume(start, [], tmp_path / "whole", *options)
    codes, stopped = stop_and_resume(start, [
        Stop("KILL", "open last.pth", 1), Stop("KILL", "rename last.pth", 1),  # before there is anything
        Stop("KILL", "training", 3), Stop("TERM", "training", 2), Stop("KILL", "open last.pth", 3),  # of epoch 2
        Stop("INT", "evaluation", 1), Stop("KILL", "rename last.pth", 2), Stop("KILL", "open log.csv", 2),  # of epoch 2
        Stop("KILL", "rename log.csv", 2), Stop("KILL", "open best.pth", 2), Stop("KILL", "rename best.pth", 2),
        Stop("TERM", "open last.pth", 2), Stop("INT", "rename best.pth", 1)], tmp_path / "stopped", *options)
    assert codes == [-9, -9, -9, 143, -9, 130, -9, -9, -9, -9, -9, 143, 130, 0]
    assert same_run(whole, stopped) > 20_000
    assert epochs_before(stopped) == [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7]


def epochs_before(folder: Path) -> list[int]:
    """After how many epochs a run was gone on with."""
    return [again["after_epoch"] for again in json.loads((folder / "args.json").read_text())["resumed"]]


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
           gone_on_after_epochs=epochs_before(stopped), bytes_equal=same_run(whole, stopped))


@pytest.mark.parametrize("name, code", [("INT", 130), ("TERM", 143)])
def test_a_signal_to_all_processes(start, options, name, code):
    """As a terminal sends it, to the workers too; then the command that it says."""
    whole = [*options, "--max_epoch", 3, "--num_workers", 2]
    stopped, said = start(whole, Stop(name, "training", 8, to_all=True))
    assert stopped == code and said.count("stopping after this step") == 1 and "Traceback" not in said, said
    command = shlex.split(said.rsplit("go on with: python ", 1)[1])
    assert command[0] == "Train.py"
    code, said = start(command[1:])
    assert code == 0 and " after 1 of 3 epochs and 2 steps" in said, said
    start([*whole, "--num_workers", 0])
    folders = sorted(Path(command[-1]).parent.iterdir())
    assert len(folders) == 2
    same_run(*folders)


def test_a_second_ctrl_c_stops_at_once(options, monkeypatch, capsys):
    get, handler = ImageDataset.__getitem__, signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("utils.run.graceful_shutdown._SAME_TIME", -1)  # no two signals are one
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
    about = json.loads((folder / "args.json").read_text())
    assert about["args"]["max_epoch"] == 3 and about["args"]["data_root"] == options[options.index("--data_root") + 1]
    assert epochs_before(folder) == [1] and about["resumed"][0]["command"] == "python Train.py --resume 'a b'"
    before = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    assert f"--max_epoch 2, but {folder} has 3 finished epochs" in fails(capsys, train, "--resume", folder,
                                                                         "--max_epoch", 2)
    assert train("--resume", folder) == folder
    assert "after 3 of 3 epochs; a larger --max_epoch would train on" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == before


@pytest.mark.parametrize("argv, difference", [
    (["--model", "Resnet-18"], "--model Small, not Resnet-18"), (["--loss", "bce"], "--loss r4c, not bce"),
    (["--lr", "0.5", "--seed", "1"], "--lr 0.001, not 0.5, --seed 3050, not 1"), (["--dataset", "AID"], "--dataset"),
    (["--train_batch_size", "8"], "--train_batch_size 4, not 8"), (["--amp"], "--amp False, not True"),
    (["--save_path", "elsewhere"], "--save_path None, not"), (["--label_num", "5"], "the data has 4 labels")])
def test_other_options_are_refused(options, capsys, argv, difference):
    folder = train(*options, "--max_epoch", 1)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"}
    assert difference in fails(capsys, train, "--resume", folder, *argv)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"} == before


def test_other_data_are_refused_and_moved_data_are_not(options, ucm, tmp_path, capsys):
    folder = train(*options, "--max_epoch", 1)
    moved = ucm.rename(tmp_path / "elsewhere")
    assert "there is no folder" in fails(capsys, train, "--resume", folder, "--max_epoch", 2)
    go_on = ["--resume", folder, "--data_root", moved, "--max_epoch", 2]
    table = moved / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt"
    good = table.read_text()
    table.write_text(good.replace("water", "lake"))
    assert "started with other labels: airplane, bare-soil, grass, water, and" in fails(capsys, train, *go_on)
    trained_on = (folder / "train.txt").read_text().split("\n")[3].split("/")[-1].split(".")[0]
    row = next(line for line in good.split("\n") if line.startswith(trained_on))
    table.write_text(good.replace(row, row[:-1] + str(1 - int(row[-1]))))
    error = fails(capsys, train, *go_on)
    assert "other labels of 1 image" in error and trained_on in error or "other images than" in error
    table.write_text(good)
    image = next(moved.rglob(f"{trained_on}.tif"))
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    error = fails(capsys, train, *go_on)
    assert "with other images than 1 image" in error and str(image) in error
    image.write_bytes(content)
    assert train(*go_on) == folder and len((folder / "log.csv").read_text().splitlines()) == 3


def test_auto(options, capsys):
    auto = [*options, "--resume", "auto"]
    first = train(*auto)  # there is none to go on with
    other = train(*auto, "--lr", "2e-3")
    assert first != other
    log = (first / "log.csv").read_bytes()
    assert train(*auto) == first and (first / "log.csv").read_bytes() == log
    longer = train(*auto, "--max_epoch", 3)  # with another course of the learning rate
    assert longer not in (first, other) and len(list(first.parent.iterdir())) == 3
    assert train("--resume", "auto", "--work-dir", first.parent) == longer  # the newest of all
    assert "no folder images_tr" in fails(capsys, train, "--resume", "auto", "--work-dir", first.parent, "--data_root",
                                          first)  # a run of the defaults, of which there is none yet
    (first.parent / "empty").mkdir()
    (first.parent / "empty" / "args.json").write_text("{")
    shutil.copytree(first, first.parent / "not saved", ignore=shutil.ignore_patterns("*.pth"))
    shutil.copytree(first, first.parent / "odd", ignore=shutil.ignore_patterns("*.pth"))
    (first.parent / "odd" / "args.json").write_text('{"args": {"save_path": 5}}')
    assert train(*auto, "--lr", "2e-3") == other
    assert "is no folder of a run" in fails(capsys, train, "--resume", "")


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
    other = train(*options, "--max_epoch", 1, "--save_path", "../weights", "--loss", "bce")
    assert f"is of the run {other.name}" in fails(capsys, train, "--resume", folder, "--max_epoch", 3)


@pytest.mark.parametrize("damage, sentence", [
    (lambda folder: (folder / "last.pth").unlink(), "there is no"),
    (lambda folder: shutil.rmtree(folder), "no folder of"),
    (lambda folder: (folder / "args.json").write_text("[]"), "args.json cannot be read"),
    (lambda folder: (folder / "last.pth").write_bytes(b"0" * 99), "last.pth is not a readable"),
    (lambda folder: shutil.copy(folder / "best.pth", folder / "last.pth"), "is no last.pth of this version"),
    (lambda folder: rewritten(folder / "last.pth", order=[]), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", state_dict={}), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", progress={"other": 1}), "last.pth does not fit"),
    (lambda folder: rewritten(folder / "last.pth", python=3), "last.pth does not fit")])
def test_what_cannot_be_gone_on_with(options, capsys, damage, sentence):
    folder = train(*options, "--max_epoch", 1)
    damage(folder)
    assert sentence in fails(capsys, train, "--resume", folder, "--max_epoch", 2)


@pytest.fixture
def every_epoch_is_the_best(monkeypatch):
    monkeypatch.setattr(Train, "multilabel_metrics", processes.metrics_with_ties)


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
        same(torch.load(folder / "best.pth", weights_only=True)["state_dict"], best["state_dict"])
    rewritten(folder / "last.pth", best_epoch=1)
    (folder / "best.pth").unlink()
    capsys.readouterr()
    train("--resume", folder)
    assert f"{folder / 'best.pth'}, of epoch 1, is lost" in capsys.readouterr().err


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
    assert "out of memory, it seems (" in error and "fewer --num_workers; with the latter, go on with: python" in error
    assert "with the latter, nothing was saved (--not-save)\n" in fails(capsys, train, *options, *argv, "--not-save")


def test_a_drive_without_locks(options, monkeypatch):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("utils.run.atomic.fcntl.flock", flock)
    train(*options, "--max_epoch", 1)


def test_the_best_network_is_that_of_a_finished_epoch():
    model = torch.nn.Linear(1, 1)
    state = TrainingState(model, torch.optim.Adam(model.parameters()), ShuffledImages(range(3), 0), torch.Generator())
    assert not state.is_best
    for score, is_best in ((0.5, True), (0.4, False), (0.5, True)):
        state.finish_epoch({}, score)
        assert state.is_best == is_best
    state.progress.steps = 1
    assert not state.is_best


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
        assert "trained by another process" in fails(capsys, train, "--resume", folder, "--max_epoch", 2)
    train("--resume", folder, "--max_epoch", 2)


# A full disk

@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["last.pth", "best.pth", "log.csv"])
@pytest.mark.usefixtures("every_epoch_is_the_best")
def test_a_full_disk(options, capsys, monkeypatch, name):
    """The kernel's own ENOSPC, in the second epoch: then there is room again."""
    whole = train(*options)
    finish = Train.TrainingState.finish_epoch

    def finish_and_fill(state, *row):
        finish(state, *row)
        if state.epoch == 2:
            os.symlink("/dev/full", next(path for path in whole.parent.iterdir() if path != whole) / f"{name}.partial")

    with monkeypatch.context() as patch:
        patch.setattr(Train.TrainingState, "finish_epoch", finish_and_fill)
        error = fails(capsys, train, *options)
    folder = next(path for path in whole.parent.iterdir() if path != whole)
    assert str(folder / name) in error and "No space left on device" in error
    assert f"; when that is mended, go on with: python Train.py --resume {shlex.quote(str(folder))}\n" in error
    assert not list(folder.glob("*.partial"))
    done = torch.load(folder / "last.pth", weights_only=True)["epoch"]
    assert done == (1 if name == "last.pth" else 2) and torch.load(folder / "best.pth", weights_only=True)["epoch"] == 1
    assert len((folder / "log.csv").read_text().splitlines()) == (3 if name == "best.pth" else 2)
    train("--resume", folder)
    same_run(whole, folder)


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


# Losses that are no numbers

def test_the_step_that_is_not_finite_is_named(options, monkeypatch, capsys):
    loaded, get, build = [], ImageDataset.__getitem__, Train.build_loss_from

    def loss_that_fails(args):
        loss = build(args)
        loss.register_forward_hook(lambda module, inputs, output: (
            output[0] * (float("inf") if len(loaded) > 22 + 8 else 1), output[1]))
        return loss

    def get_and_note(self, item):
        loaded.extend([self.images[item[0]]] if isinstance(item, tuple) else [])
        return get(self, item)

    monkeypatch.setattr(Train, "build_loss_from", loss_that_fails)
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
