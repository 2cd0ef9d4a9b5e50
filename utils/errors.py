"""Errors that are the input's fault: one clear sentence for the user, no traceback."""

import os
import sys
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one sentence: which file, and what to do."""

    def __init__(self, message: str):
        # A DataLoader worker re-raises with its whole traceback as the message: keep the sentence at its end.
        super().__init__(message.rsplit("InputError: ", 1)[-1].strip())


def warn(sentence: str) -> None:
    """Say on stderr what may be wrong but does not stop."""
    print(f"warning: {sentence}", file=sys.stderr)


def some(names: Iterable[str], what: str) -> str:
    """'3 images (a, b, ...)', for what = "image"."""
    names = list(names)
    plural = what if len(names) == 1 else f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{len(names)} {plural} ({', '.join(names[:2] + ['...'] * (len(names) > 2))})"


def exit_cleanly(main: Callable[[], None]) -> None:
    """Run a program's `main`. Exit code 2 and one sentence for unusable input, 130 for Ctrl-C."""
    try:
        main()
    except InputError as error:
        sys.exit(_say(f"error: {error}", code=2))
    except OSError as error:  # a folder that cannot be written, a full disk
        if error.filename is None and error.strerror is None:
            raise
        what = error.filename or "a file could not be written"
        sys.exit(_say(f"error: {what}: {error.strerror}; make room, or choose another folder", code=2))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; epochs that were finished are kept in their run folder", code=130))


def _say(sentence: str, code: int) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {sentence}", file=sys.stderr)
    return code
