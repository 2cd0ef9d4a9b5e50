"""Errors that are the input's fault: one clear sentence for the user, no traceback."""

import os
import sys
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one sentence: which file, and what to do."""

    def __init__(self, message: str):
        # A DataLoader worker re-raises with its whole traceback as the message: keep the sentence at its end.
        super().__init__(message.rsplit("InputError: ", 1)[-1].strip())


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program. number: SIGINT or SIGTERM. what_now: a sentence for the user."""

    def __init__(self, number: int, what_now: str = ""):
        super().__init__(what_now)
        self.number, self.what_now = number, what_now


def warn(sentence: str) -> None:
    """Say on stderr what may be wrong but does not stop."""
    print(f"warning: {sentence}", file=sys.stderr)


def summarize_names(names: Iterable[str], what: str) -> str:
    """'3 images (a, b, ...)', for what = "image"."""
    names = list(names)
    plural = what if len(names) == 1 else f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{len(names)} {plural} ({', '.join(names[:2] + ['...'] * (len(names) > 2))})"


def describe_error(error: InputError | OSError) -> str:
    """What an error says to the user; of the system's, such as a full disk, the file's name and what to do.

    Raises:
        OSError: one that says nothing, again.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return "what took this program's output has ended"
    if error.filename is None and error.strerror is None:
        raise error
    return f"{error.filename or 'a file could not be written'}: {error.strerror}; make room, or choose another folder"


def exit_cleanly(main: Callable[[], None]) -> None:
    """Run a program's `main`. Exit code 2 and one sentence for unusable input, 130 for Ctrl-C, 143 for SIGTERM."""
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(_say(f"error: {describe_error(error)}", code=2))
    except Interrupted as stop:
        sys.exit(_say(f"interrupted; {stop.what_now}", code=128 + stop.number))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted", code=130))


def _say(sentence: str, code: int) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {sentence}", file=sys.stderr)
    return code
