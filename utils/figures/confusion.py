"""Which labels occur together and which are confused: matrices of percentages with numbers in their cells."""

import numpy as np

from .style import name_text, new_figure, show_caption, title_text


def draw_confusion(counts: np.ndarray, names: list[str]):
    """With one label per image: counts (C, C), true class by row and predicted class by column, in percent of the row,
    so that frequent classes do not hide rare ones."""
    totals = counts.sum(1)
    rows = [f"{name_text(name)} ({total})" for name, total in zip(names, totals)]
    side = min(max(5, 3 + 0.27 * len(names)), 40)
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    draw_percent(axes, 100 * counts / totals[:, None].clip(1), rows, names)
    axes.set(xlabel="predicted class", ylabel="true class (images)")
    show_caption(figure, "percent of the true class's images")
    return figure


def percent_of_row_label(together: np.ndarray) -> np.ndarray:
    """(C, C) images with both labels -> percent of the images with the row's label; 0 for a label without images."""
    return 100 * together / np.diag(together)[:, None].clip(1)


def mistakes(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C, C) percent of the images in which the row's label was missed and the column's was predicted but is absent."""
    missed, false = (labels == 1) & ~predicted, (labels == 0) & predicted
    return 100 * (missed.T.astype(float) @ false) / missed.sum(0)[:, None].clip(1)


def draw_co_occurrence(predicted: dict[str, np.ndarray], labels: np.ndarray, names: list[str]):
    """Which labels occur together, in truth and as each checkpoint predicts them.

    Args:
        predicted: title -> (N, C) bool.
        labels: (N, C) of 0 and 1.
        names: of the C labels.
    """
    sets = {"true": labels, **predicted}
    matrices = {title: percent_of_row_label(matrix.T.astype(float) @ matrix) for title, matrix in sets.items()}
    return _side_by_side(matrices, [name_text(name) for name in names], names,
                         "% of the images with the row's label that also have the column's label")


def draw_mistakes(predicted: dict[str, np.ndarray], labels: np.ndarray, names: list[str]):
    """What is predicted instead of a missed label, with the number of misses in each row. Args as
    `draw_co_occurrence`."""
    missed = {title: ((labels == 1) & ~matrix).sum(0) for title, matrix in predicted.items()}
    rows = [f"{name_text(name)} ({'|'.join(str(count[row]) for count in missed.values())})"
            for row, name in enumerate(names)]
    return _side_by_side({title: mistakes(matrix, labels) for title, matrix in predicted.items()}, rows, names,
                         "% of the images in which the row's label was missed (number per panel in brackets) with a "
                         "false prediction of the column's")


def _side_by_side(matrices: dict[str, np.ndarray], rows: list[str], columns: list[str], caption: str):
    side = min(2 + 0.22 * len(columns), 30)
    left, below = (0.07 * max(map(len, names)) for names in (rows, map(name_text, columns)))
    across = min(2, len(matrices))
    down = -(-len(matrices) // across)
    titles = [title_text(title, 30) for title in matrices]
    above = 0.2 * max(len(title.splitlines()) for title in titles)
    figure = new_figure(left + across * side, 0.4 + down * (above + side + below))
    for panel, (title, percent) in enumerate(zip(titles, matrices.values()), start=1):
        axes = figure.add_subplot(down, across, panel)
        draw_percent(axes, percent, rows if panel % across == 1 or across == 1 else [""] * len(rows), columns)
        axes.set_title(title, fontsize=9)
    show_caption(figure, caption)
    return figure


def draw_percent(axes, percent: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Draw a (C, C) matrix of percentages as colours and numbers, with the names of its rows and columns."""
    size = min(8, 1100 / len(rows))
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")  # square cells would leave empty bands
    axes.set_xticks(range(len(columns)), [name_text(name) for name in columns], rotation=90, fontsize=size)
    axes.set_yticks(range(len(rows)), rows, fontsize=size)
    for row, column in np.argwhere(percent > 0.5):
        axes.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=0.75 * size,
                  color="white" if percent[row, column] > 50 else "black", in_layout=False)  # the layout would be slow
