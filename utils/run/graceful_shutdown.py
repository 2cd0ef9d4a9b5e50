"""Stop gracefully after the current step on Ctrl-C, and on the signals of a scheduler or of a terminal that closes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_start_method, parent_process

from utils.errors import Interrupted

# As far as the system has them: Slurm warns with SIGUSR1 or another one, SIGXCPU warns of a limit of processor time.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
            if hasattr(signal, name)]
_SAME_SIGNAL = 0.5  # s
_received: list[tuple[int, float]] = []


@contextmanager
def graceful_shutdown() -> Iterator[None]:
    """Inside, `stop_if_requested` answers the signals; only a second Ctrl-C stops at once. Signals that are ignored, as
    nohup has it, stay so.

    Raises:
        Interrupted: for any error after a signal, which may have stopped a compiler or closed the terminal as well.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    previous = {number: signal.signal(number, _receive) or signal.SIG_DFL for number in _SIGNALS
                if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    except Exception as error:
        if not _received:
            raise
        raise Interrupted(_received[0][0], "the finished steps") from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _received.clear()


def _receive(number: int, frame) -> None:
    received = number, time.monotonic()
    _received.append(received)  # a second signal may arrive between any two lines
    # Some launchers forward a signal that all processes have received already: it arrives at about the same time.
    if number == signal.SIGINT and received[1] - _received[0][1] > _SAME_SIGNAL:
        raise KeyboardInterrupt
    if _received[0] is received:
        message = b"\nstopping after this step; press Ctrl-C again to stop at once\n"
        with suppress(OSError):  # the terminal may be gone; of several processes, the main one alone has it
            os.write(sys.stderr.fileno(), message)  # print may be in use


def stop_if_requested(progress: str = "") -> None:
    """Raise Interrupted, with `progress` for its message, if a signal was received."""
    if _received:
        raise Interrupted(_received[0][0], progress)


def leave_signals_to_main_process(worker: int) -> None:
    """For a loader's workers: a signal to all processes, as of a terminal, lets the main one finish its step."""
    for number in _SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_with_main_process, daemon=True).start()


def _exit_with_main_process() -> None:
    """Exit when the main process terminates this worker or is gone; torch's own check misses a main process that was
    killed while its workers were starting."""
    main = parent_process()
    while main.is_alive() if get_start_method() == "forkserver" else os.getppid() == main.pid:
        received = signal.sigtimedwait({signal.SIGTERM}, 1)
        if received and received.si_pid == main.pid:
            break
    os._exit(0)
