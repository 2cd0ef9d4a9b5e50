"""Errors that the user can fix: one clear sentence, no traceback."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress

_NO_ROOM, _NETWORK = "free some space or choose another folder", "check the disk or the network drive"
_ADVICE = {
    errno.ENOSPC: _NO_ROOM, errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: "raise the limit of `ulimit -f`, or choose a folder on another disk",
    errno.EACCES: "change the permissions or choose another folder",
    errno.EPERM: "change the permissions or choose another folder",
    errno.EROFS: "choose another folder", errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit with `ulimit -n 65536`, or use fewer --num_workers",
    errno.ENFILE: "end other programs, or use fewer --num_workers",
    errno.EAGAIN: "raise the limit of processes (`ulimit -u`), or use fewer --num_workers",
    errno.ENOMEM: "end other programs, or use fewer --num_workers",
    errno.EIO: _NETWORK, errno.ESTALE: _NETWORK, errno.ETIMEDOUT: _NETWORK,
}

# Words in torch's errors.
_OTHER_PROCESS = ("another process of this training has ended", "Connection closed by peer",
                  "Connection reset by peer", "gloo/transport")
_SHARED_MEMORY = ("Bus error", "shared memory", "file </torch_")
_MEMORY = ("out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED", "DataLoader worker (pid")


class InputError(ValueError):
    """The user's input cannot be used. The message is one sentence: which file, what is wrong, what to do."""

    def __init__(self, message: str):
        # A DataLoader worker re-raises with its whole traceback as the message: keep the sentence at its end.
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class UnreadableImage(InputError):
    """An image is missing, cannot be decoded, or holds something else than 8 bits per channel."""


class Diverged(InputError):
    """Training diverged (NaN or infinity); resuming it would diverge again."""


class NonFinite(Diverged):
    """A loss or a gradient is NaN or infinite. step: within the epoch, from 1."""

    def __init__(self, step: int, values: dict[str, float]):
        super().__init__(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.step = step


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program. number: of the signal. message: what was done and what to do now."""

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


def describe_error(error: InputError | OSError | RuntimeError | MemoryError) -> str:
    """What to tell the user: for an error of the machine, such as a full disk, what is wrong and what to do.

    Raises:
        OSError, RuntimeError: the error itself, if it is none of the input or the machine.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return "the program that read this output has ended"
    if isinstance(error, OSError):
        if error.filename is None and error.strerror is None:
            raise error
        if not _is_of_lock(error):
            return f"{error.filename or 'the system reports'}: {error.strerror}{advice(error)}"
    # The signal that ended a worker is in the cause; a worker re-raises with its whole traceback as the message.
    text = str(error.__cause__ if isinstance(error.__cause__, RuntimeError) else error)
    reason = (text.rsplit("Error: ", 1)[-1].strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if "Too many open files" in reason or "items of ancdata" in reason:
        return f"too many open files; {_ADVICE[errno.EMFILE]}"
    if isinstance(error, OSError) or any(sign in reason for sign in _SHARED_MEMORY):
        return (f"the shared memory of the loader's workers, /dev/shm, is probably too small ({reason}): enlarge it, "
                "as by `docker run --shm-size=8g`, or use --num_workers 0")
    if is_of_other_process(error):
        return f"{_OTHER_PROCESS[0]}: see what it or the system says of it"
    if isinstance(error, MemoryError) or any(sign in reason for sign in _MEMORY):
        return f"probably out of memory ({reason}): use a smaller --image_size or batch size, or fewer --num_workers"
    raise error


def is_of_other_process(error: BaseException) -> bool:
    """Whether it only says that a process that trains together with this one has ended."""
    return any(sign in str(error) for sign in _OTHER_PROCESS)


def advice(error: Exception) -> str:
    """What to do, after a semicolon; nothing for an error that explains itself or has many causes."""
    number = getattr(error, "errno", None)
    return f"; {_ADVICE[number]}" if number in _ADVICE else ""


def _is_of_lock(error: OSError) -> bool:
    """Whether it is of a lock between processes, which is a nameless file in /dev/shm."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.endswith("synchronize.py")


def exit_quietly_on_ctrl_c() -> None:
    """Until `exit_cleanly` takes over, which the slow imports delay by seconds, Ctrl-C prints no traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and is not ignored
        signal.signal(signal.SIGINT, _quit)


def _quit(number: int, frame) -> None:
    _report("interrupted", 130)
    os._exit(130)


def exit_cleanly(main: Callable[[], object]) -> None:
    """Run a program's `main`. Exit code 2 and one sentence for unusable input or a machine that cannot do it, 130 for
    Ctrl-C, 143 for SIGTERM. What the terminal or the file that it prints to cannot show, it prints escaped; what it
    prints to a closed stream is lost."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - until the program ends
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except (InputError, OSError, RuntimeError, MemoryError) as error:
        sys.exit(_report(f"error: {describe_error(error)}", 2))
    except Interrupted as stop:
        sys.exit(_report(f"interrupted; {stop.message}", 128 + stop.number))
    except KeyboardInterrupt:
        sys.exit(_report("interrupted", 130))


def _report(message: str, code: int) -> int:
    with suppress(OSError):  # the terminal may be gone
        print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    return code
