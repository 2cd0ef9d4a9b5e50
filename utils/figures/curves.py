"""Training curves: of one run (curves.png), and of several runs in one figure."""

import csv
import math
from pathlib import Path
from typing import Any

from utils.errors import InputError
from utils.metrics import METRICS

from .style import WIDTH, line_styles, new_figure, show_legend

_REQUIRED = {"epoch", "lr", "train_loss", "val_mAP", "val_OF1"}
_VALIDATION = {f"val_{metric.name}": metric.column for metric in METRICS.values() if metric.in_curves}


def read_log(log: Path) -> dict[str, list[float]]:
    """The columns of a log.csv that `write_log` wrote, NaN where an epoch of an older version lacks the value;
    incomplete rows are left out.

    Raises:
        InputError: for any other file.
    """
    try:
        with open(log, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        columns = {name: [float(row[name] if name in _REQUIRED else row[name] or "nan") for row in rows]
                   for name in rows[0]} if rows else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{log} cannot be read as the log of a run ({error})") from error
    if not _REQUIRED <= columns.keys():
        raise InputError(f"{log} is not the log of a run with a finished epoch")
    return columns


def draw_curves(log: Path, title: str):
    """One run: the loss and its terms, the validation metrics, the learning rate; `title` gives the loss its colour."""
    columns = read_log(log)
    losses = {name: name.removeprefix("train_") for name in columns
              if name.startswith("train_") and name != "train_images_per_second"}
    if len(losses) == 2:  # a loss with a single term, which it equals
        losses.popitem()
    figure = new_figure(12, 3.5)
    for axes, (panel, lines) in zip(figure.subplots(1, 3), {
            "training loss": losses, "validation (%)": _VALIDATION, "learning rate": {"lr": "lr"}}.items()):
        lines = {name: label for name, label in lines.items() if columns.get(name)}
        styles = line_styles({*lines.values()} - {"loss", "lr"})
        for name, label in lines.items():
            style = styles.get(label, line_styles([title])[title])
            _draw_line(axes, columns, name, label, style, 100 if panel == "validation (%)" else 1)
        axes.set(title=panel, xlabel="epoch")
        if panel == "learning rate":
            _log_axis(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def draw_comparison(logs: dict[str, list[Path]]):
    """Several runs: validation mAP, the metric that selects the epoch, and the training loss relative to the first
    epoch's, because losses have different units. Runs with one title, which differ by seed, look alike.

    Args:
        logs: title -> the log.csv of its runs.
    """
    figure, styles = new_figure(WIDTH * 1.4, 3.6), line_styles(logs)
    columns = {title: [read_log(log) for log in paths] for title, paths in logs.items()}
    single_label = all("val_accuracy" in run for runs in columns.values() for run in runs)
    selection_metric = "val_accuracy" if single_label else "val_OF1"
    panels = {"val_mAP": "validation mAP (%)", selection_metric: f"validation {_VALIDATION[selection_metric]} (%)",
              "train_loss": "training loss / first epoch's"}
    for axes, (name, title) in zip(figure.subplots(1, 3), panels.items()):
        for run_title, runs in columns.items():
            for run in runs:
                scale = 1 / (run[name][0] or math.nan) if name == "train_loss" else 100
                _draw_line(axes, run, name, run_title, styles[run_title], scale)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        if name == "train_loss":
            _log_axis(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    show_legend(figure, unique.values(), unique, "lower")
    return figure


def _draw_line(axes, columns: dict[str, list[float]], name: str, label: str, style: dict[str, Any],
               scale: float) -> None:
    epochs = columns["epoch"]
    axes.set_xlim(0.5, max(axes.get_xlim()[1], epochs[-1] + 0.5))
    axes.plot(epochs, [scale * value for value in columns[name]], label=label, markersize=4,
              markevery=max(1, len(epochs) // 8), **style)


def _log_axis(axes) -> None:
    """Make the y axis of a drawn panel logarithmic, with plain numbers such as 0.5."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
