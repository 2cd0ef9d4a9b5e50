"""What all figures share: sizes, colours that differ in gray too, names as text, files."""

import functools
import io
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from utils.errors import warn

WIDTH = 7.2  # inches: both columns of a journal page, so that 8 pt in a figure are 8 pt in print
_CHARACTERS_PER_INCH = 15  # of 8 pt

# Okabe & Ito's colours, which the colour-blind tell apart; no line or bar is told by its colour alone.
BLUE, RED, GREEN, ORANGE, PURPLE, BLACK = "#0072b2", "#c1121f", "#009e73", "#e69f00", "#aa4499", "#222222"
_COLORS = (BLACK, BLUE, ORANGE, GREEN, PURPLE, RED)
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BUFFER = {"color": "0.88", "zorder": 0, "linewidth": 0}

FORMATS = ("png", "pdf", "svg")
# TrueType in a PDF, for journals refuse Type 3; no dates and random names, so that the same figure is the same file.
_FILES = {"pdf.fonttype": 42, "svg.hashsalt": "r4c"}
_NO_DATE = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def line_style(index: int, marker: bool = True) -> dict[str, Any]:
    """Colour, dashes and marker of the index-th line; 36 lines differ."""
    again, color = divmod(index, len(_COLORS))
    return {"color": _COLORS[color], "linestyle": _DASHES[(color + again) % len(_DASHES)],
            "marker": _MARKERS[index % len(_MARKERS)] if marker else None}


def new_figure(width: float, height: float):
    """An empty figure of so many inches, which needs no display."""
    # Imported here, for Train.py and Test.py start faster without it.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _width(text: str) -> float:
    """About how many average letters a text is wide."""
    return sum(1.7 if unicodedata.east_asian_width(letter) in "WF" else 1.25 if letter.isupper() or letter in "mwMW@%"
               else 1 for letter in text)


def name_text(name: str, width: int = 24) -> str:
    """A name as a figure shows it: the middle of a long one left out, and a dollar is no formula."""
    text, kept = name, len(name)
    while _width(text) > width:
        kept -= 1
        text = f"{name[:(kept + 1) // 2]}…{name[len(name) - kept // 2:]}"
    return text.replace("$", r"\$")


def names_text(names: Iterable[str], width: int, lines: int = 4, before: str = "") -> str:
    """Names with commas between them, broken into lines of `width` characters; of too many, the first lines."""
    text = textwrap.wrap(before + ", ".join(name_text(name, width - 2) for name in names), width)
    return "\n".join([*text[:lines - 1], f"{text[lines - 1]} …"] if len(text) > lines else text)


def title_text(title: str, width: int, lines: int = 3) -> str:
    """A checkpoint's title in lines of `width` characters; of too many, the first and the last."""
    text = textwrap.wrap(title.replace("$", r"\$"), width)
    return "\n".join([*text[:lines - 1], f"…{text[-1]}"] if len(text) > lines else text)


def show_legend(figure, handles: Iterable, titles: Iterable[str], where: str = "upper") -> None:
    """A legend above or below ("lower") all panels, in as many columns as have room."""
    texts = [title_text(title, 60) for title in titles]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    columns = int(_CHARACTERS_PER_INCH * figure.get_figwidth() / (longest + 9))
    figure.legend(handles, texts, loc=f"outside {where} center", ncols=min(max(1, columns), len(texts)), frameon=False,
                  fontsize=8)


def show_caption(figure, text: str) -> None:
    """A sentence below all panels."""
    figure.supxlabel(textwrap.fill(text, int(_CHARACTERS_PER_INCH * figure.get_figwidth())), fontsize=8)


def thumbnail(picture: Image.Image) -> Image.Image:
    """As large as a figure can show it."""
    picture = picture.copy()
    picture.thumbnail((384, 384))
    return picture


def show_image(axes, picture: Image.Image) -> None:
    """A picture without ticks; one more than twice as long as wide is squeezed to 2 : 1, or it would vanish."""
    axes.imshow(np.asarray(picture), extent=(0, 1, 0, 1), aspect="auto", cmap="gray", vmin=0, vmax=255)
    axes.set_box_aspect(np.clip(picture.height / picture.width, 0.5, 2))
    axes.set(xticks=[], yticks=[])


def show_buffer(axes, reach: float, threshold: bool = True) -> None:
    """The buffer interval 0.5 - reach ... 0.5 + reach on a horizontal score axis, and in it the threshold."""
    axes.axvspan(0.5 - reach, 0.5 + reach, **BUFFER)
    if threshold:
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
        _warn_once(str(caught[0].message))


@functools.cache
def _warn_once(message: str) -> None:
    warn(message)
