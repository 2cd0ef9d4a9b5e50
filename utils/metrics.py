"""Multilabel metrics at a threshold and of the ranking, and those of single-label data by the arg max.

All take scores (N, C) and labels (N, C) of 0 and 1, NumPy; for a single label they are one-hot.

A score above the threshold is a predicted label. A ratio 0/0 (precision of an image without predictions, say)
counts 0, as in the reference implementation; `undefined_terms` counts how many images and labels that concerns.
All figures but coverage are fractions.
"""

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    confusion_matrix,
    coverage_error,
    label_ranking_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

# Bins of equal width, for the expected calibration error.
CALIBRATION_BINS = 10

# Labels with fewer positives have a precision and recall of a few possible values, and move macro figures.
RARE = 5


def multilabel_metrics(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """All figures of the table, as floats by name.

    mAP                     mean over labels of average precision; labels without a positive are left out
    OP, OR, OF1             overall (micro): over all N * C decisions
    CP, CR, CF1             per label, then the mean over all C labels; CF1 is the harmonic mean of CP and CR
    macro_F1                mean over labels of their F1
    example_*               per image, then the mean over images
    hamming_loss            share of wrong decisions
    ranking_loss            share of (positive, negative) pairs of an image in the wrong order
    coverage                how far down the ranking one goes, on average, to meet all positives (1 ... C)
    one_error               share of images whose first label is not a positive
    subset_accuracy         share of images with no wrong decision

    Raises:
        ValueError: for empty, unequally shaped or non-finite arrays.
    """
    scores, labels, predicted = _decisions(scores, labels, threshold)
    per_label = per_label_metrics(scores, labels, threshold)
    overall = _precision_recall(predicted.ravel(), labels.ravel(), axis=0)
    example_precision, example_recall = _precision_recall(predicted, labels, axis=1)
    first = labels[np.arange(len(labels)), scores.argmax(1)]
    ranking_loss, coverage = _ranking_metrics(scores, labels)
    metrics = {
        "mAP": _mean_ap(per_label),
        "OP": overall[0],
        "OR": overall[1],
        "OF1": f_score(*overall),
        **macro_metrics(per_label),
        "example_precision": example_precision.mean(),
        "example_recall": example_recall.mean(),
        "example_F1": f_score(example_precision, example_recall).mean(),
        "example_F2": f_score(example_precision, example_recall, beta=2).mean(),
        "hamming_loss": (predicted != labels).mean(),
        "ranking_loss": ranking_loss,
        "coverage": coverage,
        "one_error": 1 - first.mean(),
        "subset_accuracy": (predicted == labels).all(1).mean(),
    }
    return {name: float(value) for name, value in metrics.items()}


def per_label_metrics(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """(C,) each: AP (NaN for a label without a positive), precision, recall, F1, and support, its positives."""
    scores, labels, predicted = _decisions(scores, labels, threshold)
    precision, recall = _precision_recall(predicted, labels, axis=0)
    ap = [average_precision_score(y, s) if y.any() else np.nan for y, s in zip(labels.T, scores.T)]
    return {"AP": np.array(ap), "precision": precision, "recall": recall, "F1": f_score(precision, recall),
            "support": labels.sum(0)}


def single_label_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Figures of the arg max, as floats by name.

    accuracy                overall accuracy (OA)
    average_accuracy        recall of each class, mean over the classes that have images (AA)
    kappa                   Cohen's kappa, agreement beyond chance; NaN where only one class occurs
    argmax_precision, argmax_recall, argmax_F1
                            of each class, mean over the classes that have images
    top5                    share of images whose class has one of the five highest scores; NaN for up to 5 classes

    Raises:
        ValueError: for unusable arrays, as `multilabel_metrics`, and labels that are not one-hot.
    """
    true, predicted = _classes(scores, labels)
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=np.unique(true),
                                                               average="macro", zero_division=0)
    classes = np.arange(labels.shape[1])
    metrics = {
        "accuracy": accuracy_score(true, predicted),
        "average_accuracy": recall,
        "kappa": cohen_kappa_score(true, predicted) if len(np.union1d(true, predicted)) > 1 else np.nan,
        "argmax_precision": precision,
        "argmax_recall": recall,
        "argmax_F1": f1,
        "top5": top_k_accuracy_score(true, scores, k=5, labels=classes) if len(classes) > 5 else np.nan,
    }
    return {name: float(value) for name, value in metrics.items()}


def per_class_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """(C,) each: precision, recall and F1 of the arg max."""
    true, predicted = _classes(scores, labels)
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=np.arange(labels.shape[1]),
                                                               zero_division=0)
    return {"argmax_precision": precision, "argmax_recall": recall, "argmax_F1": f1}


def confusions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C, C) counts of images: true class by row, arg max by column."""
    return confusion_matrix(*_classes(scores, labels), labels=np.arange(labels.shape[1]))


def macro_metrics(per_label: dict[str, np.ndarray], min_support: int = 0) -> dict[str, float]:
    """CP, CR, CF1, macro_F1 over the labels with at least `min_support` positives; NaN where there are none.

    With min_support > 0 also mAP over the same labels.
    """
    kept = {name: values[per_label["support"] >= min_support] for name, values in per_label.items()}
    if not len(kept["support"]):
        return dict.fromkeys(("mAP", "CP", "CR", "CF1", "macro_F1"), np.nan)
    precision, recall = kept["precision"].mean(), kept["recall"].mean()
    macro = {"CP": precision, "CR": recall, "CF1": f_score(precision, recall), "macro_F1": kept["F1"].mean()}
    if min_support:
        macro = {"mAP": _mean_ap(kept), **macro}
    return {name: float(value) for name, value in macro.items()}


def decisions(scores: np.ndarray, single_label: bool) -> np.ndarray:
    """The predicted labels (N, C), bool: scores above 0.5, or for a single label, the highest one."""
    if single_label:
        return np.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]
    return scores > 0.5


def image_ranking_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) of each image: the share of (present, absent) label pairs in the wrong order, ties included; 0 without
    pairs. Their mean is the `ranking_loss`."""
    pairs = (labels[:, :, None] == 1) & (labels[:, None, :] == 0)
    wrong = pairs & (scores[:, :, None] <= scores[:, None, :])
    return _ratio(wrong.sum((1, 2)), pairs.sum((1, 2)))


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of a score's bin mean from the share of present labels in the bin, over all N * C scores.

    Guo et al., "On calibration of modern neural networks" (2017), eq. 3, with CALIBRATION_BINS bins of equal width.
    """
    scores, labels = np.ravel(scores).astype(float), np.ravel(labels)
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=labels - scores, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(scores))


def f1_over_thresholds(scores: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Micro and macro F1 at each of the T thresholds: (T,) each."""
    labels, f1 = labels == 1, []
    positives = labels.sum(0)
    for threshold in thresholds:
        above = scores > threshold
        hits, predicted = (above & labels).sum(0), above.sum(0)
        f1.append((_ratio(2 * hits.sum(), predicted.sum() + positives.sum()),
                   _ratio(2 * hits, predicted + positives).mean()))
    micro, macro = np.array(f1).T
    return micro, macro


def undefined_terms(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> dict[str, int]:
    """How many ratios were 0/0 and counted 0: images and labels without predictions, and without positives."""
    _, labels, predicted = _decisions(scores, labels, threshold)
    return {"images_without_prediction": int((~predicted.any(1)).sum()),
            "images_without_positive": int((~labels.any(1)).sum()),
            "labels_without_prediction": int((~predicted.any(0)).sum()),
            "labels_without_positive": int((~labels.any(0)).sum())}


def official_script_f_scores(scores: np.ndarray, labels: np.ndarray, batch_size: int = 64) -> dict[str, float]:
    """"mean F1" and "mean F2" as the reference implementation's test script computes them.

    They are not the means of the images' F1 and F2: the script takes the harmonic mean of a batch's *summed*
    precisions and recalls, adds these up and divides by N. By concavity that is never below the true mean, and
    it depends on the batch size; compare with numbers of that script only.
    """
    _, labels, predicted = _decisions(scores, labels, threshold=0.5)
    precision, recall = _precision_recall(predicted, labels, axis=1)
    starts = np.arange(0, len(labels), batch_size)
    sums = np.add.reduceat(precision, starts), np.add.reduceat(recall, starts)
    return {f"F{beta}": float(f_score(*sums, beta=beta).sum() / len(labels)) for beta in (1, 2)}


def f_score(precision, recall, beta: float = 1):
    """F_beta of precision and recall (numbers or arrays); 0 where both are 0."""
    return _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def _decisions(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape or not scores.size:
        raise ValueError(f"scores and labels must be two (N, C) arrays, not {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity")
    return scores, labels.astype(bool), scores > threshold


def _classes(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels, _ = _decisions(scores, labels, threshold=0.5)
    if not (labels.sum(1) == 1).all():
        raise ValueError("single-label figures need exactly one label per image")
    return labels.argmax(1), scores.argmax(1)


def _precision_recall(predicted: np.ndarray, labels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    hits = (predicted & labels).sum(axis)
    return _ratio(hits, predicted.sum(axis)), _ratio(hits, labels.sum(axis))


def _ratio(numerator, denominator):
    numerator, denominator = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def _mean_ap(per_label: dict[str, np.ndarray]) -> float:
    ap = per_label["AP"][~np.isnan(per_label["AP"])]
    return float(ap.mean()) if len(ap) else np.nan


def _ranking_metrics(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    # scikit-learn takes one column for a binary problem: a second label, never present and ranked last,
    # changes neither figure.
    if labels.shape[1] == 1:
        labels = np.hstack([labels, np.zeros_like(labels)])
        scores = np.hstack([scores, np.full_like(scores, scores.min() - 1)])
    return label_ranking_loss(labels, scores), coverage_error(labels, scores)
