"""Checkpoints: one file that rebuilds a classifier without its command line, written whole or not at all."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import InputError


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and lists and dicts of them); an older file at `path` stays
    valid until the new one is complete.

    Raises:
        InputError: where it cannot be written (a full disk, say).
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        kept = f"; the one of an earlier epoch is kept in {path}" if path.exists() else ""
        raise InputError(f"checkpoint {path} could not be written ({error}){kept}; make room or choose "
                         "another folder") from error


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's random generators, in types that load without running code."""
    version, state, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    return {"python": [version, list(state), gauss], "numpy": [name, keys.tolist(), *rest],
            "torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's random generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
