"""One sentence for an error that the user can fix, with advice that fits; a traceback for any other."""

import errno
import io
import multiprocessing
import os
import sys

import pytest
import torch
from tqdm import tqdm

from utils.errors import describe_error, exit_cleanly
from utils.run.checkpoint import save_checkpoint

IN_WORKER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File"


@pytest.mark.parametrize("number, advice", [
    (errno.ENOSPC, "free some space or choose another folder"), (errno.EDQUOT, "free some space"),
    (errno.EACCES, "change the permissions"), (errno.EROFS, "choose another folder"), (errno.EFBIG, "`ulimit -f`"),
    (errno.EMFILE, "`ulimit -n 65536`"), (errno.ENAMETOOLONG, "choose a shorter name"),
    (errno.EIO, "check the disk or the network drive"), (errno.ENOMEM, "fewer --num_workers"),
    (errno.EISDIR, None), (errno.ENOENT, None)])
def test_advice_fits_the_error(tmp_path, monkeypatch, number, advice):
    error = OSError(number, os.strerror(number), "file.csv")

    def save(content, file):
        raise error

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(ValueError) as refused:
        save_checkpoint(tmp_path / "last.pth", {})
    for sentence in (describe_error(error), str(refused.value)):
        assert os.strerror(number) in sentence and ("free some space" in sentence) == (
            number in (errno.ENOSPC, errno.EDQUOT))
        assert advice in sentence if advice else sentence.endswith((os.strerror(number), f"{os.strerror(number)})"))


@pytest.mark.parametrize("message", [
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit.",
    f"{IN_WORKER} RuntimeError: unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left (28)",
    f"{IN_WORKER} RuntimeError: unable to write to file </torch_7_1_0>: No space left on device (28)",
    f"{IN_WORKER} RuntimeError: unable to resize file </torch_7_1_0> to the right size: Invalid argument (22)"])
def test_too_small_a_shared_memory_is_named(message):
    sentence = describe_error(RuntimeError(message))
    assert "/dev/shm" in sentence and "`docker run --shm-size=8g`, or use --num_workers 0" in sentence
    assert "\n" not in sentence and "Caught" not in sentence and "out of memory" not in sentence


def test_a_lock_between_processes_is_of_the_shared_memory(monkeypatch):
    monkeypatch.setattr("multiprocessing.synchronize.SemLock._make_name", lambda lock: "/no/such/name")
    with pytest.raises(OSError) as error:
        multiprocessing.Lock()
    assert "/dev/shm" in describe_error(error.value)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(f"{IN_WORKER} MemoryError: Unable to allocate 2 GiB"),
    RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
    RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")])
def test_out_of_memory(error):
    sentence = describe_error(error)
    assert sentence.startswith("probably out of memory (") and sentence.endswith("or fewer --num_workers")
    assert "Caught" not in sentence and "(): " not in sentence


@pytest.mark.parametrize("message", [
    "Too many open files. Communication with the workers is no longer possible. Please increase the limit",
    "unable to open shared memory object </torch_7_1_0> in read-write mode: Too many open files (24)",
    f"{IN_WORKER} RuntimeError: received 0 items of ancdata"])
def test_too_many_open_files(message):
    assert describe_error(RuntimeError(message)) == (
        "too many open files; raise the limit with `ulimit -n 65536`, or use fewer --num_workers")


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(),
                                   RuntimeError(f"{IN_WORKER} RuntimeError: stack expects each tensor to be equal"),
                                   RecursionError("maximum recursion depth exceeded")])
def test_mistakes_in_the_code_show_their_traceback(error):
    with pytest.raises(type(error)) as raised:
        exit_cleanly(lambda: describe_error(error))
    assert raised.value is error


def test_what_cannot_be_shown_is_printed_escaped(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr(sys, "stdout", output)
    exit_cleanly(lambda: print("Gewässer, 水, \udcff", flush=True))
    assert output.buffer.getvalue().strip() == b"Gew\xe4sser, \\u6c34, \\udcff"


def test_closed_streams(monkeypatch):
    """Python has None in their place, which tqdm cannot write to."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    exit_cleanly(lambda: list(tqdm([1], desc="lost")))
    sys.stdout.close()
    sys.stderr.close()


def test_a_terminal_that_is_gone_does_not_change_the_exit_code(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    def hang_up():
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    with pytest.raises(SystemExit) as stop:
        exit_cleanly(hang_up)
    assert stop.value.code == 2
