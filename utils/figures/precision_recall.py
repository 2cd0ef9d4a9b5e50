"""Precision-recall curves of each label."""

import textwrap

import numpy as np

from .style import WIDTH, line_styles, name_text, new_figure, show_legend

_COLUMNS = 5


def draw_precision_recall(scores: dict[str, np.ndarray], labels: np.ndarray, names: list[str]):
    """One small panel per label, with a line per checkpoint and its average precision in percent.

    Args:
        scores: title -> (N, C).
        labels: (N, C) of 0 and 1.
        names: of the C labels.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    rows = -(-len(names) // _COLUMNS)
    figure = new_figure(WIDTH, 0.6 + (1.35 + 0.1 * len(scores)) * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(names):]:
        axes.remove()
    for axes in panels.flat[max(0, len(names) - _COLUMNS):len(names)]:  # the lowest of its column
        axes.tick_params(labelbottom=True)
    styles = line_styles(scores, marker=False)
    for axes, name, column in zip(panels.flat, names, range(len(names))):
        present, precisions = labels[:, column], []
        axes.axhline(present.mean(), color="0.7", linewidth=0.8)
        for title, matrix in scores.items():
            if present.any():
                precision, recall, _ = precision_recall_curve(present, matrix[:, column], drop_intermediate=True)
                axes.plot(recall, precision, drawstyle="steps-post", linewidth=1.1, **styles[title])
                precisions.append(f"{100 * average_precision_score(present, matrix[:, column]):.0f}")
        values = textwrap.fill(f"AP {', '.join(precisions)}", 20) if precisions else "no positives"
        axes.set_title(f"{name_text(name, 16)} ({present.sum():.0f})\n{values}", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    figure.supxlabel("recall", fontsize=8)
    figure.supylabel("precision", fontsize=8)
    handles = [figure.axes[0].plot([], [], **styles[title])[0] for title in scores]
    show_legend(figure, handles, scores)
    return figure
