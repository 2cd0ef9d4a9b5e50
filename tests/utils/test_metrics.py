"""Metrics against scikit-learn, the reference script's vectors, and loops written from the definitions."""

import csv
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn import metrics as sk

from conftest import reference
from utils.evaluation.report import evaluate, format_report, write_predictions, write_report
from utils.figures.reliability import draw_reliability
from utils.metrics import (
    THRESHOLDS,
    best_threshold,
    confusions,
    expected_calibration_error,
    f1_over_thresholds,
    image_ranking_losses,
    macro_metrics,
    multilabel_metrics,
    official_script_f_scores,
    per_class_metrics,
    per_label_metrics,
    single_label_metrics,
    undefined_terms,
)
from utils.results import Results


def example(seed=0, number=40, num_labels=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (number, num_labels))
    labels[:, 0] = 0  # a label without a positive
    labels[0] = 0  # an image without a label
    scores = (0.3 * labels + 0.7 * rng.random(labels.shape)).astype(np.float32)
    scores[1] = 0.2  # an image without a prediction
    return scores, labels


def f_of_means(predicted, labels, beta):
    """By loops: F of the mean precision and the mean recall of the rows."""
    precisions, recalls = [], []
    for predicted_row, row in zip(predicted.tolist(), labels.tolist()):
        hits = sum(1 for guess, label in zip(predicted_row, row) if guess and label)
        precisions.append(hits / sum(predicted_row) if any(predicted_row) else 0)
        recalls.append(hits / sum(row) if any(row) else 0)
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed):
    scores, labels = example(seed)
    predicted = scores > 0.5
    m = multilabel_metrics(scores, labels)
    options = {"zero_division": 0}
    macro = sk.precision_recall_fscore_support(labels, predicted, average="macro", **options)
    micro = sk.precision_recall_fscore_support(labels, predicted, average="micro", **options)
    images = sk.precision_recall_fscore_support(labels, predicted, average="samples", **options)
    expected = {
        "mAP": sk.average_precision_score(labels[:, 1:], scores[:, 1:], average="macro"),
        "OP": micro[0], "OR": micro[1], "OF1": micro[2],
        "CP": macro[0], "CR": macro[1], "CF1": 2 * macro[0] * macro[1] / (macro[0] + macro[1]), "macro_F1": macro[2],
        "example_precision": images[0], "example_recall": images[1], "example_F1": images[2],
        "example_F2": sk.fbeta_score(labels, predicted, beta=2, average="samples", **options),
        **{f"example_F{beta}_of_means": f_of_means(predicted, labels, beta) for beta in (1, 2)},
        "CF2": f_of_means(predicted.T, labels.T, 2),
        "hamming_loss": sk.hamming_loss(labels, predicted),
        "ranking_loss": sk.label_ranking_loss(labels, scores),
        "coverage": sk.coverage_error(labels, scores),
        "one_error": np.mean([not labels[i, scores[i].argmax()] for i in range(len(labels))]),
        "subset_accuracy": sk.accuracy_score(labels, predicted),
    }
    assert m.keys() == expected.keys()
    for name, value in expected.items():
        assert m[name] == pytest.approx(value, abs=1e-9), name


def test_reference_vectors():
    for case, ref in reference("metrics").items():
        scores, labels = 1 / (1 + np.exp(-ref["logits"])), ref["labels"]
        m = multilabel_metrics(scores, labels)
        script = official_script_f_scores(scores, labels, int(ref["batch_size"]))
        for value, name in [(script["F1"], "official_F1"), (script["F2"], "official_F2"),
                             (m["OF1"], "validation_micro_f1"),
                             (m["example_precision"], "official_precision_example"),
                             (m["example_recall"], "official_recall_example"),
                             (m["CP"], "official_precision_label"), (m["CR"], "official_recall_lable")]:
            assert value == pytest.approx(ref[name].item(), abs=1e-5), (case, name)


def test_official_script_is_above_the_true_mean_and_depends_on_the_batch():
    scores, labels = example(number=150)
    m = multilabel_metrics(scores, labels)
    first, large = (official_script_f_scores(scores, labels, size) for size in (1, 64))
    assert first["F1"] == pytest.approx(m["example_F1"]) and first["F2"] == pytest.approx(m["example_F2"])
    assert large["F1"] > first["F1"] and large["F2"] > first["F2"]


def test_three_conventions_of_example_f1():
    """Two images, precision and recall (1, 1/3) and (1/3, 1): F1 1/2 each, but 2/3 of the means."""
    labels, scores = np.array([[1, 1, 1], [1, 0, 0]]), np.array([[0.9, 0.1, 0.1], [0.9, 0.9, 0.9]])
    m = multilabel_metrics(scores, labels)
    assert m["example_F1"] == pytest.approx(1 / 2) and m["example_F1_of_means"] == pytest.approx(2 / 3)
    assert official_script_f_scores(scores, labels)["F1"] == pytest.approx(2 / 3)  # one batch
    assert official_script_f_scores(scores, labels, batch_size=1)["F1"] == pytest.approx(1 / 2)
    table = format_report(evaluate(scores, labels, list("abc")))
    rows = [[part for part in line.split("  ") if part.strip()] for line in table.splitlines()]
    values = {row[0]: row[1].strip() for row in rows if len(row) > 1}
    assert values["example F1"] == "50.00" and values["F1 of mean example P, R"] == "66.67"
    assert {"F2 of mean example P, R", "harmonic mean of CP, CR (CF1)", "F2 of CP, CR (CF2)",
            "reference script F1, F2"} <= values.keys()


def test_threshold_is_exclusive():
    scores, labels = np.array([[0.5, 0.500001]]), np.array([[1, 1]])
    assert multilabel_metrics(scores, labels)["OR"] == 0.5
    assert multilabel_metrics(scores, labels, threshold=0.4)["OR"] == 1


def test_nothing_predicted_and_nothing_present():
    m = multilabel_metrics(np.full((3, 2), 0.1), np.ones((3, 2)))
    assert m["OP"] == m["OF1"] == m["CF1"] == m["example_F1"] == 0 and m["mAP"] == 1
    m = multilabel_metrics(np.full((3, 2), 0.9), np.zeros((3, 2)))
    assert np.isnan(m["mAP"]) and m["OR"] == 0 and m["ranking_loss"] == 0 and m["one_error"] == 1
    assert undefined_terms(np.full((3, 2), 0.1), np.eye(3, 2)) == {
        "images_without_prediction": 3, "images_without_positive": 1,
        "labels_without_prediction": 2, "labels_without_positive": 0}


def test_one_label_and_one_image():
    m = multilabel_metrics(np.array([[0.9], [0.2], [0.7]]), np.array([[1], [1], [0]]))
    assert m["ranking_loss"] == 0 and m["coverage"] == pytest.approx(2 / 3) and m["OF1"] == pytest.approx(0.5)
    m = multilabel_metrics(np.array([[0.9, 0.1, 0.6]]), np.array([[1, 0, 0]]))
    assert m["OP"] == 0.5 and m["coverage"] == 1


def test_rare_labels_are_left_out_by_support():
    labels = np.zeros((10, 3), int)
    labels[:5, 0] = labels[:4, 1] = 1
    scores = np.where(labels == 1, 0.9, 0.1)
    scores[:, 1] = 1 - scores[:, 1]
    macro = macro_metrics(per_label_metrics(scores, labels), min_support=5)
    assert macro == {"mAP": 1.0, "CP": 1.0, "CR": 1.0, "CF1": 1.0, "CF2": 1.0, "macro_F1": 1.0}
    assert all(np.isnan(value) for value in macro_metrics(per_label_metrics(scores, labels), 6).values())


@pytest.mark.parametrize("scores, labels", [
    (np.zeros((0, 3)), np.zeros((0, 3))), (np.zeros((2, 3)), np.zeros((2, 2))), (np.zeros(3), np.zeros(3)),
    (np.array([[np.nan, 0.1]]), np.zeros((1, 2))), (np.full((2, 2), 0.5), np.array([[1, -1], [-1, 1]])),
    (np.full((2, 2), 0.5), np.array([[1, np.nan], [0, 1]])), (np.full((1, 2), 0.5), np.ma.array([[0, 1]], mask=[[0, 1]])), (np.full((1, 2), 0.5), np.array([["0", "1"]]))])
def test_unusable_arrays(scores, labels):
    with pytest.raises(ValueError):
        multilabel_metrics(scores, labels)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_scores_of_any_type(dtype, num_labels):
    scores = np.random.default_rng(0).integers(0, 2, (20, num_labels))
    labels = np.random.default_rng(1).integers(0, 2, (20, num_labels))
    assert multilabel_metrics(scores.astype(dtype), labels) == multilabel_metrics(scores.astype(float), labels)
    assert image_ranking_losses(scores.astype(dtype), labels).mean() == image_ranking_losses(scores, labels).mean()


LOGITS = np.array([[3.0, -2.0], [-1.0, 2.0]])


@pytest.mark.parametrize("function", [best_threshold, expected_calibration_error])
def test_functions_of_probabilities_take_no_logits(function):
    for scores, labels, message in ((LOGITS, np.eye(2), "take the sigmoid of logits"),
                                    (np.full((2, 2), np.nan), np.eye(2), "NaN or infinity"),
                                    (np.eye(2), 2 * np.eye(2) - 1, "other values than 0 and 1")):
        with pytest.raises(ValueError, match=message):
            function(scores, labels)


def test_rankings_and_thresholds_of_wrong_arrays():
    assert image_ranking_losses(LOGITS, np.eye(2)).tolist() == [0, 0]  # any scale will do
    assert f1_over_thresholds(LOGITS, np.eye(2), np.array([-3, 0, 0, 9]))[0].tolist() == [2 / 3, 1, 1, 0]
    for function in (image_ranking_losses, lambda *arrays: f1_over_thresholds(*arrays, np.array([0.5]))):
        with pytest.raises(ValueError, match="NaN or infinity"):
            function(np.full((2, 2), np.nan), np.eye(2))
        with pytest.raises(ValueError, match="other values than 0 and 1"):
            function(np.eye(2), 2 * np.eye(2) - 1)
    for thresholds in ([0.5, 0.4], [np.nan], [0.1, np.nan]):
        with pytest.raises(ValueError, match="ascending order"):
            f1_over_thresholds(np.eye(2), np.eye(2), np.array(thresholds))
    with pytest.raises(ValueError, match="take the sigmoid of logits"):
        f1_over_thresholds(LOGITS, np.eye(2), THRESHOLDS)
    for thresholds, wrong in (([0.5, 50], 50), ([-1, 0.5], -1)):
        with pytest.raises(ValueError, match=f"must lie in .0, 1., not be {wrong}"):
            f1_over_thresholds(np.eye(2), np.eye(2), np.array(thresholds))


def test_unusable_thresholds_and_batch_sizes():
    for threshold in (50, -0.1, np.nan, np.inf, np.array([0.4, 0.5])):
        with pytest.raises(ValueError, match="the threshold .*must"):
            multilabel_metrics(np.eye(2), np.eye(2), threshold)
    assert multilabel_metrics(20 * LOGITS, np.eye(2), 50)["OR"] == 0.5
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match=f"batch size must be at least 1, not {batch_size}"):
            official_script_f_scores(np.eye(2), np.eye(2), batch_size)


def test_thresholds_are_compared_in_full_precision():
    """As the threshold is selected: float32's nearest number to 0.3 is above it."""
    scores = np.full((4, 2), 0.3, np.float32)
    assert multilabel_metrics(scores, np.ones((4, 2)), 0.3)["OF1"] == 1


def test_report_files_hold_the_same_values(tmp_path):
    scores, labels = example()
    names = [f"label, {i}" for i in range(6)]
    report = evaluate(scores, labels, names)
    write_report(tmp_path, report, [tmp_path / f"{i}.png" for i in range(40)], scores, labels)
    assert json.loads((tmp_path / "metrics.json").read_text()) == report
    assert report["per_label"]["label, 0"]["AP"] is None and report["labels_without_positives"] == ["label, 0"]
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    read_scores = np.array([[float(row[f"score {name}"]) for name in names] for row in rows], dtype=np.float32)
    read_labels = np.array([[int(row[f"label {name}"]) for name in names] for row in rows])
    assert multilabel_metrics(read_scores, read_labels) == report["metrics"]
    with open(tmp_path / "per_label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == names and int(rows[1]["support"]) == labels[:, 1].sum()
    table = format_report(report)
    assert f"{100 * report['metrics']['mAP']:.2f}" in table and "label, 0" in table and "nan" not in table
    assert f"{(scores <= 0.5).all(1).sum()} images without prediction" in table


def test_imports_leave_out_what_is_slow_to_import():
    """scikit-learn and matplotlib take a second each: only the functions that use them import them."""
    code = ("import sys, utils.figures.scores, utils.figures.gradcam, utils.evaluation.html_report, "
            "utils.evaluation.image_selection, utils.evaluation.compare; "
            "print({'sklearn', 'matplotlib', 'scipy'} & sys.modules.keys())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_image_ranking_losses_count_pairs_in_little_memory():
    random = np.random.default_rng(0)
    for decimals in (0, 1, 7):  # many ties, few, none
        scores = random.random((30, 9)).round(decimals).astype(np.float32)
        labels = (random.random(scores.shape) < random.random((30, 1))).astype(np.uint8)
        for loss, image, row in zip(image_ranking_losses(scores, labels), scores.tolist(), labels.tolist()):
            present, absent = ([score for score, label in zip(image, row) if label == value] for value in (1, 0))
            pairs = [high <= low for high in present for low in absent]
            assert loss == (sum(pairs) / len(pairs) if pairs else 0)
    scores = random.random((400, 300))
    labels = (random.random(scores.shape) < 0.1).astype(np.uint8)
    tracemalloc.start()
    image_ranking_losses(scores, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * scores.size  # an (N, C, C) array has 300 bytes or more per score


def test_calibration_bins_contain_their_upper_edge():
    """As scikit-learn's calibration_curve, and as the diagram beside the number."""
    scores = np.array([[0.5, 0.45, 0.5, 0.55], [0.5, 0.45, 0.5, 0.55]])  # half of them on an edge
    labels = np.array([[0, 0, 0, 0], [1, 0, 0, 1]])
    expected = (6 * abs(1 / 6 - 2.9 / 6) + 2 * abs(1 / 2 - 0.55)) / 8  # in (0.4, 0.5] and (0.5, 0.6]
    assert expected_calibration_error(scores, labels) == pytest.approx(expected)
    upper, lower = draw_reliability({"R4C": scores}, labels).axes
    np.testing.assert_allclose(upper.lines[1].get_data(), [[2.9 / 6, 0.55], [1 / 6, 1 / 2]])
    counts, edges, _ = lower.patches[0].get_data()
    assert counts.tolist() == [0, 0, 0, 0, 6, 2, 0, 0, 0, 0]
    np.testing.assert_allclose(edges, np.linspace(0, 1, 11))
    distances = np.abs(np.subtract(*upper.lines[1].get_data()))
    assert expected_calibration_error(scores, labels) == pytest.approx(counts[counts > 0] @ distances / scores.size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_best_threshold_by_a_loop(dtype):
    thresholds = [percent / 100 for percent in range(1, 100)]
    for seed in range(20):
        scores, labels = example(seed)
        scores = (scores**(1 + seed % 4)).astype(dtype)
        f1 = []
        for threshold in thresholds:
            above = scores.astype(float) > threshold
            hits = int((above & (labels == 1)).sum())
            f1.append(2 * hits / (int(above.sum()) + int(labels.sum())))
        np.testing.assert_array_equal(f1_over_thresholds(scores, labels, np.array(thresholds))[0], f1)
        tied = [threshold for threshold, value in zip(thresholds, f1) if value == max(f1)]
        assert best_threshold(scores, labels) == min(tied, key=lambda threshold: abs(threshold - 0.5))


def test_best_threshold_of_a_tie_is_the_nearest_to_one_half():
    labels = np.eye(3)
    for low, high, expected in ((0.2, 0.8, 0.5), (0.05, 0.305, 0.3), (0.6, 0.9, 0.6), (0.001, 0.002, 0.5),
                                (0.5, 0.5, 0.49)):
        threshold = best_threshold(np.where(labels == 1, high, low), labels)
        assert threshold == expected and type(threshold) is float  # which a checkpoint can hold
    assert best_threshold(np.random.default_rng(0).random((5, 3)), np.zeros((5, 3))) == 0.5


# Single label

def single_label_example(seed=0, number=60, num_classes=7):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes - 1, number)  # the last class has no image
    labels = np.eye(num_classes, dtype=int)[true]
    return (0.2 * labels + 0.8 * rng.random(labels.shape)).astype(np.float32), labels, true


@pytest.mark.parametrize("seed", range(5))
def test_single_label_metrics_by_loops(seed):
    scores, labels, true = single_label_example(seed)
    predicted = [max(range(len(row)), key=lambda c, row=row: row[c]) for row in scores.tolist()]
    pairs = list(zip(true.tolist(), predicted))
    hits, number = sum(t == p for t, p in pairs), len(pairs)
    by_chance = sum(sum(t == c for t, _ in pairs) * sum(p == c for _, p in pairs) for c in range(7)) / number**2
    per_class_values = []
    for c in sorted(set(true.tolist())):
        hit, guessed, there = pairs.count((c, c)), sum(p == c for _, p in pairs), sum(t == c for t, _ in pairs)
        per_class_values.append((hit / guessed if guessed else 0, hit / there, 2 * hit / (guessed + there)))
    top5 = sum(sum(second > row[c] for second in row) < 5 for row, c in zip(scores.tolist(), true.tolist()))
    means = np.mean(per_class_values, 0)
    m = single_label_metrics(scores, labels)
    expected = {"accuracy": hits / number, "average_accuracy": means[1],
                "kappa": (hits / number - by_chance) / (1 - by_chance), "argmax_precision": means[0],
                "argmax_recall": means[1], "argmax_F1": means[2], "top5": top5 / number}
    assert m == pytest.approx(expected) and m.keys() == expected.keys() and len(per_class_values) == 6
    per_class = per_class_metrics(scores, labels)
    np.testing.assert_allclose([per_class[f"argmax_{name}"][:6] for name in ("precision", "recall", "F1")],
                               np.transpose(per_class_values))
    assert per_class["argmax_F1"][6] == 0
    counts = confusions(scores, labels)
    assert all(counts[t, p] == pairs.count((t, p)) for t, p in np.ndindex(7, 7))


def test_top_5_of_equal_scores_counts_the_first_as_the_accuracy_does():
    labels, scores = np.eye(10, dtype=int)[[0] * 6 + [9] * 4], np.ones((10, 10))
    metrics = single_label_metrics(scores, labels)
    assert metrics["accuracy"] == metrics["top5"] == 0.6
    assert single_label_metrics(scores[:2], np.eye(10)[[4, 5]])["top5"] == 0.5


def test_undefined_single_label_metrics():
    m = single_label_metrics(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[1, 0], [1, 0]]))
    assert m["accuracy"] == m["average_accuracy"] == 1 and np.isnan(m["kappa"]) and np.isnan(m["top5"])
    for labels in ([[1, 1], [1, 0]], [[0, 0], [1, 0]]):
        with pytest.raises(ValueError, match="exactly one label per image"):
            single_label_metrics(np.zeros((2, 2)), np.array(labels))


def test_single_label_report_tells_arg_max_and_threshold_apart(tmp_path):
    scores, labels, _ = single_label_example()
    names = [f"scene {i}" for i in range(7)]
    report = evaluate(scores, labels, names, single_label=True)
    assert report["single_label"] == pytest.approx(single_label_metrics(scores, labels))
    assert report["metrics"] == pytest.approx(multilabel_metrics(scores, labels))
    arg_max, threshold = format_report(report).split("Each score against the threshold 0.5")
    assert f"{100 * report['single_label']['accuracy']:.2f}" in arg_max
    assert f"{100 * report['metrics']['OF1']:.2f}" in threshold
    write_report(tmp_path, report, [tmp_path / f"{i}.png" for i in range(60)], scores, labels)
    with open(tmp_path / "confusion.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == names == [row[0] for row in rows]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], dtype=int), confusions(scores, labels))
    with open(tmp_path / "per_label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[2]["argmax_F1"]) == pytest.approx(per_class_metrics(scores, labels)["argmax_F1"][2])


@pytest.mark.parametrize("single_label, expected", [(False, ["a;c", "", "a;b;c"]), (True, ["c", "b", "b"])])
def test_predictions_file(tmp_path, single_label, expected):
    scores = np.array([[0.6, 0.5, 0.7], [0.1, 0.2, 0.1], [0.8, 0.9, 0.8]], np.float32)
    images = [tmp_path / f"é {i}.png" for i in range(3)]
    path = tmp_path / "predictions.csv"
    results = Results(images, list("abc"), None, single_label)
    results.add("R4C", scores)
    write_predictions(path, results, "R4C")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == list(map(str, images)) and [row["labels"] for row in rows] == expected
    np.testing.assert_array_equal(np.array([[row[c] for c in "abc"] for row in rows], np.float32), scores)


def test_logits_are_no_scores():
    logits, labels = np.array([[3.0, -2.0]]), np.array([[1, 0]])
    with pytest.raises(ValueError, match="take the sigmoid of logits"):
        multilabel_metrics(logits, labels)
    assert multilabel_metrics(logits, labels, threshold=0)["OF1"] == 1
