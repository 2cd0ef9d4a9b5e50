"""All figures of scores alone, with their titles and captions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from utils.metrics import confusions
from utils.results import Results

from .confusion import draw_co_occurrence, draw_confusion, draw_mistakes
from .histogram import draw_histogram
from .precision_recall import draw_precision_recall
from .reliability import draw_reliability
from .threshold import draw_thresholds


@dataclass(frozen=True)
class TitledFigure:
    """A figure. stem: its file's name without suffix. caption: what it shows."""

    stem: str
    title: str
    caption: str
    figure: Any


NOT_PROBABILITIES = "R4C's scores order labels about 0.5; no part of its loss makes them probabilities."


def score_figures(results: Results) -> Iterator[TitledFigure]:
    """All figures of scores alone."""
    scores, decided, labels, names = results.scores, results.decided, results.labels, results.names
    reach, ranks = results.buffers(), any(reach is not None for reach in results.reach.values())
    yield TitledFigure("score_histogram", "Where the scores are",
                "Scores of present and of absent labels, each as a share of all of its kind, on a logarithmic axis. "
                "Gray: the buffer interval, which R4C's neutral items shall keep free.",
                draw_histogram(scores, labels, reach))
    yield TitledFigure("reliability", "Reliability",
                "The share of present labels among those of about the same score, and the expected calibration error "
                "(ECE).", draw_reliability(scores, labels, NOT_PROBABILITIES * ranks))
    yield TitledFigure("precision_recall", "Precision and recall",
                "Of each label, with its number of positives and the average precision (AP) of each checkpoint, in "
                "percent. Gray: the share of positives, where chance lies.",
                draw_precision_recall(scores, labels, names))
    yield TitledFigure("thresholds", "F1 over the threshold",
                "A threshold that was read off test images must not be used for figures on them.",
                draw_thresholds(scores, labels, max(reach.values())))
    if results.single_label:
        for number, (title, own) in enumerate(scores.items(), start=1):
            yield TitledFigure(f"confusion_{number}", f"Confusion: {title}",
                        "True class by row, class of the highest score by column.",
                        draw_confusion(confusions(own, labels), names))
    else:
        yield TitledFigure("co_occurrence", "Labels that occur together", "In truth, and as each checkpoint predicts them.",
                    draw_co_occurrence(decided, labels, names))
        yield TitledFigure("mistakes", "What is predicted in place of what",
                    "Of the images in which the row's label was missed (their number in brackets), the share in which "
                    "the column's was predicted and is absent.", draw_mistakes(decided, labels, names))
