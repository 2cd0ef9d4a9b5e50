"""Files that are complete or unchanged: a kill or a full disk while writing leaves the previous version as it was."""

import csv
import glob
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows: two processes can write to one run
    fcntl = None


def partial_path(path: Path) -> Path:
    """A new name for what will replace `path` once it is complete: several processes, also on several machines, may be
    writing it. What a killed process left under such a name is removed after an hour."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > 3600:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{path.name}.{token_hex(4)}.partial")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` once it is complete and on the disk.

    Raises:
        OSError: with the file's name, if it cannot be written.
    """
    partial = partial_path(path)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def lock(file: BinaryIO) -> bool:
    """Lock a file against other processes; False if one of them has locked it. The system releases the lock of a
    process that ends in any way. Without locks, as on some network drives, always True."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def unlock(file: BinaryIO) -> None:
    """Unlock a file, also for processes forked from this one; closing the file would not."""
    with suppress(OSError):
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_UN)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file. Raises OSError as `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write a csv table. Text that a spreadsheet would take for a formula, as a label or file name may be, gets an
    apostrophe in front. Raises OSError as `atomic_write`."""
    table = io.StringIO(newline="")
    csv.writer(table).writerows(map(_without_formula, row) for row in rows)
    write_text(path, table.getvalue())


def _without_formula(cell: Any) -> Any:
    text = str(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not _is_number(text) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
