"""Training curves: of one run (curves.png), and of several runs in one figure."""

import csv
from pathlib import Path

from utils.errors import InputError
from utils.metrics import METRICS

from .style import WIDTH, line_style, new_figure, show_legend

_VALIDATION = {f"val_{metric.name}": metric.column for metric in METRICS.values() if metric.in_curves}


def read_log(log: Path) -> dict[str, list[float]]:
    """The columns of a log.csv that `write_log` wrote; incomplete rows are left out.

    Raises:
        InputError: for any other file.
    """
    try:
        with open(log, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        columns = {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{log} cannot be read as the log of a run ({error})") from error
    if not {"epoch", "lr", "train_loss", "val_mAP", "val_OF1"} <= columns.keys():
        raise InputError(f"{log} is not the log of a run with a finished epoch")
    return columns


def draw_curves(log: Path):
    """One run: the loss and its terms, the validation metrics, the learning rate."""
    columns = read_log(log)
    losses = {name: name.removeprefix("train_") for name in columns
              if name.startswith("train_") and name != "train_images_per_second"}
    if len(losses) == 2:  # a loss with a single term, which it equals
        losses.popitem()
    figure = new_figure(12, 3.5)
    for axes, (title, lines) in zip(figure.subplots(1, 3), {
            "training loss": losses, "validation (%)": _VALIDATION, "learning rate": {"lr": "lr"}}.items()):
        for index, name in enumerate(filter(columns.get, lines)):
            _draw_line(axes, columns, name, lines[name], index, 100 if lines is _VALIDATION else 1)
        axes.set(title=title, xlabel="epoch", yscale="log" if title == "learning rate" else "linear")
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
    figure = new_figure(WIDTH * 1.4, 3.6)
    columns = {title: [read_log(log) for log in paths] for title, paths in logs.items()}
    single_label = all("val_accuracy" in run for runs in columns.values() for run in runs)
    selection_metric = "val_accuracy" if single_label else "val_OF1"
    panels = {"val_mAP": "validation mAP (%)", selection_metric: f"validation {_VALIDATION[selection_metric]} (%)",
              "train_loss": "training loss / first epoch's"}
    for axes, (name, title) in zip(figure.subplots(1, 3), panels.items()):
        for index, (run_title, runs) in enumerate(columns.items()):
            for run in runs:
                scale = 1 / run[name][0] if name == "train_loss" else 100
                _draw_line(axes, run, name, run_title, index, scale)
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="epoch", yscale="log" if name == "train_loss" else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    show_legend(figure, unique.values(), unique, "lower")
    return figure


def _draw_line(axes, columns: dict[str, list[float]], name: str, label: str, index: int, scale: float) -> None:
    epochs = columns["epoch"]
    axes.set_xlim(0.5, max(axes.get_xlim()[1], epochs[-1] + 0.5))
    axes.plot(epochs, [scale * value for value in columns[name]], label=label, markersize=4,
              markevery=max(1, len(epochs) // 8), **line_style(index))
