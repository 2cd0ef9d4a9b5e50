"""Checkpoints: one file that rebuilds a classifier without its command line, written whole or not at all."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.errors import InputError
from utils.run.atomic import atomic_write


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and lists and dicts of them); an older file at `path` stays
    valid until the new one is complete.

    Raises:
        InputError: where it cannot be written (a full disk, say).
    """
    try:
        with atomic_write(path) as file:
            try:
                torch.save(content, file)
            except RuntimeError:  # which is what torch makes of a full disk: let the system say it
                file.write(bytes(2**20))
                file.flush()
                raise
    except (OSError, RuntimeError) as error:
        kept = "; the earlier one is kept" if path.exists() else ""
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"checkpoint {path} could not be written ({reason}){kept}; make room or choose another "
                         "folder") from error


def read_weight_file(path: str | Path) -> dict[str, Any]:
    """The content of a PyTorch file, on the CPU; loading it runs no code from the file.

    Raises:
        InputError: for a file that is missing, unreadable or holds no dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weight file {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - on garbage, torch fails with whatever comes first, IndexError too
        raise InputError(f"{path} is not a readable PyTorch weight file, or holds more than tensors and plain values; "
                         "download or copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not weights by name")
    return content


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's random generators, in types that load without running code."""
    version, state, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    return {"python": [version, list(state), gauss], "numpy": [name, keys.tolist(), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []}


def restore_random_states(states: dict[str, Any]) -> None:
    """Set the generators to `random_states`; those of GPUs as far as there are as many."""
    version, state, gauss = states["python"]
    random.setstate((version, tuple(state), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    for index, state in enumerate(states["cuda"][:torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, index)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's random generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
