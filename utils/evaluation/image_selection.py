"""Which images and labels a figure shows."""

import difflib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import InputError, warn
from utils.metrics import image_ranking_losses
from utils.results import Results

SELECTIONS = ("worst", "best", "disagree", "random")


def rank_images(results: Results) -> np.ndarray:
    """The indices of the N images, worst first: by ranking loss, then by wrong labels, means over the checkpoints."""
    ranking_loss = np.mean([image_ranking_losses(scores, results.labels) for scores in results.scores.values()], axis=0)
    wrong = np.mean([(predicted != results.labels).sum(1) for predicted in results.predicted.values()], axis=0)
    return np.lexsort((-wrong, -ranking_loss))


def check_selection(selection: Sequence[str], results: Results, checkpoints: int) -> None:
    """Raise InputError for one of SELECTIONS that the images or the number of checkpoints do not allow, and for a name
    of no image or of several images."""
    if len(selection) > 1 and set(selection) & set(SELECTIONS):
        raise InputError(f"--select takes one of {', '.join(SELECTIONS)}, or names of images, not both")
    if not _is_keyword(selection):
        for name in selection:
            _find_image(name, results.images)
    elif selection[0] in ("worst", "best") and results.labels is None:
        raise InputError(f"--select {selection[0]} needs images with labels; use disagree, random or names of images")
    elif selection[0] == "disagree" and checkpoints < 2:
        raise InputError("--select disagree needs at least two checkpoints in --weights_path")


def select_images(selection: Sequence[str], number: int, results: Results) -> list[int]:
    """The indices of the images to show: `number` of them by one of SELECTIONS, or the named images.

    Args:
        selection: one of SELECTIONS, or names of images: a file name with or without suffix, or more of its path. Empty
            for the worst images, or without labels for the first.
    Raises:
        InputError: as `check_selection`.
    """
    check_selection(selection, results, len(results.scores))
    if selection and not _is_keyword(selection):
        return list(dict.fromkeys(_find_image(name, results.images) for name in selection))
    how = selection[0] if selection else "first" if results.labels is None else "worst"
    if number > len(results.images):
        warn(f"{number} images to show, but there are only {len(results.images)}")
    if how == "first":
        order = np.arange(len(results.images))
    elif how == "random":  # the same in every call, so that a figure can be drawn again
        order = np.random.default_rng(0).permutation(len(results.images))
    elif how == "disagree":  # on the most labels; for ties, the widest spread of scores
        predicted, scores = (np.stack(list(by_title.values())) for by_title in (results.predicted, results.scores))
        order = np.lexsort((-scores.std(0).sum(1), -(predicted != predicted[0]).any(0).sum(1)))
    else:
        order = rank_images(results)[::1 if how == "worst" else -1]
    return order[:number].tolist()


def select_labels(results: Results, limit: int = 10) -> np.ndarray:
    """The columns of the labels to explain for one image: those present, then those predicted, at most `limit`; if
    there are none, the label with the highest score. `results` are those on this image alone."""
    present = np.zeros(len(results.label_names)) if results.labels is None else results.labels[0]
    predicted = np.any([predicted[0] for predicted in results.predicted.values()], axis=0)
    highest = np.max([scores[0] for scores in results.scores.values()], axis=0)
    order = np.lexsort((-highest, ~predicted, present == 0))
    return order[:max(1, np.sum(predicted | (present == 1)))][:limit]


def _is_keyword(selection: Sequence[str]) -> bool:
    return len(selection) == 1 and selection[0] in SELECTIONS


def _normalized(path: str | Path) -> Path:
    return Path(unicodedata.normalize("NFC", str(path)))


def _find_image(name: str, images: Sequence[Path]) -> int:
    parts = _normalized(name).parts
    found = [index for index, image in enumerate(map(_normalized, images)) if parts
             and parts in (image.parts[-len(parts):], image.with_suffix("").parts[-len(parts):])]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"--select {name} matches {len(found)} images, {images[found[0]]} and {images[found[1]]}; "
                         "give more of the path")
    near = difflib.get_close_matches(name, [image.stem for image in images], 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f" ({', '.join(SELECTIONS)}, or the name of an image)"
    raise InputError(f"--select {name}: no such image among the {len(images)}{hint}")
