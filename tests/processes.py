"""Train.py in a process of its own, to which a signal comes at a moment that is counted and not timed: the same on a
slow or a busy machine.
"""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import sklearn.metrics  # noqa: F401 - the processes are forked with it and need not import it
from torch.nn.modules.module import register_module_forward_hook

import small_network
import Train
from loss import R4CLoss
from utils.errors import exit_cleanly
from utils.metrics import validation_metrics
from utils.run import graceful_shutdown


class Stop(NamedTuple):
    """Send `name` when `what` happens for the `times`-th time in the process, and `delay` seconds later.

    what: "training", a step has its loss; "evaluation", a batch has its scores; "open FILE" and "rename FILE", a file
    of the run is about to be written, and the complete file about to take the older one's place. to_all: send it to the
    workers as well, as a terminal does, and twice, as programs do that pass on a signal.
    """

    name: str
    what: str
    times: int
    delay: float = 0.0
    to_all: bool = False


def send(stop: Stop) -> None:
    """Arrange for the signal."""
    number, left = getattr(signal, f"SIG{stop.name}"), stop.times

    def now() -> None:
        if not stop.to_all:
            os.kill(os.getpid(), number)
            return
        sender = os.fork()  # for a worker, what the main process sends is an order
        if not sender:
            signal.signal(number, signal.SIG_IGN)
            os.killpg(0, number)
            os.killpg(0, number)
            os._exit(0)
        os.waitpid(sender, 0)

    def happens(what: str) -> None:
        nonlocal left
        left -= what == stop.what
        if what == stop.what and left == 0:
            threading.Timer(stop.delay, now).start() if stop.delay else now()

    def in_network(module, inputs, output) -> None:
        if isinstance(module, R4CLoss):
            happens("training")
        elif isinstance(module, small_network.SmallNetwork) and not module.training:
            happens("evaluation")

    def in_system(event: str, args: tuple) -> None:
        if event == "open" and str(args[0]).endswith(".partial"):
            happens(f"open {Path(args[0]).name.rsplit('.', 2)[0]}")
        elif event == "os.rename":
            happens(f"rename {Path(args[1]).name}")

    register_module_forward_hook(in_network)
    sys.addaudithook(in_system)


def metrics_with_ties(*args) -> dict[str, float]:
    """Each epoch is the best so far: what is written when does not depend on what a machine learns."""
    return validation_metrics(*args) | {"OF1": 0.5}


def train(argv: list[str], stop: Stop | None, output: Path) -> None:
    """A program for `multiprocessing`, which leads its own group of processes. What it prints goes into `output`."""
    os.setsid()
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    multiprocessing.set_start_method(None, force=True)  # Python's default, as for any program; a child has its own
    small_network.register()
    Train.save_figure = lambda figure, path: None
    graceful_shutdown._SAME_SIGNAL = 3600  # s; a busy machine may take its time between two signals that are one
    Train.validation_metrics = metrics_with_ties
    if stop:
        send(stop)
    exit_cleanly(lambda: Train.main(argv))
