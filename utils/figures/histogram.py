"""Where the scores are: what R4C's virtual neutral items do, which no figure of merit shows."""

import numpy as np

from .style import BLUE, RED, WIDTH, name_text, new_figure, show_buffer

_EDGES = np.linspace(0, 1, 41)  # 0.4, 0.5 and 0.6 lie between bins


def draw_histogram(scores: dict[str, np.ndarray], labels: np.ndarray, reach: float):
    """One panel per checkpoint: the distribution of the scores of present and of absent labels.

    Args:
        scores: title -> (N, C).
        labels: (N, C) of 0 and 1.
        reach: the buffer interval is 0.5 - reach ... 0.5 + reach.
    """
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(WIDTH, 0.5 + 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(scores):]:
        axes.remove()
    kinds = (("present", labels == 1, {"color": BLUE, "alpha": 0.45, "histtype": "stepfilled"}),
             ("absent", labels == 0, {"color": RED, "histtype": "step", "linewidth": 1.4, "linestyle": "--"}))
    for axes, (title, own) in zip(panels.flat, scores.items()):
        show_buffer(axes, reach)
        inside = []
        for name, chosen, style in kinds:
            values = own[chosen]
            share = 100 / max(1, len(values))  # of no positives at all there is nothing to draw
            axes.hist(values, _EDGES, weights=np.full(len(values), share), label=f"{name} labels", **style)
            inside.append(f"{share * (np.abs(values - 0.5) <= reach).sum():.1f} % of the {name}")
        axes.set_title(f"{name_text(title, 36)}\nin the buffer: {inside[0]},\n{inside[1]}", fontsize=8)
        axes.set(yscale="log", xlim=(0, 1))
        axes.yaxis.set_minor_formatter("")  # which fills a short axis with text
        axes.tick_params(labelsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("% of the labels, per bin", fontsize=8)
    figure.supxlabel("score", fontsize=8)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False,
                  fontsize=8)
    return figure
