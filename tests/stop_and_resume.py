"""Train a run that is stopped again and again, and goes on each time: a program, for the moments must be its own.

    python tests/stop_and_resume.py SEED STOPS OPTION ...     options of Train.py, with --resume auto

STOPS is a list such as "KILL:training,TERM:evaluation,KILL:checkpoint,KILL:anything": which signal a process sends to
itself, and in what, the second to fourth time that it does it, after a random delay. After the last one, the
run goes on to its end. Prints a line of json per process: what it was doing when the signal came ("" where it ended
before), and its exit code.
"""

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # so small a network is not faster with more
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import Train  # noqa: E402
from utils.errors import exit_cleanly  # noqa: E402

# What a process is doing, by a function that is running; the first that fits.
DOING = {"save_checkpoint": "checkpoint", "write_log": "log", "predict": "evaluation", "train_one_epoch": "training"}
LONGEST_DELAY = {"checkpoint": 0.05, "log": 0.005, "evaluation": 0.01, "training": 0.3, "anything": 1.5}  # s


def doing(thread: int) -> str:
    frame, names = sys._current_frames().get(thread), set()
    while frame:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return next((what for name, what in DOING.items() if name in names), "anything")


def stop_later(number: int, when: str, times: int, delay: float, main_thread: int, report: int) -> None:
    before = ""
    while times and when != "anything":
        now = doing(main_thread)
        times -= before != now == when
        before = now
        time.sleep(0.0005)
    time.sleep(delay)
    os.write(report, doing(main_thread).encode())
    os.kill(os.getpid(), number)


def run(argv: list[str], stop: tuple[int, str, int, float] | None) -> dict:
    """Go on with the run in a process of its own, forked so that it need not import everything again."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        code = 1
        try:
            if stop:
                threading.Thread(target=stop_later, args=(*stop, threading.get_ident(), writing), daemon=True).start()
            exit_cleanly(lambda: Train.main(argv))
            code = 0
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading) as pipe:
        return {"doing": pipe.read(), "exit": os.waitstatus_to_exitcode(status)}


def main(seed: str, stops: str, *argv: str) -> None:
    draw = random.Random(int(seed))
    os.dup2(2, 1)  # what Train.py prints
    for stop in filter(None, stops.split(",")):
        name, when = stop.split(":")
        moment = draw.randint(2, 4), draw.uniform(0, LONGEST_DELAY[when])
        report = run(list(argv), (getattr(signal, f"SIG{name}"), when, *moment))
        os.write(RESULTS, (json.dumps({"signal": name, **report}) + "\n").encode())
    os.write(RESULTS, (json.dumps(run(list(argv), None)) + "\n").encode())


if __name__ == "__main__":
    RESULTS = os.dup(1)
    main(*sys.argv[1:])
