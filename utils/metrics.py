"""Multilabel metrics at a threshold and of the ranking, and single-label metrics of the arg max.

All take scores (N, C) and labels (N, C) of 0 and 1, NumPy; with one label per image the labels are one-hot.

A score above the threshold is a predicted label. A ratio 0/0 (precision of an image without predictions, say)
counts 0, as in the reference implementation; `undefined_terms` counts the images and labels affected.
All metrics but coverage are fractions. To add a metric, add a record to MULTILABEL_METRICS or SINGLE_LABEL_METRICS:
the screen, files, curves and comparisons take it from there.

scikit-learn takes a second to import, so only the functions that use it import it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Bins of equal width, for the expected calibration error.
CALIBRATION_BINS = 10

# Those that F1 is compared at: 0.01, 0.02 ... 0.99.
THRESHOLDS = np.arange(1, 100) / 100

# Labels with fewer positives have a precision and recall of few possible values, and shift macro metrics.
RARE = 5


@dataclass(frozen=True)
class Metric:
    """name: in files. title: on the screen. function: `Evaluation` -> value, a fraction if `percent`. column: short
    title in comparison tables, None if it is left out; low values of column_order stand on the left. in_curves: whether
    it is plotted over the epochs, in percent and under its column's title."""

    name: str
    title: str
    function: Callable[["Evaluation"], float]
    column: str | None = None
    column_order: int = 0
    in_curves: bool = False
    percent: bool = True
    higher_is_better: bool = True

    def format(self, value: float | None) -> str:
        """The value for a table, with two decimals; '-' if it is undefined."""
        return "-" if value is None else f"{100 * value if self.percent else value:.2f}"


def check_arrays(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, C) as float64 and labels (N, C) as bool.

    Raises:
        ValueError: for empty, masked, unequally shaped or non-finite arrays, and labels other than 0 and 1.
    """
    if np.ma.is_masked(scores) or np.ma.is_masked(labels):
        raise ValueError("scores and labels must be complete; leave out what is masked")
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape or not scores.size:
        raise ValueError(f"scores and labels must be two (N, C) arrays, not {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores contain NaN or infinity")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels contain other values than 0 and 1")
    return scores, labels.astype(bool)


def check_threshold(scores: np.ndarray, threshold: float) -> None:
    """Raise ValueError unless the threshold is one finite number that fits the scores: both in [0, 1], or neither."""
    if np.ndim(threshold) or not np.isfinite(threshold):
        raise ValueError(f"the threshold must be one finite number, not {threshold}")
    are_probabilities = scores.min() >= 0 and scores.max() <= 1
    if 0 < threshold < 1 and not are_probabilities:
        raise ValueError("scores must lie in [0, 1]; take the sigmoid of logits, or give their threshold")
    if not 0 <= threshold <= 1 and are_probabilities:
        raise ValueError(f"the threshold of scores in [0, 1] must lie in [0, 1], not be {threshold}")


class Evaluation:
    """Quantities that metrics share, each computed once, when a metric first needs it.

    Raises:
        ValueError: as `check_arrays`, for scores that are no probabilities if the threshold is one, and for a threshold
            that is no finite number or lies outside [0, 1] if the scores do not; in the single-label quantities, also
            for labels that are not one-hot.
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5):
        self.scores, self.labels = check_arrays(scores, labels)
        check_threshold(self.scores, threshold)
        self.predicted = self.scores > threshold

    @functools.cached_property
    def per_label(self) -> dict[str, np.ndarray]:
        from sklearn.metrics import average_precision_score

        precision, recall = _precision_recall(self.predicted, self.labels, axis=0)
        ap = [average_precision_score(y, s) if y.any() else np.nan for y, s in zip(self.labels.T, self.scores.T)]
        return {"AP": np.array(ap), "precision": precision, "recall": recall, "F1": f_score(precision, recall),
                "support": self.labels.sum(0)}

    @functools.cached_property
    def macro(self) -> dict[str, float]:
        return macro_metrics(self.per_label)

    @functools.cached_property
    def overall(self) -> tuple[np.ndarray, np.ndarray]:
        return _precision_recall(self.predicted.ravel(), self.labels.ravel(), axis=0)

    @functools.cached_property
    def per_image(self) -> tuple[np.ndarray, np.ndarray]:
        return _precision_recall(self.predicted, self.labels, axis=1)

    @functools.cached_property
    def ranking(self) -> tuple[float, float]:
        """Ranking loss and coverage."""
        from sklearn.metrics import coverage_error, label_ranking_loss

        scores, labels = self.scores, self.labels
        # scikit-learn takes a single column for a binary problem: a second label, never present and ranked last,
        # changes neither metric.
        if labels.shape[1] == 1:
            labels = np.hstack([labels, np.zeros_like(labels)])
            scores = np.hstack([scores, np.full_like(scores, scores.min() - 1)])
        return label_ranking_loss(labels, scores), coverage_error(labels, scores)

    @functools.cached_property
    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """The true and the predicted class of each image."""
        if not (self.labels.sum(1) == 1).all():
            raise ValueError("single-label metrics need exactly one label per image")
        return self.labels.argmax(1), self.scores.argmax(1)

    @functools.cached_property
    def per_class(self) -> tuple[float, float, float]:
        """Precision, recall and F1 of each class, means over the classes that have images."""
        from sklearn.metrics import precision_recall_fscore_support

        true, predicted = self.classes
        return precision_recall_fscore_support(true, predicted, labels=np.unique(true), average="macro",
                                               zero_division=0)[:3]

    def accuracy(self) -> float:
        from sklearn.metrics import accuracy_score

        return accuracy_score(*self.classes)

    def kappa(self) -> float:
        from sklearn.metrics import cohen_kappa_score

        return cohen_kappa_score(*self.classes) if len(np.union1d(*self.classes)) > 1 else np.nan

    def top5(self) -> float:
        # Of equal scores the first counts, as for the accuracy; scikit-learn's top_k_accuracy_score takes the last.
        highest = np.argsort(-self.scores, axis=1, kind="stable")[:, :5]
        return (highest == self.classes[0][:, None]).any(1).mean() if self.labels.shape[1] > 5 else np.nan

    def first_is_positive(self) -> np.ndarray:
        return self.labels[np.arange(len(self.labels)), self.scores.argmax(1)]


MULTILABEL_METRICS = (
    # Mean over labels of average precision; labels without a positive are left out.
    Metric("mAP", "mAP", lambda e: _mean_ap(e.per_label), "mAP", in_curves=True),
    # Micro: over all N * C decisions.
    Metric("OP", "overall precision (OP)", lambda e: e.overall[0]),
    Metric("OR", "overall recall (OR)", lambda e: e.overall[1]),
    Metric("OF1", "overall = micro F1 (OF1)", lambda e: f_score(*e.overall), "micro F1", in_curves=True),
    # Of each label, then the mean over all C labels.
    Metric("CP", "per-label precision (CP)", lambda e: e.macro["CP"]),
    Metric("CR", "per-label recall (CR)", lambda e: e.macro["CR"]),
    Metric("CF1", "harmonic mean of CP, CR (CF1)", lambda e: e.macro["CF1"], "CF1", column_order=1, in_curves=True),
    Metric("CF2", "F2 of CP, CR (CF2)", lambda e: e.macro["CF2"]),
    Metric("macro_F1", "macro F1", lambda e: e.macro["macro_F1"], "macro F1"),
    # Of each image, then the mean over images.
    Metric("example_precision", "example precision", lambda e: e.per_image[0].mean()),
    Metric("example_recall", "example recall", lambda e: e.per_image[1].mean()),
    Metric("example_F1", "example F1", lambda e: f_score(*e.per_image).mean(), "example F1", column_order=1),
    Metric("example_F2", "example F2", lambda e: f_score(*e.per_image, beta=2).mean(), "example F2", column_order=1),
    # The F score of these two means, not the mean of the images' F scores.
    Metric("example_F1_of_means", "F1 of mean example P, R", lambda e: f_score(*np.mean(e.per_image, axis=1))),
    Metric("example_F2_of_means", "F2 of mean example P, R", lambda e: f_score(*np.mean(e.per_image, axis=1), beta=2)),
    # Share of wrong decisions.
    Metric("hamming_loss", "Hamming loss", lambda e: (e.predicted != e.labels).mean(), higher_is_better=False),
    # Share of (positive, negative) pairs of an image in the wrong order.
    Metric("ranking_loss", "ranking loss", lambda e: e.ranking[0], higher_is_better=False),
    # Mean rank of an image's lowest-ranked positive (1 ... C).
    Metric("coverage", "coverage (labels)", lambda e: e.ranking[1], percent=False, higher_is_better=False),
    # Share of images whose first label is not a positive.
    Metric("one_error", "one-error", lambda e: 1 - e.first_is_positive().mean(), higher_is_better=False),
    # Share of images without a wrong decision.
    Metric("subset_accuracy", "subset accuracy", lambda e: (e.predicted == e.labels).all(1).mean()),
)

SINGLE_LABEL_METRICS = (
    Metric("accuracy", "overall accuracy (OA)", Evaluation.accuracy, "accuracy", in_curves=True),
    # Recall of each class, mean over the classes that have images.
    Metric("average_accuracy", "average accuracy (AA)", lambda e: e.per_class[1], "average accuracy"),
    # Agreement beyond chance; NaN if only one class occurs.
    Metric("kappa", "Cohen's kappa", Evaluation.kappa, "kappa"),
    Metric("argmax_precision", "macro precision", lambda e: e.per_class[0]),
    Metric("argmax_recall", "macro recall", lambda e: e.per_class[1]),
    Metric("argmax_F1", "macro F1", lambda e: e.per_class[2], "macro F1"),
    # Share of images whose class has one of the five highest scores; NaN for up to 5 classes.
    Metric("top5", "top-5 accuracy", Evaluation.top5, "top-5"),
)

METRICS = {metric.name: metric for metric in (*SINGLE_LABEL_METRICS, *MULTILABEL_METRICS)}


def multilabel_metrics(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """The values of MULTILABEL_METRICS by name.

    Raises:
        ValueError: as `Evaluation`.
    """
    evaluation = Evaluation(scores, labels, threshold)
    return {metric.name: float(metric.function(evaluation)) for metric in MULTILABEL_METRICS}


def single_label_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The values of SINGLE_LABEL_METRICS, which go by the arg max of the scores, by name.

    Raises:
        ValueError: as `multilabel_metrics`, and for labels that are not one-hot.
    """
    evaluation = Evaluation(scores, labels)
    return {metric.name: float(metric.function(evaluation)) for metric in SINGLE_LABEL_METRICS}


def validation_metrics(scores: np.ndarray, labels: np.ndarray, single_label: bool) -> dict[str, float]:
    """The metrics of an epoch by name: all that apply, and with several labels the `best_threshold` as "threshold"."""
    selected = single_label_metrics(scores, labels) if single_label else {"threshold": best_threshold(scores, labels)}
    return selected | multilabel_metrics(scores, labels)


def per_label_metrics(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """(C,) each: AP (NaN for a label without a positive), precision, recall, F1, support (number of positives)."""
    return Evaluation(scores, labels, threshold).per_label


def per_class_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """(C,) each: precision, recall and F1 of the arg max."""
    from sklearn.metrics import precision_recall_fscore_support

    true, predicted = Evaluation(scores, labels).classes
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=np.arange(labels.shape[1]),
                                                               zero_division=0)
    return {"argmax_precision": precision, "argmax_recall": recall, "argmax_F1": f1}


def confusions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C, C) counts of images: true class by row, arg max by column."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(*Evaluation(scores, labels).classes, labels=np.arange(labels.shape[1]))


def macro_metrics(per_label: dict[str, np.ndarray], min_support: int = 0) -> dict[str, float]:
    """CP, CR, CF1, CF2, macro_F1 over the labels with at least `min_support` positives; NaN if there are none.

    With min_support > 0 also mAP over the same labels.
    """
    frequent = {name: values[per_label["support"] >= min_support] for name, values in per_label.items()}
    if not len(frequent["support"]):
        return dict.fromkeys(("mAP", "CP", "CR", "CF1", "CF2", "macro_F1"), np.nan)
    precision, recall = frequent["precision"].mean(), frequent["recall"].mean()
    macro = {"CP": precision, "CR": recall, "CF1": f_score(precision, recall),
             "CF2": f_score(precision, recall, beta=2), "macro_F1": frequent["F1"].mean()}
    if min_support:
        macro = {"mAP": _mean_ap(frequent), **macro}
    return {name: float(value) for name, value in macro.items()}


def decisions(scores: np.ndarray, single_label: bool) -> np.ndarray:
    """The predicted labels (N, C), bool: scores above 0.5, or with one label per image, the highest score."""
    if single_label:
        return np.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]
    return scores > 0.5


def image_ranking_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) the share of (present, absent) label pairs of each image in the wrong order, ties included; 0 without
    pairs. Their mean is the `ranking_loss`. Raises ValueError as `check_arrays`."""
    scores, labels = check_arrays(scores, labels)
    # From the highest score; of equal scores, absent labels first.
    present = np.take_along_axis(labels, np.lexsort((labels, -scores)), axis=1)
    absent = ~present
    wrong = np.where(present, absent.cumsum(1), 0)  # for each present label, the absent ones above it
    return _ratio(wrong.sum(1), present.sum(1) * absent.sum(1))


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of a bin's mean score from the share of present labels in the bin, over all N * C scores.

    Guo et al., "On calibration of modern neural networks" (2017), eq. 3, with the bins of `calibration_bins`.
    Raises ValueError as `Evaluation`.
    """
    evaluation = Evaluation(scores, labels)
    scores, labels = evaluation.scores.ravel(), evaluation.labels.ravel()
    gaps = np.bincount(calibration_bins(scores), weights=labels - scores, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(scores))


def calibration_bins(scores: np.ndarray) -> np.ndarray:
    """The bin of each score, 0 ... CALIBRATION_BINS - 1, of equal width: (lo, hi], as in Guo et al. and scikit-learn's
    `calibration_curve`; the first contains 0, too."""
    return np.searchsorted(np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1], scores)


def f1_over_thresholds(scores: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Micro and macro F1 at each of the T thresholds, which must ascend: (T,) each.

    Raises:
        ValueError: as `Evaluation`, and for thresholds that do not ascend.
    """
    scores, labels = check_arrays(scores, labels)
    if np.isnan(thresholds).any() or (np.diff(thresholds) < 0).any():
        raise ValueError("thresholds must be numbers in ascending order")
    for threshold in (*thresholds[:1], *thresholds[-1:]):
        check_threshold(scores, threshold)
    num_labels = labels.shape[1]
    # Each score is counted once, by how many thresholds it exceeds and its label: row by row of (T + 1, C).
    cells = np.searchsorted(thresholds, scores) * num_labels + np.arange(num_labels)

    def above(counted: np.ndarray) -> np.ndarray:
        """(T, C): how many of the scores exceed each threshold, summed from the highest threshold down."""
        counts = np.bincount(counted.ravel(), minlength=(len(thresholds) + 1) * num_labels).reshape(-1, num_labels)
        return counts[::-1].cumsum(0)[-2::-1]

    hits, predicted = above(cells[labels]), above(cells)
    total = predicted + labels.sum(0)
    return _ratio(2 * hits.sum(1), total.sum(1)), _ratio(2 * hits, total).mean(1)


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The one of THRESHOLDS with the highest micro F1; of a tie, the one nearest 0.5. ValueError: as `Evaluation`."""
    evaluation = Evaluation(scores, labels)
    micro, _ = f1_over_thresholds(evaluation.scores, evaluation.labels, THRESHOLDS)
    return float(min(THRESHOLDS[micro == micro.max()], key=lambda threshold: abs(threshold - 0.5)))


def undefined_terms(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> dict[str, int]:
    """How many ratios were 0/0 and counted 0: images and labels without predictions, and without positives."""
    evaluation = Evaluation(scores, labels, threshold)
    return {"images_without_prediction": int((~evaluation.predicted.any(1)).sum()),
            "images_without_positive": int((~evaluation.labels.any(1)).sum()),
            "labels_without_prediction": int((~evaluation.predicted.any(0)).sum()),
            "labels_without_positive": int((~evaluation.labels.any(0)).sum())}


def official_script_f_scores(scores: np.ndarray, labels: np.ndarray, batch_size: int = 64) -> dict[str, float]:
    """"mean F1" and "mean F2" as the reference implementation's test script computes them.

    They are not the means of the images' F1 and F2: the script takes the harmonic mean of a batch's *summed*
    precisions and recalls, adds these up and divides by N. By concavity that is never below the true mean, and
    it depends on the batch size; compare with results of that script only. Raises ValueError as `Evaluation`, and for a
    batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, not {batch_size}")
    precision, recall = Evaluation(scores, labels).per_image
    starts = np.arange(0, len(labels), batch_size)
    sums = np.add.reduceat(precision, starts), np.add.reduceat(recall, starts)
    return {f"F{beta}": float(f_score(*sums, beta=beta).sum() / len(labels)) for beta in (1, 2)}


def f_score(precision, recall, beta: float = 1):
    """F_beta of precision and recall (numbers or arrays); 0 where both are 0."""
    return _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def _precision_recall(predicted: np.ndarray, labels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    hits = (predicted & labels).sum(axis)
    return _ratio(hits, predicted.sum(axis)), _ratio(hits, labels.sum(axis))


def _ratio(numerator, denominator):
    numerator, denominator = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def _mean_ap(per_label: dict[str, np.ndarray]) -> float:
    ap = per_label["AP"][~np.isnan(per_label["AP"])]
    return float(ap.mean()) if len(ap) else np.nan
