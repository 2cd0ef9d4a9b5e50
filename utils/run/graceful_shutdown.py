"""Ctrl-C and SIGTERM stop a long work between two of its steps, so that what it did can be kept."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_start_method, parent_process

from utils.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_TIME = 0.5  # s
_received: list[tuple[int, float]] = []


@contextmanager
def graceful_shutdown() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM are answered by `stop_if_requested`; a second Ctrl-C at once."""
    if threading.current_thread() is not threading.main_thread():  # the only one that can take signals
        yield
        return
    before = {number: signal.signal(number, _receive) or signal.SIG_DFL for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def _receive(number: int, frame) -> None:
    own = number, time.monotonic()
    _received.append(own)  # a second signal may come between any two lines
    # Some programs pass on a signal that reached all processes already: that one comes at the same time.
    if number == signal.SIGINT and own[1] - _received[0][1] > _SAME_TIME:
        raise KeyboardInterrupt
    if _received[0] is own:
        os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")  # print may be in use


def stop_requested() -> bool:
    """Whether a signal was received within `graceful_shutdown`."""
    return bool(_received)


def stop_if_requested() -> None:
    """Raise Interrupted where a signal was received."""
    if stop_requested():
        raise Interrupted(_received[0][0])


def leave_signals_to_main_process(worker: int) -> None:
    """For a loader's workers: who signals all processes, as a terminal does, lets the main one finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_the_main_process, daemon=True).start()


def _end_with_the_main_process() -> None:
    """When it says so, or is gone; torch's own watch misses one that was killed while its workers were starting."""
    main = parent_process()
    while main.is_alive() if get_start_method() == "forkserver" else os.getppid() == main.pid:
        received = signal.sigtimedwait({signal.SIGTERM}, 1)
        if received and received.si_pid == main.pid:
            break
    os._exit(0)
