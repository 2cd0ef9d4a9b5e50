"""What one or more checkpoints say about the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .metrics import decisions


@dataclass(frozen=True)
class Results:
    """images: N paths. names: of the C labels. labels: (N, C) of 0 and 1, or None where they are not known.

    scores, decided: title of a checkpoint -> (N, C), scores and predicted labels.
    """

    images: list[Path]
    names: list[str]
    labels: np.ndarray | None
    single_label: bool
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    decided: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, title: str, scores: np.ndarray) -> None:
        """Take in what a checkpoint says."""
        self.scores[title], self.decided[title] = scores, decisions(scores, self.single_label)

    def of(self, chosen: Sequence[int]) -> "Results":
        """The same of some of the images."""
        return Results([self.images[image] for image in chosen], self.names,
                       None if self.labels is None else self.labels[chosen], self.single_label,
                       {title: own[chosen] for title, own in self.scores.items()},
                       {title: own[chosen] for title, own in self.decided.items()})

    def names_of(self, image: int) -> list[str]:
        """The image's labels."""
        return [name for name, label in zip(self.names, self.labels[image]) if label]
