"""Is 0.5 the right threshold? Micro and macro F1 over all thresholds."""

import numpy as np

from utils.metrics import THRESHOLDS, f1_over_thresholds

from .style import WIDTH, line_styles, new_figure, show_buffer, title_text


def draw_thresholds(scores: dict[str, np.ndarray], labels: np.ndarray, buffer_halfwidth: float | None):
    """Two panels, micro F1 and macro F1; a line per checkpoint, with a dot at its maximum.

    Args:
        scores: title -> (N, C).
        labels: (N, C) of 0 and 1.
        buffer_halfwidth: of the buffer interval around 0.5, None without one.
    """
    figure = new_figure(WIDTH, 3 + 0.3 * len(scores))
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    styles = line_styles(scores)
    for title, matrix in scores.items():
        for axes, f1 in zip(panels, f1_over_thresholds(matrix, labels, THRESHOLDS)):
            best = f1.argmax()
            label = f"{title}: {100 * f1[49]:.1f} at 0.5, {100 * f1[best]:.1f} at {THRESHOLDS[best]:.2f}"
            label = title_text(label, 48)
            axes.plot(THRESHOLDS, 100 * f1, markevery=[best], markersize=5, label=label, **styles[title])
    for axes, title in zip(panels, ("micro F1 (%)", "macro F1 (%)")):
        show_buffer(axes, buffer_halfwidth)
        axes.set(title=title, xlabel="threshold", xlim=(0, 1))
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
    panels[0].set_ylim(bottom=0)
    return figure
