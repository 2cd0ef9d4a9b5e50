"""What all figures share: sizes, colours that differ in gray too, names as text, files."""

import io
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import warn

WIDTH = 7.2  # inches: both columns of a journal page, so that 8 pt in a figure are 8 pt in print

# Okabe & Ito's colours, which the colour-blind tell apart; no line or bar is told by its colour alone.
BLUE, RED, GREEN, ORANGE, PURPLE, BLACK = "#0072b2", "#c1121f", "#009e73", "#e69f00", "#aa4499", "#222222"
LINES = [{"color": color, "linestyle": style, "marker": marker} for color, style, marker in (
    (BLACK, "-", "o"), (BLUE, "--", "s"), (ORANGE, "-.", "^"), (GREEN, ":", "D"), (PURPLE, (0, (5, 1, 1, 1)), "v"),
    (RED, (0, (1, 1)), "P"))]
BUFFER = {"color": "0.88", "zorder": 0, "linewidth": 0}

FORMATS = ("png", "pdf", "svg")
# TrueType in a PDF, for journals refuse Type 3; no dates and random names, so that the same figure is the same file.
_FILES = {"pdf.fonttype": 42, "svg.hashsalt": "r4c"}
_NO_DATE = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def line_style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of the index-th line."""
    return LINES[index % len(LINES)]


def new_figure(width: float, height: float):
    """An empty figure of so many inches, which needs no display."""
    # Imported here, for Train.py and Test.py start faster without it.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def name_text(name: str, width: int = 24) -> str:
    """A name as a figure shows it: the middle of a long one left out, and a dollar is no formula."""
    if len(name) > width:
        name = f"{name[:(width + 1) // 2]}…{name[len(name) - width // 2 + 1:]}"
    return name.replace("$", r"\$")


def names_text(names: Iterable[str], width: int, lines: int = 4, before: str = "") -> str:
    """Names with commas between them, broken into lines of `width` characters; of too many, the first lines."""
    text = textwrap.wrap(before + ", ".join(name_text(name, width - 2) for name in names), width)
    return "\n".join([*text[:lines - 1], f"{text[lines - 1]} …"] if len(text) > lines else text)


def show_picture(axes, picture: Image.Image) -> None:
    """A picture without ticks; one more than twice as long as wide is squeezed to 2 : 1, or it would vanish."""
    picture = picture.copy()
    picture.thumbnail((384, 384))
    axes.imshow(np.asarray(picture), extent=(0, 1, 0, 1), aspect="auto")
    axes.set_box_aspect(np.clip(picture.height / picture.width, 0.5, 2))
    axes.set(xticks=[], yticks=[])


def show_buffer(axes, reach: float) -> None:
    """The buffer interval 0.5 - reach ... 0.5 + reach on a horizontal score axis, and the threshold."""
    axes.axvspan(0.5 - reach, 0.5 + reach, **BUFFER)
    axes.axvline(0.5, color="0.5", linewidth=0.8, zorder=0.5)


def png_of(figure) -> bytes:
    """The figure as a PNG, for a page on the screen."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `save_figure` has said which characters the font lacks
        figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def save_figure(figure, path: Path, formats: Iterable[str] = ("png",)) -> None:
    """Write <path>.<format> for each of `formats`. Characters that the font lacks become boxes, and one warning."""
    import matplotlib

    with warnings.catch_warnings(record=True) as caught, matplotlib.rc_context(_FILES):
        for kind in formats:
            figure.savefig(path.with_name(f"{path.name}.{kind}"), dpi=200, metadata=_NO_DATE[kind])
    if caught:
        warn(f"{path.name}: {caught[0].message}")
