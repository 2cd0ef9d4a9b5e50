"""Reliability: does a score of 0.8 mean that 8 of 10 such labels are present?"""

import numpy as np

from utils.metrics import CALIBRATION_BINS, calibration_bins, expected_calibration_error

from .style import WIDTH, line_styles, new_figure, show_caption, show_legend

_REMARK = "Ranking losses order scores around 0.5 and do not calibrate them."


def draw_reliability(scores: dict[str, np.ndarray], labels: np.ndarray):
    """Share of present labels against their mean score, in bins of equal width; below, the number of scores per bin.

    Args:
        scores: title -> (N, C).
        labels: (N, C) of 0 and 1.
    """
    from sklearn.calibration import calibration_curve

    figure = new_figure(WIDTH * 0.6, 5 + 0.2 * len(scores))
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="calibrated")
    styles = line_styles(scores)
    for title, matrix in scores.items():
        present, mean_score = calibration_curve(labels.ravel(), matrix.ravel(), n_bins=CALIBRATION_BINS)
        error = expected_calibration_error(matrix, labels)
        upper.plot(mean_score, present, label=f"{title}: ECE {100 * error:.1f} %", markersize=4, **styles[title])
        counts = np.bincount(calibration_bins(matrix).ravel(), minlength=CALIBRATION_BINS)
        lower.stairs(counts, np.linspace(0, 1, CALIBRATION_BINS + 1),
                     **{name: styles[title][name] for name in ("color", "linestyle")})
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of present labels")
    show_legend(figure, *upper.get_legend_handles_labels())
    lower.set(yscale="log", xlabel="score (mean of the bin)", ylabel="scores")
    lower.set_ylim(bottom=0.7)
    lower.yaxis.set_minor_formatter("")
    show_caption(figure, _REMARK)
    return figure
