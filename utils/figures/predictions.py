"""Predictions: images, and next to each the labels that every checkpoint ranks highest."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from utils.results import Results

from .style import (
    BLUE,
    BUFFER,
    RED,
    WIDTH,
    name_text,
    names_text,
    new_figure,
    show_buffer,
    show_image,
    thumbnail,
    title_text,
)

TOP = 7  # labels shown, as in the reference implementation's figure
PER_FIGURE = 4  # images


class Outcome(NamedTuple):
    """How a label is shown: its mark, the colour of its text, its bar, and the text of the legend."""

    mark: str
    color: str
    bar: dict[str, str]
    legend: str


# Of (present, predicted). Marks and hatches do not depend on colour.
OUTCOMES = {
    (True, True): Outcome("", "black", {"color": "0.35"}, "present, predicted"),
    (False, True): Outcome("FP", BLUE, {"facecolor": "white", "edgecolor": BLUE, "hatch": "/////"},
                           "false positive (FP)"),
    (True, False): Outcome("FN", RED, {"facecolor": "white", "edgecolor": RED, "hatch": "xxxxx"},
                           "false negative (FN)"),
    (False, False): Outcome("", "black", {"color": "0.75"}, "absent, not predicted"),
}


def draw_predictions(images: Iterable[Image.Image], results: Results) -> Iterator:
    """Figures of up to PER_FIGURE images each: the image and its true labels, and for each checkpoint a panel with
    the TOP labels in the order of their scores.

    Args:
        images: those in `results`; taken page by page.
    """
    known, columns, buffers = results.labels is not None, 1 + len(results.scores), results.shown_buffers()
    has_buffer, images = any(width is not None for width in buffers.values()), iter(images)
    for first in range(0, len(results.images), PER_FIGURE):
        page = range(first, min(first + PER_FIGURE, len(results.images)))
        figure = new_figure(max(WIDTH, 2.4 * columns), 0.4 + 2.25 * len(page))
        panels = figure.subplots(len(page), columns, squeeze=False, width_ratios=[0.8] + [1] * (columns - 1))
        for (left, *rest), index in zip(panels, page):
            show_image(left, thumbnail(next(images)))
            left.set_title(name_text(results.images[index].name, 22), fontsize=8)
            if known:
                left.set_xlabel(names_text(results.label_names_of(index) or ["(no label)"], 22, 4), fontsize=7.5)
            for axes, title in zip(rest, results.scores):
                predicted = results.predicted[title][index]
                present = results.labels[index] == 1 if known else predicted
                _draw_top(axes, results.scores[title][index], predicted, present, results.label_names)
                show_buffer(axes, buffers[title], threshold=not results.single_label)
                if index == first:
                    axes.set_title(title_text(title, 24), fontsize=9, fontweight="bold")
        looks = {outcome.legend: outcome.bar for outcome in OUTCOMES.values()}
        if not known:
            looks = {"predicted": looks["present, predicted"], "not predicted": looks["absent, not predicted"]}
        handles = [figure.axes[-1].barh(0, 0, **look, linewidth=0.8) for look in looks.values()]
        if has_buffer:
            handles.append(figure.axes[-1].axvspan(0, 0, **BUFFER))
        figure.legend(handles, [*looks, *["buffer interval"] * has_buffer], loc="outside lower center",
                      ncols=len(handles), frameon=False, fontsize=8, columnspacing=1.2, handlelength=1.4)
        yield figure


def _draw_top(axes, scores: np.ndarray, predicted: np.ndarray, present: np.ndarray, names: list[str]) -> None:
    order = np.argsort(-scores, kind="stable")
    top, below = order[:TOP], order[TOP:]
    outcomes = [OUTCOMES[bool(present[label]), bool(predicted[label])] for label in top]
    for row, (label, outcome) in enumerate(zip(top, outcomes)):
        axes.barh(row, scores[label], height=0.72, linewidth=0.8, **outcome.bar)
        axes.text(scores[label] + 0.03, row, f"{scores[label]:.2f} {outcome.mark}", va="center", fontsize=7,
                  color=outcome.color, fontweight="bold" if outcome.mark else "normal")
    axes.set_yticks(range(len(top)), [name_text(names[label], 18) for label in top], fontsize=7.5)
    for text, outcome in zip(axes.get_yticklabels(), outcomes):
        text.set_color(outcome.color)
    axes.set(xlim=(0, 1.3), ylim=(TOP - 0.5, -0.6))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    missed = [f"{names[label]}\N{NO-BREAK SPACE}{scores[label]:.2f}" for label in below
              if present[label] and not predicted[label]]
    if missed:
        axes.set_xlabel(names_text(missed, 30, 2, "FN below: "), fontsize=7, color=RED, fontweight="bold")
