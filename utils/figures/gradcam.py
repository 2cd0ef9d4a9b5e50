"""Grad-CAM heat maps over the image: where each checkpoint finds its evidence for a label."""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from utils.results import Results

from .predictions import OUTCOMES
from .style import name_text, names_text, new_figure, show_image, thumbnail, title_text


def draw_gradcam(image: Image.Image, maps: dict[str, np.ndarray], columns: Sequence[int], results: Results):
    """A row per label and a column per checkpoint: the map, scaled to its own maximum, over the gray image.

    Args:
        maps: checkpoint's title -> (len(columns), H, W).
        columns: the labels, a row each, by their columns in the results.
        results: of this image alone.
    """
    side, panels = 1.45, 1 + len(maps)
    figure = new_figure(1.2 + 1.15 * side * panels, 0.7 + (side + 0.2) * len(columns))
    grid = figure.add_gridspec(len(columns), panels)
    left = figure.add_subplot(grid[0, 0])
    image = thumbnail(image)
    gray = image.convert("L")
    show_image(left, image)
    left.set_title(name_text(results.images[0].name, 20), fontsize=8)
    if results.labels is not None:
        left.set_xlabel(names_text(results.label_names_of(0) or ["(no label)"], 20, 8), fontsize=8)
    for panel, (checkpoint, heat_maps) in enumerate(maps.items(), start=1):
        for row, label in enumerate(columns):
            axes = figure.add_subplot(grid[row, panel])
            show_image(axes, gray)
            heat = _draw_heat(axes, heat_maps[row])
            predicted = bool(results.predicted[checkpoint][0, label])
            truth = predicted if results.labels is None else bool(results.labels[0, label])
            outcome = OUTCOMES[truth, predicted]
            axes.set_xlabel(f"{results.scores[checkpoint][0, label]:.2f} {outcome.mark}", fontsize=7.5, labelpad=2,
                            color=outcome.color, fontweight="bold" if outcome.mark else "normal")
            if row == 0:
                axes.set_title(title_text(checkpoint, 16), fontsize=8.5, fontweight="bold")
            if panel == 1:
                axes.set_ylabel(name_text(results.label_names[label], 20), fontsize=8)
    bar = figure.colorbar(heat, ax=figure.axes, shrink=min(1, 3 / len(columns)), aspect=30, pad=0.01)
    bar.set_label("share of the map's maximum; line: half", fontsize=7.5)
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
