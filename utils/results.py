"""What one or more checkpoints say about the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.metrics import decisions


@dataclass(frozen=True)
class Results:
    """images: N paths. names: of the C labels. labels: (N, C) of 0 and 1, or None where they are not known.

    scores, decided: title of a checkpoint -> (N, C), scores and predicted labels. reach: title -> half the width of the
    buffer interval about 0.5 in its training, or None where the loss has none.
    """

    images: list[Path]
    names: list[str]
    labels: np.ndarray | None
    single_label: bool
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    decided: dict[str, np.ndarray] = field(default_factory=dict)
    reach: dict[str, float | None] = field(default_factory=dict)

    def add(self, title: str, scores: np.ndarray, reach: float | None = None) -> None:
        """Take in what a checkpoint says."""
        self.scores[title], self.decided[title] = scores, decisions(scores, self.single_label)
        self.reach[title] = reach

    def buffers(self) -> dict[str, float]:
        """The reach to show with each checkpoint: where its loss has none, that of another one, or R4C's default."""
        common = next((reach for reach in self.reach.values() if reach is not None), 0.1)
        own = {title: self.reach.get(title) for title in self.scores}
        return {title: common if reach is None else reach for title, reach in own.items()}

    def of(self, chosen: Sequence[int]) -> "Results":
        """The same of some of the images."""
        return Results([self.images[image] for image in chosen], self.names,
                       None if self.labels is None else self.labels[chosen], self.single_label,
                       {title: own[chosen] for title, own in self.scores.items()},
                       {title: own[chosen] for title, own in self.decided.items()}, self.reach)

    def names_of(self, image: int) -> list[str]:
        """The image's labels."""
        return [name for name, label in zip(self.names, self.labels[image]) if label]
