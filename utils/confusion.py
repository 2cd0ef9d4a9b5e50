"""confusion.csv and confusion.png: which class is taken for which."""

import csv
from pathlib import Path

import numpy as np


def write_confusion(folder: Path, counts: np.ndarray, names: list[str]) -> None:
    """Write counts (C, C), true class by row and predicted class by column, as a table and as a picture.

    The picture's cells are percent of the row, so that frequent classes do not hide rare ones.
    """
    with open(folder / "confusion.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["true\\predicted", *names],
                                    *([name, *row] for name, row in zip(names, counts.tolist()))])
    # Imported here and drawn on a figure of its own: Test.py starts faster, and no display is needed.
    from matplotlib.figure import Figure

    percent = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    side = 3 + 0.27 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90, fontsize=8)
    axes.set_yticks(ticks, [f"{name} ({total})" for name, total in zip(names, counts.sum(1))], fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class (images)", title="percent of the true class's images")
    for row, column in np.argwhere(percent >= 0.5):
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=6,
                  color="white" if percent[row, column] > 50 else "black")
    figure.savefig(folder / "confusion.png", dpi=150)
