"""Files of tensors: checkpoints are written whole or not at all; reading a file runs no code from it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.errors import InputError
from utils.run.atomic import atomic_write


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content`: tensors, numbers, strings, and lists and dicts of them.

    Raises:
        InputError: if it cannot be written (a full disk, say).
    """
    try:
        with atomic_write(path) as file:
            try:
                torch.save(content, file)
            except RuntimeError:  # torch's answer to a full disk: let the system describe it
                file.write(bytes(2**20))
                file.flush()
                raise
    except (OSError, RuntimeError) as error:
        unchanged = "; the previous one is unchanged" if path.exists() else ""
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"checkpoint {path} could not be written ({reason}){unchanged}; free some space or choose "
                         "another folder") from error


def read_weight_file(path: str | Path) -> dict[str, Any]:
    """The content of a PyTorch file, on the CPU.

    Raises:
        InputError: if the file is missing, unreadable, or does not hold a dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weight file {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - on garbage, torch raises almost anything, even IndexError
        raise InputError(f"{path} is not a readable PyTorch weight file, or holds more than tensors and plain values; "
                         "download or copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__} instead of weights by name")
    return content


def seed_everything(seed: int, epoch: int = 0) -> None:
    """Seed Python's, NumPy's and torch's random generators as a function of (seed, epoch); epoch 0 is for the initial
    weights. What the network draws in an epoch, as dropout does, need not be saved to resume a run."""
    if epoch:
        seed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
