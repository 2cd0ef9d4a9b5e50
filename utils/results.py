"""The scores of one or more checkpoints on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.errors import InputError, summarize_names
from utils.metrics import decisions


@dataclass(frozen=True)
class Results:
    """Scores and predictions by checkpoint title.

    Attributes:
        images: N paths.
        label_names: of the C labels.
        labels: (N, C) of 0 and 1, or None if they are not known.
        scores, predicted: title -> (N, C), scores and predicted labels.
        buffer_halfwidths: title -> how far the buffer interval of its loss extends around 0.5; None without a buffer.
    """

    images: list[Path]
    label_names: list[str]
    labels: np.ndarray | None
    single_label: bool
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    predicted: dict[str, np.ndarray] = field(default_factory=dict)
    buffer_halfwidths: dict[str, float | None] = field(default_factory=dict)

    def add(self, title: str, scores: np.ndarray, buffer_halfwidth: float | None = None) -> None:
        """Add the scores (N, C) of a checkpoint."""
        self.scores[title], self.predicted[title] = scores, decisions(scores, self.single_label)
        self.buffer_halfwidths[title] = buffer_halfwidth

    def shown_buffers(self) -> dict[str, float | None]:
        """The buffer to draw for each checkpoint: for a loss without one, that of another checkpoint, if any."""
        shared = next((width for width in self.buffer_halfwidths.values() if width is not None), None)
        widths = {title: self.buffer_halfwidths.get(title) for title in self.scores}
        return {title: shared if width is None else width for title, width in widths.items()}

    def subset(self, indices: Sequence[int]) -> "Results":
        """The results on some of the images."""
        return Results([self.images[index] for index in indices], self.label_names,
                       None if self.labels is None else self.labels[indices], self.single_label,
                       {title: scores[indices] for title, scores in self.scores.items()},
                       {title: predicted[indices] for title, predicted in self.predicted.items()},
                       self.buffer_halfwidths)

    def split_off_nan(self, scores: np.ndarray) -> tuple["Results", np.ndarray, list[Path]]:
        """The results and scores of the images with scores, and the images whose scores are NaN.

        Raises:
            InputError: if all are.
        """
        is_nan = np.isnan(scores).any(1)
        if is_nan.all():
            raise InputError(f"none of {summarize_names(map(str, self.images), 'image')} can be read; list files are "
                             "for --test_dir")
        return (self.subset(np.flatnonzero(~is_nan)), scores[~is_nan],
                [self.images[index] for index in np.flatnonzero(is_nan)])

    def label_names_of(self, index: int) -> list[str]:
        """The names of an image's labels."""
        return [name for name, label in zip(self.label_names, self.labels[index]) if label]
