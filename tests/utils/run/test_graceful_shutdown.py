"""Signals: which of them stop a program, after what, and with which sentence."""

import os
import signal

import pytest

from utils.errors import Interrupted
from utils.run.graceful_shutdown import graceful_shutdown, stop_if_requested

STOPPING = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)]


@pytest.fixture(params=STOPPING)
def number(request):
    number = getattr(signal, request.param)
    handler = signal.getsignal(number)
    yield number
    signal.signal(number, handler)


def fail(number, frame):
    raise AssertionError("the handler of before")


def test_a_signal_stops_after_a_step(number, capfd):
    signal.signal(number, fail)
    with graceful_shutdown(), pytest.raises(Interrupted) as stop:
        os.kill(os.getpid(), number)
        stop_if_requested("3 of 4 steps")
    assert (stop.value.number, stop.value.message) == (number, "3 of 4 steps")
    assert signal.getsignal(number) is fail and "stopping after this step" in capfd.readouterr().err


def test_a_signal_that_is_ignored_stays_so(number):
    """By `nohup`, and by a shell's background jobs."""
    signal.signal(number, signal.SIG_IGN)
    try:
        with graceful_shutdown():
            os.kill(os.getpid(), number)
            stop_if_requested()
    except KeyboardInterrupt:
        pytest.fail("stopped")  # else it stops the tests
    assert signal.getsignal(number) == signal.SIG_IGN


def test_an_error_after_a_signal_is_the_interruption(number):
    """The signal stops a compiler too, and a terminal that is gone can be printed to no more."""
    signal.signal(number, fail)
    with pytest.raises(Interrupted) as stop, graceful_shutdown():
        os.kill(os.getpid(), number)
        raise RuntimeError("CppCompileError: C++ compile error\n" + 2790 * "#include <ATen>\n")
    assert (stop.value.number, stop.value.message) == (number, "the finished steps")
    with pytest.raises(RuntimeError, match="another"), graceful_shutdown():
        raise RuntimeError("another")


def test_a_terminal_that_is_gone_can_be_printed_to_no_more(monkeypatch):
    def write(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("utils.run.graceful_shutdown.os.write", write)
    with graceful_shutdown(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        stop_if_requested()
