"""Errors that the user can fix: one clear sentence, no traceback."""

import os
import signal
import sys
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """The user's input cannot be used. The message is one sentence: which file, what is wrong, what to do."""

    def __init__(self, message: str):
        # A DataLoader worker re-raises with its whole traceback as the message: keep the sentence at its end.
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class Diverged(InputError):
    """Training diverged (NaN or infinity); resuming it would diverge again."""


class NonFinite(Diverged):
    """A loss or a gradient is NaN or infinite. step: within the epoch, from 1."""

    def __init__(self, step: int, values: dict[str, float]):
        super().__init__(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.step = step


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program. number: SIGINT or SIGTERM. message: what was done and what to do now."""

    def __init__(self, number: int, message: str = ""):
        super().__init__(message)
        self.number, self.message = number, message


def warn(message: str) -> None:
    """Print to stderr what may be wrong but does not stop the program."""
    print(f"warning: {message}", file=sys.stderr)


_topics: set[str] = set()


def warn_once(topic: str, message: str) -> None:
    """Warn, unless there has been a warning on this topic in this process."""
    if topic not in _topics:
        _topics.add(topic)
        warn(message)


def summarize_names(names: Iterable[str], noun: str) -> str:
    """'3 images (a, b, ...)' for noun = "image"."""
    names = list(names)
    plural = noun if len(names) == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{len(names)} {plural} ({', '.join(names[:2] + ['...'] * (len(names) > 2))})"


def describe_error(error: InputError | OSError) -> str:
    """What to tell the user; for an error of the system, such as a full disk, the file's name and what to do.

    Raises:
        OSError: the error itself, if it carries no description.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return "the program that read this output has ended"
    if error.filename is None and error.strerror is None:
        raise error
    name = error.filename or "a file could not be written"
    return f"{name}: {error.strerror}; free some space or choose another folder"


def exit_quietly_on_ctrl_c() -> None:
    """Until `exit_cleanly` takes over, which the slow imports delay by seconds, Ctrl-C prints no traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and is not ignored
        signal.signal(signal.SIGINT, _quit)


def _quit(number: int, frame) -> None:
    _report("interrupted", 130)
    os._exit(130)


def exit_cleanly(main: Callable[[], object]) -> None:
    """Run a program's `main`. Exit code 2 and one sentence for unusable input, 130 for Ctrl-C, 143 for SIGTERM."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(_report(f"error: {describe_error(error)}", 2))
    except Interrupted as stop:
        sys.exit(_report(f"interrupted; {stop.message}", 128 + stop.number))
    except KeyboardInterrupt:
        sys.exit(_report("interrupted", 130))


def _report(message: str, code: int) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    return code
