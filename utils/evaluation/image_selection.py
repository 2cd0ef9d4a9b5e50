"""Which images a figure shows."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import InputError, warn
from utils.metrics import image_ranking_losses
from utils.results import Results

SELECTIONS = ("worst", "best", "disagree", "random")


def rank_images(results: Results) -> np.ndarray:
    """The N images, worst first: by ranking loss, then by wrong labels, means over the checkpoints."""
    ranking_loss = np.mean([image_ranking_losses(own, results.labels) for own in results.scores.values()], axis=0)
    wrong = np.mean([(own != results.labels).sum(1) for own in results.decided.values()], axis=0)
    return np.lexsort((-wrong, -ranking_loss))


def check_selection(pick: Sequence[str], results: Results, checkpoints: int) -> None:
    """Raise InputError for a PICK that the images or the number of checkpoints do not allow, and for a name of no image
    or of several."""
    if len(pick) > 1 and set(pick) & set(SELECTIONS):
        raise InputError(f"--pick takes one of {', '.join(SELECTIONS)}, or names of images, not both")
    if not _is_keyword(pick):
        for name in pick:
            _named(name, results.images)
    elif pick[0] in ("worst", "best") and results.labels is None:
        raise InputError(f"--pick {pick[0]} needs images with labels; take disagree, random or names of images")
    elif pick[0] == "disagree" and checkpoints < 2:
        raise InputError("--pick disagree needs two checkpoints or more in --weights_path")


def select_images(pick: Sequence[str], number: int, results: Results) -> list[int]:
    """Which images to show: `number` of them by one of SELECTIONS, or those that are named.

    Args:
        pick: one of SELECTIONS, or names of images: a file's name with or without suffix, or more of its path. Nothing
            stands for the worst, or where no labels are known, for the first.
    Raises:
        InputError: as `check_selection`.
    """
    check_selection(pick, results, len(results.scores))
    if pick and not _is_keyword(pick):
        return list(dict.fromkeys(_named(name, results.images) for name in pick))
    how = pick[0] if pick else "first" if results.labels is None else "worst"
    if number > len(results.images):
        warn(f"{number} images to show, but there are only {len(results.images)}")
    if how == "first":
        order = np.arange(len(results.images))
    elif how == "random":  # the same in every call, so that a figure can be drawn again
        order = np.random.default_rng(0).permutation(len(results.images))
    elif how == "disagree":  # in the most labels, and where it is the same number, with the widest spread of scores
        decided, scores = (np.stack(list(own.values())) for own in (results.decided, results.scores))
        order = np.lexsort((-scores.std(0).sum(1), -(decided != decided[0]).any(0).sum(1)))
    else:
        order = rank_images(results)[::1 if how == "worst" else -1]
    return order[:number].tolist()


def _is_keyword(pick: Sequence[str]) -> bool:
    return len(pick) == 1 and pick[0] in SELECTIONS


def _named(name: str, images: Sequence[Path]) -> int:
    parts = Path(name).parts
    found = [index for index, image in enumerate(images) if parts
             and parts in (image.parts[-len(parts):], image.with_suffix("").parts[-len(parts):])]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"--pick {name} names {len(found)} images, {images[found[0]]} and {images[found[1]]}; give "
                         "more of the path")
    near = difflib.get_close_matches(name, [image.stem for image in images], 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f" ({', '.join(SELECTIONS)}, or the name of an image)"
    raise InputError(f"--pick {name}: no such image among the {len(images)}{hint}")
