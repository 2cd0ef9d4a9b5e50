"""confusion.csv and confusion.png: which class is taken for which."""

import csv
import warnings
from pathlib import Path

import numpy as np

from .errors import warn


def write_confusion(folder: Path, counts: np.ndarray, names: list[str]) -> None:
    """Write counts (C, C), true class by row and predicted class by column, as a table and as a picture.

    The picture's cells are percent of the row, so that frequent classes do not hide rare ones.
    """
    with open(folder / "confusion.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["true\\predicted", *names],
                                    *([name, *row] for name, row in zip(names, counts.tolist()))])
    # Imported here and drawn on a figure of its own: Test.py starts faster, and no display is needed.
    from matplotlib.figure import Figure

    side = min(3 + 0.27 * len(names), 40)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    totals = counts.sum(1)
    rows = [f"{name} ({total})" for name, total in zip(names, totals)]
    draw_percent(axes, 100 * counts / totals[:, None].clip(1), rows, names)
    axes.set(xlabel="predicted class", ylabel="true class (images)", title="percent of the true class's images")
    save_figure(figure, folder / "confusion.png")


def draw_percent(axes, percent: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Draw a (C, C) matrix of percents as colours and numbers, with the names of its rows and columns."""
    size = min(8, 1100 / len(rows))
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, fontsize=size, parse_math=False)
    for row, column in np.argwhere(percent > 0.5):
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=0.75 * size,
                  color="white" if percent[row, column] > 50 else "black")


def save_figure(figure, picture: Path) -> None:
    """Save a matplotlib figure; names that its font cannot write become boxes, and one warning."""
    with warnings.catch_warnings(record=True) as caught:
        figure.savefig(picture, dpi=150)
    if caught:
        warn(f"{picture}: {caught[0].message}")
