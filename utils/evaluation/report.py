"""The evaluation of a checkpoint: tables on the screen; metrics.json, per_label.csv and scores.csv on the disk."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from utils.figures.confusion import draw_confusion, write_confusion
from utils.figures.style import save_figure
from utils.metrics import (
    RARE,
    confusions,
    decisions,
    macro_metrics,
    multilabel_metrics,
    official_script_f_scores,
    per_class_metrics,
    per_label_metrics,
    single_label_metrics,
    undefined_terms,
)
from utils.run.atomic import write_csv, write_text

TITLES = {
    "mAP": "mAP", "OP": "overall precision (OP)", "OR": "overall recall (OR)", "OF1": "overall = micro F1 (OF1)",
    "CP": "per-label precision (CP)", "CR": "per-label recall (CR)", "CF1": "harmonic mean of CP, CR (CF1)",
    "macro_F1": "macro F1", "example_precision": "example precision", "example_recall": "example recall",
    "example_F1": "example F1", "example_F2": "example F2", "hamming_loss": "Hamming loss",
    "ranking_loss": "ranking loss", "coverage": "coverage (labels)", "one_error": "one-error",
    "subset_accuracy": "subset accuracy",
    "accuracy": "overall accuracy (OA)", "average_accuracy": "average accuracy (AA)", "kappa": "Cohen's kappa",
    "argmax_precision": "macro precision", "argmax_recall": "macro recall", "argmax_F1": "macro F1",
    "top5": "top-5 accuracy",
}


def evaluate(scores: np.ndarray, labels: np.ndarray, names: list[str], single_label: bool = False) -> dict[str, Any]:
    """All figures of a test: (N, C) scores and labels, C label names -> a dict that json can write.

    Figures that are not defined (the AP of a label without positives) are None. For a single label, those of the arg
    max stand beside those of the threshold.
    """
    per_label = per_label_metrics(scores, labels)
    support = per_label["support"]
    if single_label:
        per_label |= per_class_metrics(scores, labels)
    return {
        "images": len(labels),
        **({"single_label": _plain(single_label_metrics(scores, labels))} if single_label else {}),
        "metrics": _plain(multilabel_metrics(scores, labels)),
        "without_rare_labels": {"min_support": RARE, "left_out": [n for n, s in zip(names, support) if s < RARE],
                                **_plain(macro_metrics(per_label, RARE))},
        "reference_script": {"batch_size": 64, **official_script_f_scores(scores, labels, 64)},
        "labels_without_positives": [n for n, s in zip(names, support) if s == 0],
        "undefined_counted_0": undefined_terms(scores, labels),
        "per_label": {name: _plain({figure: values[i].item() for figure, values in per_label.items()})
                      for i, name in enumerate(names)},
    }


def format_report(report: dict[str, Any]) -> str:
    """The tables of `evaluate`'s figures for the screen: percent with two decimals."""
    rare, per_label, single = report["without_rare_labels"], report["per_label"], report.get("single_label")
    kept = len(per_label) - len(rare["left_out"])
    lines = []
    if single:
        lines = ["The class of the highest score (arg max):",
                 *(f"{TITLES[name]:32}{percent(value):>12}" for name, value in single.items()),
                 "", "Each score against the threshold 0.5, as the reference script takes precision, recall and F1 of",
                 "single-label data too (its accuracy is that of the arg max):"]
    lines.append(f"{'':32}{'all labels':>12}{f'{kept} labels with {RARE}+ positives':>34}")
    for name, value in report["metrics"].items():
        of_kept = f"{percent(rare[name]):>34}" if name in rare else ""
        lines.append(f"{TITLES[name]:32}{figure_text(name, value):>12}{of_kept}")
    script = report["reference_script"]
    lines.append(f"{'reference script F1, F2':32}{percent(script['F1']):>12}{percent(script['F2']):>8}"
                 "   (its formula; comparable with numbers of that script only)")
    columns = per_label_columns(report)
    width = max(20, *(len(name) + 1 for name in per_label))
    title = "class (arg max)" if single else "label"
    lines += ["", f"{title:{width}}" + "".join(f"{column:>8}" for column in columns.values()) + f"{'support':>9}"]
    for name, row in per_label.items():
        lines.append(f"{name:{width}}" + "".join(f"{percent(row[figure]):>8}" for figure in columns)
                     + f"{row['support']:>9}")
    lines.append("")
    if report["labels_without_positives"]:
        lines.append(f"left out of mAP, for they have no positive: {', '.join(report['labels_without_positives'])}")
    undefined = [f"{count} {name.replace('_', ' ')}" for name, count in report["undefined_counted_0"].items() if count]
    if undefined:
        lines.append(f"ratios 0/0 counted 0: {', '.join(undefined)}")
    return "\n".join(lines).rstrip()


def per_label_columns(report: dict[str, Any]) -> dict[str, str]:
    """The figures of each label that a table shows, and their titles: of a single label, those of the arg max."""
    kind = "argmax_" * ("single_label" in report)
    return {"AP": "AP", f"{kind}precision": "P", f"{kind}recall": "R", f"{kind}F1": "F1"}


def write_report(folder: Path, report: dict[str, Any], images: list[Path], scores: np.ndarray,
                 labels: np.ndarray) -> None:
    """Write metrics.json, per_label.csv and scores.csv (image, its scores, its labels) into `folder`, and for a
    single label confusion.csv and confusion.png."""
    write_text(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
    names = list(report["per_label"])
    write_csv(folder / "per_label.csv", [["label", *report["per_label"][names[0]]],
                                         *([name, *row.values()] for name, row in report["per_label"].items())])
    # Nine digits give back the same float32: every figure can be computed again from this file.
    write_csv(folder / "scores.csv", [
        ["image", *(f"score {name}" for name in names), *(f"label {name}" for name in names)],
        *([image, *(f"{score:.9g}" for score in own), *(f"{label:.0f}" for label in truth)]
          for image, own, truth in zip(images, scores, labels))])
    if "single_label" in report:
        counts = confusions(scores, labels)
        write_confusion(folder / "confusion.csv", counts, names)
        save_figure(draw_confusion(counts, names), folder / "confusion")


def write_predictions(file: Path, images: list[Path], scores: np.ndarray, names: list[str],
                      single_label: bool) -> list[str]:
    """Write predictions.csv: of each image its labels, with semicolons between them, and all its scores.

    Its labels are those with a score above 0.5, or the one with the highest, for a single label. Returns them.
    """
    labels = [";".join(name for name, is_chosen in zip(names, row) if is_chosen)
              for row in decisions(scores, single_label)]
    write_csv(file, [["image", "labels", *names], *([image, row_labels, *(f"{score:.9g}" for score in row_scores)]
                                                    for image, row_labels, row_scores in zip(images, labels, scores))])
    return labels


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def figure_text(name: str, value: float | None) -> str:
    """A figure of a table: percent, save the coverage, which counts labels."""
    return f"{value:.2f}" if name == "coverage" else percent(value)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
