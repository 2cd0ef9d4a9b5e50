"""What all figures share: sizes, colours that differ in gray too, text for names, files."""

import io
import os
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from utils.errors import warn_once

WIDTH = 7.2  # inches: both columns of a journal page, so that 8 pt in a figure are 8 pt in print
_CHARACTERS_PER_INCH = 15  # of 8 pt

# Okabe & Ito's colours, which the colour-blind can tell apart; no line or bar is identified by its colour alone.
BLUE, RED, GREEN, ORANGE, PURPLE, BLACK = "#0072b2", "#c1121f", "#009e73", "#e69f00", "#aa4499", "#222222"
_COLORS = (BLACK, BLUE, ORANGE, GREEN, PURPLE, RED, "#56b4e9", "#8c510a", "#888888", "#999933", "#332288")
_LOSSES = ("r4c", "bce", "focal", "asl", "ce", "twoway", "zlpr", "smoothap")  # in the order of colours
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BUFFER = {"color": "0.88", "zorder": 0, "linewidth": 0}

FORMATS = ("png", "pdf", "svg")
# TrueType in PDFs, because journals reject Type 3; no dates and no random names, so that files are reproducible.
_FILES = {"pdf.fonttype": 42, "svg.hashsalt": "figure"}
_NO_DATE = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


# Read when matplotlib is imported. A notebook's backend cannot draw here, and a user's settings can need LaTeX.
os.environ["MPLBACKEND"], os.environ["MATPLOTLIBRC"] = "agg", os.devnull


def line_style(index: int, variant: int = 0, marker: bool = True) -> dict[str, Any]:
    """Colour, dashes and marker of the index-th line; 64 lines differ. Variants have the same colour."""
    again, color = divmod(index, len(_COLORS))
    return {"color": _COLORS[color], "linestyle": _DASHES[(color + again + variant) % len(_DASHES)],
            "marker": _MARKERS[(index + variant) % len(_MARKERS)] if marker else None}


def line_styles(titles: Iterable[str], marker: bool = True) -> dict[str, dict[str, Any]]:
    """Title -> `line_style`, whatever the order of the titles. A title starts with its loss, which has the same colour
    in every figure; titles of the same loss are its variants."""
    losses = {title: re.match(rf"({'|'.join(_LOSSES)})(?![^\W_])|[^,]*", title.lower().replace("-", ""))[0]
              for title in sorted(titles)}
    indices = [*_LOSSES, *sorted({*losses.values()}.difference(_LOSSES))]
    variants = {loss: [title for title in losses if losses[title] == loss] for loss in indices}
    return {title: line_style(indices.index(loss), variants[loss].index(title), marker)
            for title, loss in losses.items()}


def new_figure(width: float, height: float):
    """An empty figure of this size in inches, which needs no display."""
    # Imported here so that programs start faster.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _width(text: str) -> float:
    """The approximate width of a text in average letters."""
    return sum(1.7 if unicodedata.east_asian_width(letter) in "WF" else 1.25 if letter.isupper() or letter in "mwMW@%"
               else 1 for letter in text)


def name_text(name: str, width: int = 24) -> str:
    """A name for a figure: long ones are shortened in the middle, and a dollar sign starts no formula."""
    text, length = name, len(name)
    while _width(text) > width:
        length -= 1
        text = f"{name[:(length + 1) // 2]}…{name[len(name) - length // 2:]}"
    return text.replace("$", r"\$")


def names_text(names: Iterable[str], width: int, lines: int = 4, before: str = "") -> str:
    """Comma-separated names, wrapped to `width` characters; at most the first `lines` lines."""
    text = textwrap.wrap(before + ", ".join(name_text(name, width - 2) for name in names), width)
    return "\n".join([*text[:lines - 1], f"{text[lines - 1]} …"] if len(text) > lines else text)


def title_text(title: str, width: int, lines: int = 3) -> str:
    """A checkpoint's title, wrapped to `width` characters; of too many lines, the first ones and the last."""
    text = textwrap.wrap(title.replace("$", r"\$"), width)
    return "\n".join([*text[:lines - 1], f"…{text[-1]}"] if len(text) > lines else text)


def show_legend(figure, handles: Iterable, titles: Iterable[str], where: str = "upper") -> None:
    """A legend above or below ("lower") all panels, in as many columns as fit."""
    texts = [title_text(title, 60) for title in titles]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    columns = int(_CHARACTERS_PER_INCH * figure.get_figwidth() / (longest + 9))
    figure.legend(handles, texts, loc=f"outside {where} center", ncols=min(max(1, columns), len(texts)), frameon=False,
                  fontsize=8)


def show_caption(figure, text: str) -> None:
    """A sentence below all panels."""
    figure.supxlabel(textwrap.fill(text, int(_CHARACTERS_PER_INCH * figure.get_figwidth())), fontsize=8)


def thumbnail(image: Image.Image) -> Image.Image:
    """A copy no larger than a figure can show."""
    image = image.copy()
    image.thumbnail((384, 384))
    return image


def shown_aspect(image: Image.Image) -> float:
    """Height / width at which an image is shown: limited to 2 : 1, or it would be invisible."""
    return float(np.clip(image.height / image.width, 0.5, 2))


def show_image(axes, image: Image.Image) -> None:
    """Show an image without ticks."""
    axes.imshow(np.asarray(image), extent=(0, 1, 0, 1), aspect="auto", cmap="gray", vmin=0, vmax=255)
    axes.set_box_aspect(shown_aspect(image))
    axes.set(xticks=[], yticks=[])


def show_buffer(axes, halfwidth: float | None, threshold: bool = True) -> None:
    """Mark the buffer interval around 0.5, if any, and the threshold on a horizontal score axis."""
    if halfwidth is not None:
        axes.axvspan(0.5 - halfwidth, 0.5 + halfwidth, **BUFFER)
    if threshold:
        axes.axvline(0.5, color="0.5", linewidth=0.8, zorder=0.5)


def remove_figures(folder: Path, kind: str) -> None:
    """Remove the numbered figures of an earlier call, which may have drawn more of them."""
    for file in folder.glob(f"{kind}_[0-9]*"):
        if file.suffix[1:] in FORMATS:
            file.unlink()


def png_of(figure) -> bytes:
    """The figure as a PNG, for a web page."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `save_figure` has warned of the characters that the font lacks
        figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def save_figure(figure, path: Path, formats: Iterable[str] = ("png",)) -> None:
    """Write <path>.<format> for each of `formats`. Characters that the font lacks become boxes, with one warning."""
    import matplotlib

    with warnings.catch_warnings(record=True) as caught, matplotlib.rc_context(_FILES):
        for kind in formats:
            figure.savefig(path.with_name(f"{path.name}.{kind}"), dpi=200, metadata=_NO_DATE[kind])
    if caught:
        message = str(caught[0].message)
        warn_once(message, message)
