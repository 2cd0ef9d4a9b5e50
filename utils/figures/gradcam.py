"""Grad-CAM heat maps over the image: where each checkpoint finds its evidence for a label."""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from utils.results import Results

from .predictions import OUTCOMES
from .style import name_text, names_text, new_figure, show_caption, show_image, shown_aspect, thumbnail, title_text


def draw_gradcam(image: Image.Image, maps: dict[str, np.ndarray], columns: Sequence[int], results: Results):
    """A row per label: the image, and for each checkpoint the map, scaled to its own maximum, over the gray image.

    Labels for which every map is zero, because no position is evidence for them, are only named, below the maps; if
    that would be all labels, the first is shown.

    Args:
        maps: checkpoint's title -> (len(columns), H, W).
        columns: the labels by their columns in the results.
        results: of this image alone.
    """
    evidence = np.any([heat_maps.any((1, 2)) for heat_maps in maps.values()], axis=0)
    shown = np.flatnonzero(evidence) if evidence.any() else [0]
    image = thumbnail(image)
    gray = image.convert("L")
    side, height = 1.45, 1.45 * shown_aspect(image) + 0.2
    figure = new_figure(0.8 + side * (1 + len(maps)), 0.8 + height * len(shown))
    grid = figure.subplots(len(shown), 1 + len(maps), squeeze=False)
    title = name_text(results.images[0].name, 40)
    if results.labels is not None:
        names = results.label_names_of(0) or ["(no label)"]
        title = names_text(names, int(9 * figure.get_figwidth()), before=f"{title}: ")  # 9 per inch: even the widest
    figure.suptitle(title, fontsize=8)
    for index, (left, *panels) in zip(shown, grid):
        label = columns[index]
        show_image(left, image)
        left.set_xlabel(name_text(results.label_names[label], 20), fontsize=7.5, labelpad=2)
        for axes, (checkpoint, heat_maps) in zip(panels, maps.items()):
            show_image(axes, gray)
            heat = _draw_heat(axes, heat_maps[index])
            predicted = bool(results.predicted[checkpoint][0, label])
            truth = predicted if results.labels is None else bool(results.labels[0, label])
            outcome = OUTCOMES[truth, predicted]
            axes.set_xlabel(f"{results.scores[checkpoint][0, label]:.2f} {outcome.mark}", fontsize=7.5, labelpad=2,
                            color=outcome.color, fontweight="bold" if outcome.mark else "normal")
    for axes, checkpoint in zip(grid[0, 1:], maps):
        axes.set_title(title_text(checkpoint, 16), fontsize=8.5, fontweight="bold")
    if hidden := [name_text(results.label_names[label]) for index, label in enumerate(columns) if index not in shown]:
        show_caption(figure, f"Every map is zero for {', '.join(hidden)}.")
    bar = figure.colorbar(heat, ax=figure.axes, shrink=min(1, 3 / len(shown)), aspect=30, pad=0.01)
    bar.set_label("share of the map's\nmaximum (line: half)", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_facecolor("0.5")  # the colours lie over gray there too
    return figure


@functools.cache
def _heat_colors():
    """Brighter and more opaque with more evidence, so that the image shows through where there is none."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    share = np.linspace(0, 1, 256)
    colors = colormaps["inferno"](share)
    colors[:, 3] = 0.15 + 0.5 * share
    return ListedColormap(colors)


def _draw_heat(axes, heat: np.ndarray):
    top = heat.max()
    share = heat / top if top > 0 else heat
    drawn = axes.imshow(share, cmap=_heat_colors(), vmin=0, vmax=1, extent=(0, 1, 0, 1), aspect="auto")
    if top > 0:
        axes.contour(np.flipud(share), [0.5], colors="white", linewidths=0.9, extent=(0, 1, 0, 1))
    else:  # no position is evidence for the label
        axes.text(0.5, 0.5, "all zero", ha="center", va="center", fontsize=8, bbox={"color": "white", "alpha": 0.8})
    return drawn
