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

    side = 3 + 0.27 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    totals = counts.sum(1)
    draw_percent(axes, 100 * counts / totals[:, None].clip(1), names)
    axes.set_yticks(range(len(names)), [f"{name} ({total})" for name, total in zip(names, totals)], fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class (images)", title="percent of the true class's images")
    figure.savefig(folder / "confusion.png", dpi=150)


def draw_percent(axes, percent: np.ndarray, names: list[str]) -> None:
    """Draw a (C, C) matrix of percents between C names, as colours and numbers."""
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for row, column in np.argwhere(percent >= 0.5):
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=6,
                  color="white" if percent[row, column] > 50 else "black")
