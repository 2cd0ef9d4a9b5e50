"""The figures of a test, with their titles and captions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from utils.metrics import confusions
from utils.results import Results

from .confusion import draw_co_occurrence, draw_confusion, draw_mistakes
from .curves import draw_comparison, draw_curves
from .histogram import draw_histogram
from .precision_recall import draw_precision_recall
from .predictions import draw_predictions
from .reliability import draw_reliability
from .style import save_figure
from .threshold import draw_thresholds


@dataclass(frozen=True)
class TitledFigure:
    """stem: the file name without suffix."""

    stem: str
    title: str
    caption: str
    figure: Any


def save_figures(figures: Iterable[TitledFigure], folder: Path, formats: Sequence[str]) -> Iterator[TitledFigure]:
    """Write each figure as it is drawn, and print its file name."""
    for titled in figures:
        save_figure(titled.figure, folder / titled.stem, formats)
        print(f"figure:  {folder / titled.stem}.{formats[0]}")
        yield titled


def training_figure(logs: dict[str, Path]) -> TitledFigure:
    """The curves of the log.csv of each checkpoint."""
    figure = draw_comparison({title: [log] for title, log in logs.items()}) if len(logs) > 1 else draw_curves(
        *logs.values(), *logs)
    return TitledFigure("training", "Training", "Over the epochs; the epoch of the checkpoint is in the table.", figure)


def prediction_figures(results: Results, images: Iterable[Image.Image]) -> Iterator[TitledFigure]:
    """The images in `results` with their predictions, page by page."""
    caption = "The labels that each checkpoint ranks highest. Gray: the buffer interval. "
    caption += "The first is predicted." if results.single_label else "Line: the threshold."
    for page, figure in enumerate(draw_predictions(images, results), start=1):
        yield TitledFigure(f"predictions_{page}", "Predicted labels", caption, figure)


def score_figures(results: Results) -> Iterator[TitledFigure]:
    """Draw the figures of scores, one at a time."""
    scores, predicted, labels, names = results.scores, results.predicted, results.labels, results.label_names
    buffers = results.shown_buffers()
    widest = max((width for width in buffers.values() if width is not None), default=None)
    yield TitledFigure("score_histogram", "Score distributions",
                       "Scores of present and of absent labels, each as a share of all labels of that kind, on a "
                       "logarithmic axis. Gray: the buffer interval, which the loss should keep free of scores.",
                       draw_histogram(scores, labels, buffers))
    yield TitledFigure("reliability", "Reliability",
                       "The share of present labels among those with similar scores, and the expected calibration "
                       "error (ECE).", draw_reliability(scores, labels))
    yield TitledFigure("precision_recall", "Precision and recall",
                       "For each label, with its number of positives and the average precision (AP) of each "
                       "checkpoint in percent. Gray: the share of positives, the precision of chance.",
                       draw_precision_recall(scores, labels, names))
    yield TitledFigure("thresholds", "F1 over the threshold",
                       "A threshold chosen on test images must not be used for results on them.",
                       draw_thresholds(scores, labels, widest))
    if results.single_label:
        for number, (title, matrix) in enumerate(scores.items(), start=1):
            yield TitledFigure(f"confusion_{number}", f"Confusion: {title}",
                               "True class by row, class of the highest score by column.",
                               draw_confusion(confusions(matrix, labels), names))
    else:
        yield TitledFigure("co_occurrence", "Labels that occur together",
                           "In truth, and as each checkpoint predicts them.",
                           draw_co_occurrence(predicted, labels, names))
        yield TitledFigure("mistakes", "What is predicted instead",
                           "Of the images in which the row's label was missed (their number in brackets), the share "
                           "in which the column's was predicted but is absent.",
                           draw_mistakes(predicted, labels, names))
