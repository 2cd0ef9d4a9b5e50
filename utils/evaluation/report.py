"""The results of a test: tables for the screen, and metrics.json, per_label.csv, scores.csv and confusion.csv."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.metrics import (
    METRICS,
    RARE,
    confusions,
    f1_over_thresholds,
    macro_metrics,
    multilabel_metrics,
    official_script_f_scores,
    per_class_metrics,
    per_label_metrics,
    single_label_metrics,
    undefined_terms,
)
from utils.results import Results
from utils.run.atomic import write_csv, write_text


def evaluate(scores: np.ndarray, labels: np.ndarray, names: list[str], single_label: bool = False,
             validation_threshold: float | None = None) -> dict[str, Any]:
    """All metrics of a test: (N, C) scores and labels, C label names -> a dict that json can write.

    Undefined values (the AP of a label without positives) are None. With one label per image, the metrics of the arg
    max come in addition to those of the threshold 0.5; otherwise, F1 at the threshold that the validation images
    selected, if there is one.
    """
    per_label = per_label_metrics(scores, labels)
    support = per_label["support"]
    tuned = {}
    if single_label:
        per_label |= per_class_metrics(scores, labels)
    elif validation_threshold is not None:
        (micro,), (macro,) = f1_over_thresholds(scores, labels, np.array([validation_threshold]))
        tuned = {"at_validation_threshold": {"threshold": validation_threshold, "OF1": float(micro),
                                             "macro_F1": float(macro)}}
    return {
        "images": len(labels),
        **({"single_label": _without_nan(single_label_metrics(scores, labels))} if single_label else {}),
        "metrics": _without_nan(multilabel_metrics(scores, labels)),
        "without_rare_labels": {"min_support": RARE, "left_out": [n for n, s in zip(names, support) if s < RARE],
                                **_without_nan(macro_metrics(per_label, RARE))},
        "reference_script": {"batch_size": 64, **official_script_f_scores(scores, labels, 64)},
        **tuned,
        "labels_without_positives": [n for n, s in zip(names, support) if s == 0],
        "undefined_counted_0": undefined_terms(scores, labels),
        "per_label": {name: _without_nan({metric: values[i].item() for metric, values in per_label.items()})
                      for i, name in enumerate(names)},
    }


def format_report(report: dict[str, Any]) -> str:
    """The tables of `evaluate`'s results for the screen, in percent with two decimals."""
    rare, per_label, single_label = report["without_rare_labels"], report["per_label"], report.get("single_label")
    frequent = len(per_label) - len(rare["left_out"])
    lines = []
    if single_label:
        lines = ["The class of the highest score (arg max):",
                 *(f"{METRICS[name].title:32}{METRICS[name].format(value):>12}"
                   for name, value in single_label.items()),
                 "", "Each score against the threshold 0.5, as the reference script computes precision, recall and F1",
                 "of single-label data too (its accuracy is that of the arg max):"]
    lines.append(f"{'':32}{'all labels':>12}{f'{frequent} labels with {RARE}+ positives':>34}")
    for name, value in report["metrics"].items():
        of_frequent = f"{percent(rare[name]):>34}" if name in rare else ""
        lines.append(f"{METRICS[name].title:32}{METRICS[name].format(value):>12}{of_frequent}")
    script = report["reference_script"]
    lines.append(f"{'reference script F1, F2':32}{percent(script['F1']):>12}{percent(script['F2']):>8}"
                 "   (its formula; comparable with results of that script only)")
    if tuned := report.get("at_validation_threshold"):
        title = f"micro, macro F1 at {tuned['threshold']:.2f}"
        lines.append(f"{title:32}{percent(tuned['OF1']):>12}{percent(tuned['macro_F1']):>8}"
                     "   (the threshold with the best micro F1 on the validation images)")
    columns = per_label_columns(report)
    width = max(20, *(len(name) + 1 for name in per_label))
    title = "class (arg max)" if single_label else "label"
    lines += ["", f"{title:{width}}" + "".join(f"{column:>8}" for column in columns.values()) + f"{'support':>9}"]
    for name, row in per_label.items():
        lines.append(f"{name:{width}}" + "".join(f"{percent(row[metric]):>8}" for metric in columns)
                     + f"{row['support']:>9}")
    lines.append("")
    if report["labels_without_positives"]:
        lines.append(f"left out of mAP (no positives): {', '.join(report['labels_without_positives'])}")
    undefined = [f"{count} {name.replace('_', ' ')}" for name, count in report["undefined_counted_0"].items() if count]
    if undefined:
        lines.append(f"ratios 0/0 counted 0: {', '.join(undefined)}")
    return "\n".join(lines).rstrip()


def per_label_columns(report: dict[str, Any]) -> dict[str, str]:
    """The metrics in a table of labels, and their titles; with one label per image, those of the arg max."""
    prefix = "argmax_" * ("single_label" in report)
    return {"AP": "AP", f"{prefix}precision": "P", f"{prefix}recall": "R", f"{prefix}F1": "F1"}


def write_report(folder: Path, report: dict[str, Any], images: list[Path], scores: np.ndarray,
                 labels: np.ndarray) -> None:
    """Write metrics.json, per_label.csv and scores.csv (each image with its scores and labels) into `folder`, and with
    one label per image confusion.csv."""
    write_text(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
    names = list(report["per_label"])
    write_csv(folder / "per_label.csv", [["label", *report["per_label"][names[0]]],
                                         *([name, *row.values()] for name, row in report["per_label"].items())])
    # Nine digits restore the same float32: every metric can be computed again from this file.
    write_csv(folder / "scores.csv", [
        ["image", *(f"score {name}" for name in names), *(f"label {name}" for name in names)],
        *([image, *(f"{score:.9g}" for score in image_scores), *(f"{label:.0f}" for label in image_labels)]
          for image, image_scores, image_labels in zip(images, scores, labels))])
    if "single_label" in report:
        rows = confusions(scores, labels).tolist()
        write_csv(folder / "confusion.csv", [["true\\predicted", *names],
                                             *([name, *row] for name, row in zip(names, rows))])


def write_predictions(file: Path, results: Results, title: str,
                      unreadable: Sequence[Path] = ()) -> None:
    """Write predictions.csv of the checkpoint called `title`, and print its first lines: each image with its predicted
    labels, separated by semicolons, and all its scores. `unreadable` images have none."""
    names, scores = results.label_names, results.scores[title]
    labels = [";".join(name for name, is_predicted in zip(names, row) if is_predicted)
              for row in results.predicted[title]]
    rows = [[image, row_labels, *(f"{score:.9g}" for score in row_scores)]
            for image, row_labels, row_scores in zip(results.images, labels, scores)]
    skipped = [[image, "", *[""] * len(names), "unreadable"] for image in unreadable]
    write_csv(file, [["image", "labels", *names, *["error"] * bool(skipped)], *rows, *skipped])
    for image, image_labels in list(zip(results.images, labels))[:10]:
        print(f"{image}: {image_labels or '(none above 0.5)'}")
    print(f"labels and scores of {len(labels)} images: {file}")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
