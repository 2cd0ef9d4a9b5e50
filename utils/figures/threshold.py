"""Whether 0.5 is the right threshold: micro and macro F1 over all of them."""

import numpy as np

from ..metrics import f1_over_thresholds
from .style import WIDTH, line_style, name_text, new_figure, show_buffer


def draw_thresholds(scores: dict[str, np.ndarray], labels: np.ndarray, reach: float):
    """Two panels, micro F1 and macro F1; a line per checkpoint, with a dot at its maximum.

    Args:
        scores: title -> (N, C).
        labels: (N, C) of 0 and 1.
        reach: the buffer interval is 0.5 - reach ... 0.5 + reach.
    """
    figure = new_figure(WIDTH, 3.2)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    thresholds = np.linspace(0.01, 0.99, 99)
    for axes, (kind, column) in zip(panels, {"micro F1": 0, "macro F1": 1}.items()):
        show_buffer(axes, reach)
        for index, (title, own) in enumerate(scores.items()):
            f1 = 100 * f1_over_thresholds(own, labels, thresholds)[column]
            best = f1.argmax()
            label = f"{name_text(title, 28)}: {f1[49]:.1f} at 0.5, {f1[best]:.1f} at {thresholds[best]:.2f}"
            axes.plot(thresholds, f1, markevery=[best], markersize=5, label=label, **line_style(index))
        axes.set(title=f"{kind} (%)", xlabel="threshold", xlim=(0, 1))
        axes.legend(fontsize=7, loc="lower center")
    panels[0].set_ylim(bottom=0)
    return figure
