"""Score distributions: how well the buffer interval is kept free, which no metric shows."""

import numpy as np

from .style import BLUE, RED, WIDTH, new_figure, show_buffer, show_legend, title_text

_EDGES = np.linspace(0, 1, 41)  # 0.4, 0.5 and 0.6 lie between bins


def draw_histogram(scores: dict[str, np.ndarray], labels: np.ndarray, buffers: dict[str, float | None]):
    """One panel per checkpoint: the distributions of the scores of present and of absent labels.

    Args:
        scores: title -> (N, C).
        labels: (N, C) of 0 and 1.
        buffers: title -> halfwidth of the buffer interval around 0.5, None without one.
    """
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(WIDTH, 0.5 + 2.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(scores):]:
        axes.remove()
    for axes in panels.flat[len(scores) - columns:len(scores)]:  # the lowest of its column
        axes.tick_params(labelbottom=True)
    kinds = (("present", labels == 1, {"color": BLUE, "alpha": 0.45, "histtype": "stepfilled"}),
             ("absent", labels == 0, {"color": RED, "histtype": "step", "linewidth": 1.4, "linestyle": "--"}))
    for axes, (title, matrix) in zip(panels.flat, scores.items()):
        axes.set(yscale="log", xlim=(0, 1), ylim=(50 / labels.size, 150))
        show_buffer(axes, buffers[title])
        inside = []
        for name, mask, style in kinds:
            values = matrix[mask]
            if len(values):
                share = 100 / len(values)
                axes.hist(values, _EDGES, weights=np.full(len(values), share), label=f"{name} labels", **style)
                if buffers[title] is not None:
                    inside.append(f"{share * (np.abs(values - 0.5) <= buffers[title]).sum():.1f} % of the {name}")
        shares = "\nin the buffer: " + ",\n".join(inside) if inside else ""
        axes.set_title(title_text(title, 36) + shares, fontsize=8)
        axes.yaxis.set_minor_formatter("")  # it would fill a short axis with text
        axes.tick_params(labelsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("% of the labels, per bin", fontsize=8)
    figure.supxlabel("score", fontsize=8)
    show_legend(figure, *panels[0, 0].get_legend_handles_labels())
    return figure
