"""What the figures show: labels, order, colours, marks and numbers, and that no text covers another."""

import dataclasses
import itertools
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

from loss import LOSSES
from utils.errors import InputError
from utils.evaluation.image_selection import rank_images, select_images, select_labels
from utils.figures.confusion import draw_co_occurrence, draw_confusion, draw_mistakes, mistakes, percent_of_row_label
from utils.figures.curves import draw_comparison, draw_curves
from utils.figures.gradcam import draw_gradcam
from utils.figures.histogram import draw_histogram
from utils.figures.precision_recall import draw_precision_recall
from utils.figures.predictions import PER_FIGURE, TOP, draw_predictions
from utils.figures.reliability import _REMARK, draw_reliability
from utils.figures.scores import score_figures
from utils.figures.style import (
    BLUE,
    BUFFER,
    RED,
    line_style,
    line_styles,
    name_text,
    names_text,
    new_figure,
    save_figure,
    title_text,
)
from utils.figures.threshold import draw_thresholds
from utils.metrics import expected_calibration_error, f1_over_thresholds, image_ranking_losses
from utils.results import Results

NAMES = [f"label {letter}" for letter in "abcdefghi"]
LONG_TITLES = [f"R4C, lr 0.0001, number_sample {number}, train_dir /some/where/train.txt" for number in (8, 16, 32)]
LONG_NAMES = [f"a rather long label of the kind {number}, industrial" for number in range(45)]


def example(images: int = 9, names: list[str] = NAMES, single_label: bool = False,
            titles: Sequence[str] = ("R4C", "BCE")) -> Results:
    """Two checkpoints, of which the second is worse; the last label has no positives."""
    rng = np.random.default_rng(0)
    labels = (rng.random((images, len(names))) < 0.3).astype(np.uint8)
    labels[:, -1] = 0
    if single_label:
        labels = np.eye(len(names), dtype=np.uint8)[rng.integers(0, len(names) - 1, images)]
    results = Results([Path(f"folder/image {index}.png") for index in range(images)], names, labels, single_label)
    for title, noise, halfwidth in zip(titles, itertools.cycle((1.0, 2.0, 1.5)), itertools.cycle((None, 0.1, None))):
        scores = 1 / (1 + np.exp(-1.5 * (2.0 * labels - 1) - noise * rng.standard_normal(labels.shape)))
        results.add(title, scores, halfwidth)
    return results


def images(number: int, size: tuple[int, int] = (40, 30)) -> list[Image.Image]:
    return [Image.new("RGB", size, (20 * index, 100, 50)) for index in range(number)]


def shown_texts(figure) -> list[Text]:
    """The texts that are drawn; a tick beyond the axis has one that is not."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: drawn.append(text))
        FigureCanvasAgg(figure).draw()
    return [text for text in drawn if text.get_visible() and text.get_text().strip()]


def check_texts(figure) -> None:
    """No text covers another one or leaves the figure."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    for text, box in boxes:
        outside = max(-box.x0, -box.y0, box.x1 - figure.bbox.x1, box.y1 - figure.bbox.y1)
        assert outside < 1.5, (text, outside)  # pixels
    corners = np.array([box.extents for _, box in boxes])
    for place, (text, box) in enumerate(boxes):
        lows, highs = np.maximum(corners[:, :2], box.min), np.minimum(corners[:, 2:], box.max)
        covered = (highs - lows).min(1)
        covered[place] = 0
        assert covered.max() < 1.5, (text, boxes[covered.argmax()], covered.max())


def test_predictions_show_the_top_labels_in_order_with_their_outcome():
    results = example()
    figure, *_ = draw_predictions(images(9), results)
    marks = {"FP": 0, "FN": 0}
    for image in range(PER_FIGURE):
        left, *panels = figure.axes[3 * image:3 * image + 3]
        assert left.get_title() == f"image {image}.png"
        present = [name for name, label in zip(NAMES, results.labels[image]) if label]
        assert left.get_xlabel().replace("\n", " ") == ", ".join(present)
        for axes, title in zip(panels, ("R4C", "BCE")):
            assert axes.get_title() == (title if image == 0 else "")
            scores, labels = results.scores[title][image], results.labels[image]
            order = np.argsort(-scores)
            assert [tick.get_text() for tick in axes.get_yticklabels()] == [NAMES[label] for label in order[:TOP]]
            bars = [container[0] for container in axes.containers][:TOP]
            assert [bar.get_width() for bar in bars] == pytest.approx(sorted(scores)[::-1][:TOP])
            assert [bar.get_y() for bar in bars] == sorted(bar.get_y() for bar in bars) and axes.yaxis_inverted()
            for bar, text, tick, label in zip(bars, axes.texts, axes.get_yticklabels(), order):
                kind = {(0, True): "FP", (1, False): "FN"}.get((labels[label], scores[label] > 0.5), "")
                color = {"FP": BLUE, "FN": RED, "": "black"}[kind]
                assert text.get_text().split() == [f"{scores[label]:.2f}", *kind.split()]
                assert same_color(text.get_color(), color) and same_color(tick.get_color(), color)
                assert bool(bar.get_hatch()) == bool(kind) and (not kind or same_color(bar.get_edgecolor(), color))
                marks[kind or "FP"] += bool(kind)
            missed = [f"{NAMES[label]}\xa0{scores[label]:.2f}" for label in order[TOP:] if labels[label]]
            assert axes.get_xlabel().replace("\n", " ") == ("FN below: " + ", ".join(missed) if missed else "")
            assert bool(axes.lines)  # the threshold
            spans = [patch.get_extents() for patch in axes.patches if patch.get_zorder() == 0]
            ends = axes.transData.inverted().transform(max(spans, key=lambda span: span.width))[:, 0]
            assert ends == pytest.approx([0.4, 0.6])
    assert all(marks.values())  # both kinds of mistakes were there to be checked
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "present, predicted", "false positive (FP)", "false negative (FN)", "absent, not predicted", "buffer interval"]


def test_labels_below_the_top_are_missed_only_where_they_were_not_predicted():
    results = Results([Path("a.png")], NAMES, np.ones((1, 9), np.uint8), False)
    results.add("R4C", np.array([[0.9, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.3]]))
    figure, = draw_predictions(images(1), results)
    assert figure.axes[1].get_xlabel() == "FN below: label i\xa00.30"


def test_predictions_of_a_single_label_go_by_the_highest_score():
    results = example(single_label=True)
    figure, *_ = draw_predictions(images(9), results)
    for image in range(PER_FIGURE):
        scores, axes = results.scores["R4C"][image], figure.axes[3 * image + 1]
        right = results.labels[image].argmax() == scores.argmax()
        assert ("FP" in axes.texts[0].get_text()) != right
        assert sum("FP" in text.get_text() for text in axes.texts) == (not right)
        assert not axes.lines  # no threshold


def test_predictions_without_known_labels_have_no_mistakes():
    results = example(images=2)
    results = Results(results.images, NAMES, None, False, results.scores, results.predicted,
                      results.buffer_halfwidths)
    figure, = draw_predictions(images(2), results)
    assert not any("FP" in text.get_text() or "FN" in text.get_text() for text in shown_texts(figure))
    assert figure.axes[0].get_xlabel() == ""
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "predicted", "not predicted", "buffer interval"]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("names, titles, size", [pytest.param(*which, size, id=f"{case}-{shape}", marks=[
    pytest.mark.long] * (case != shape)) for case, which in enumerate([
        (NAMES, ["R4C", "BCE"]), (LONG_NAMES, LONG_TITLES),
        (["NNNNNNNN" * 4, "<b>bold</b> & WWWWWWW", *["名" * 20] * 7], ["a/b" * 20])])
    for shape, size in enumerate([(40, 30), (2000, 20), (10, 900)])])
def test_texts_of_predictions_and_maps_do_not_overlap(names, titles, size):
    results = example(images=5, names=names, titles=titles)
    pages = list(draw_predictions(images(5, size), results))
    assert len(pages) == 2 and len(pages[1].axes) == 1 + len(titles)
    for figure in pages:
        check_texts(figure)
        shapes = [axes.get_position().bounds[2:] for axes in figure.axes[::1 + len(titles)]]
        assert all(min(shape) > 0.02 for shape in shapes)  # a very long image does not vanish
    maps = {title: np.random.default_rng(0).random((7, 32, 32)) for title in results.scores}
    check_texts(draw_gradcam(images(1, size)[0], maps, range(7), results.subset([0])))


def test_gradcam_figure_has_labels_by_row_and_checkpoints_by_column():
    results = example(images=1)
    shown = [3, 0, 8]
    maps = {"R4C": np.random.default_rng(0).random((3, 32, 32)), "BCE": np.zeros((3, 32, 32))}
    figure = draw_gradcam(images(1)[0], maps, shown, results)
    assert figure.get_suptitle() == "image 0.png: " + ", ".join(results.label_names_of(0))
    for row, label in enumerate(shown):
        assert figure.axes[3 * row].images and figure.axes[3 * row].get_xlabel() == NAMES[label]
    for column, title in enumerate(("R4C", "BCE"), start=1):
        for row, label in enumerate(shown):
            axes, score = figure.axes[3 * row + column], results.scores[title][0, label]
            kind = {(0, True): " FP", (1, False): " FN"}.get((results.labels[0, label], score > 0.5), " ")
            assert axes.get_xlabel() == f"{score:.2f}{kind}"
            assert axes.get_title() == ("" if row else title)
            heat = axes.images[1].get_array()
            if title == "R4C":
                np.testing.assert_allclose(heat, maps[title][row] / maps[title][row].max())
                assert not axes.texts and axes.collections  # the line at half of the maximum
            else:
                assert heat.max() == 0 and [text.get_text() for text in axes.texts] == ["all zero"]


def test_labels_without_evidence_are_only_named_below_the_maps():
    results = example(images=1)
    maps = {title: np.random.default_rng(0).random((4, 32, 32)) for title in results.scores}
    for zero, shown, note in (([1, 2], [0, 3], "label b, label c."), ([0, 1, 2, 3], [0], "label b, label c, label d."),
                              ([], [0, 1, 2, 3], "")):
        for heat in maps.values():
            heat[zero] = 0
        figure = draw_gradcam(images(1)[0], maps, range(4), results)
        assert [axes.get_xlabel() for axes in figure.axes[:-1:3]] == [NAMES[label] for label in shown]
        assert figure.get_supxlabel() == (note and f"Every map is zero for {note}")
        check_texts(figure)
        maps = {title: heat + 0.1 for title, heat in maps.items()}


def test_the_map_is_the_right_way_up():
    results = example(images=1)
    heat = np.zeros((1, 8, 8))
    heat[0, 0, 0] = 1  # top left
    figure = draw_gradcam(images(1)[0], {"R4C": heat}, [0], results)
    axes = figure.axes[1]
    assert axes.images[1].get_extent() == [0, 1, 0, 1] and axes.images[1].origin == "upper"
    line = axes.collections[0].get_paths()[0].vertices
    assert line[:, 0].max() < 0.5 and line[:, 1].min() > 0.5


def test_histogram_has_shares_of_each_kind_and_the_buffer():
    results = example(images=400)
    figure = draw_histogram(results.scores, results.labels, results.shown_buffers())
    for axes, (title, scores) in zip(figure.axes, results.scores.items()):
        filled, line = [patch for patch in axes.patches if len(patch.get_path().vertices) > 10]
        for patch, label in ((filled, 1), (line, 0)):
            values = scores[results.labels == label]
            counts, _ = np.histogram(values, np.linspace(0, 1, 41))
            heights = patch.get_path().vertices[:, 1]
            assert heights.max() == pytest.approx(100 * counts.max() / len(values))
            inside = 100 * np.mean((values >= 0.4) & (values <= 0.6))
            assert f"{inside:.1f} %" in axes.get_title().replace("\n", " ")
        assert axes.get_title().startswith(title) and axes.get_yscale() == "log"
    check_texts(figure)


def test_expected_calibration_error_against_a_loop():
    results = example(images=50)
    scores, labels = results.scores["BCE"], results.labels
    scores[0, :3] = 0, 1, 0.5
    bins: dict[int, list[tuple[float, int]]] = {}
    for score, label in zip(scores.ravel(), labels.ravel()):
        bins.setdefault(max(math.ceil(score * 10) - 1, 0), []).append((score, label))
    expected = sum(abs(sum(label - score for score, label in of_bin)) for of_bin in bins.values()) / scores.size
    assert expected_calibration_error(scores, labels) == pytest.approx(expected) and expected > 0.01
    assert expected_calibration_error(labels.astype(float), labels) == 0
    assert expected_calibration_error(np.array([[0.9, 0.1]]), np.array([[0, 1]])) == pytest.approx(0.9)
    figure = draw_reliability(results.scores, labels)
    assert f"BCE: ECE {100 * expected:.1f} %" in [text.get_text() for text in figure.legends[0].get_texts()]
    inner = example(images=50)  # no scores on the edges of bins
    for line, matrix in zip(draw_reliability(inner.scores, labels).axes[0].lines[1:], inner.scores.values()):
        places = np.minimum(matrix * 10, 9).astype(int)
        expected_line = [[values[places == place].mean() for place in np.unique(places)]
                         for values in (matrix, labels)]
        np.testing.assert_allclose(line.get_data(), expected_line)
    assert figure.get_supxlabel().replace("\n", " ") == _REMARK
    check_texts(figure)


def test_precision_recall_panels():
    results = example(images=60)
    figure = draw_precision_recall(results.scores, results.labels, NAMES)
    for column, (axes, name) in enumerate(zip(figure.axes, NAMES)):
        present = results.labels[:, column]
        if column == 8:
            assert axes.get_title() == f"{name} (0)\nno positives" and len(axes.lines) == 1
            continue
        ap = [100 * average_precision_score(present, scores[:, column]) for scores in results.scores.values()]
        assert axes.get_title() == f"{name} ({present.sum()})\nAP {ap[0]:.0f}, {ap[1]:.0f}"
        for line, scores in zip(axes.lines[1:], results.scores.values()):
            recall, precision = line.get_data()
            of_present = np.sort(scores[present == 1, column])
            above = scores[:, column] >= of_present[len(of_present) // 2]  # one threshold, by hand
            point = (above & (present == 1)).sum() / present.sum(), present[above].mean()
            assert np.isclose(recall, point[0]).any() and np.isclose(precision[np.isclose(recall, point[0])],
                                                                     point[1]).any()
    check_texts(figure)


def test_precision_recall_titles_of_many_checkpoints_fit_their_panels():
    scores = {f"BCE, lr {rate}": np.array([[0.9, 0.1], [0.2, 0.8]]) for rate in range(8)}
    figure = draw_precision_recall(scores, np.eye(2), ["a", "b"])
    lines = figure.axes[0].get_title().splitlines()
    assert " ".join(lines[1:]) == "AP " + ", ".join(["100"] * 8) and max(map(len, lines)) <= 20
    check_texts(figure)


def test_f1_over_thresholds_is_scikit_learns():
    results = example(images=40)
    scores, labels, thresholds = results.scores["R4C"], results.labels, np.array([0.1, 0.5, 0.77])
    micro, macro = f1_over_thresholds(scores, labels, thresholds)
    for index, threshold in enumerate(thresholds):
        for value, average in ((micro, "micro"), (macro, "macro")):
            expected = f1_score(labels, scores > threshold, average=average, zero_division=0)
            assert value[index] == pytest.approx(expected)
    figure = draw_thresholds(results.scores, labels, buffer_halfwidth=0.1)
    curves = f1_over_thresholds(scores, labels, np.linspace(0.01, 0.99, 99))
    for axes, curve in zip(figure.axes, curves):
        np.testing.assert_allclose(axes.lines[0].get_data(), [np.linspace(0.01, 0.99, 99), 100 * curve])
    best = 100 * curves[0]
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == (
        f"R4C: {100 * micro[1]:.1f} at 0.5, {best.max():.1f} at {0.01 * (best.argmax() + 1):.2f}")
    check_texts(figure)


def test_co_occurrence_and_mistakes_against_loops():
    results = example(images=30)
    labels, predicted = results.labels, results.predicted["BCE"]
    both, wrong = percent_of_row_label(labels.T.astype(int) @ labels), mistakes(predicted, labels)
    for row in range(9):
        for column in range(9):
            of_row = [image for image in range(30) if labels[image, row]]
            expected = [labels[image, column] for image in of_row]
            assert both[row, column] == pytest.approx(100 * np.mean(expected) if of_row else 0)
            missed = [image for image in of_row if not predicted[image, row]]
            false = [predicted[image, column] and not labels[image, column] for image in missed]
            assert wrong[row, column] == pytest.approx(100 * np.mean(false) if missed else 0)
    assert wrong.any()
    for figure, matrices in ((draw_mistakes(results.predicted, labels, NAMES), {"R4C": None, "BCE": wrong}),
                             (draw_co_occurrence({"BCE": predicted}, labels, NAMES),
                              {"true": both, "BCE": percent_of_row_label(predicted.T.astype(int) @ predicted)})):
        assert [axes.get_title() for axes in figure.axes] == list(matrices)
        for axes, matrix in zip(figure.axes, matrices.values()):
            if matrix is not None:
                np.testing.assert_allclose(axes.images[0].get_array(), matrix)
                shown = [f"{cell:.0f}" for cell in matrix.ravel() if cell > 0.5]
                assert [text.get_text() for text in axes.texts] == shown
    assert [tick.get_text() for tick in draw_mistakes({"BCE": predicted}, labels, NAMES).axes[0].get_yticklabels()] == [
        f"{name} ({((labels[:, column] == 1) & ~predicted[:, column]).sum()})" for column, name in enumerate(NAMES)]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("names, single_label, titles", [
    (NAMES, False, ["R4C", "BCE"]), (NAMES[:1], False, ["BCE"]), (NAMES[:3], False, ["R4C"]),
    pytest.param(LONG_NAMES, False, LONG_TITLES, marks=pytest.mark.long),
    (LONG_NAMES[:17], False, LONG_TITLES),
    (LONG_NAMES, True, ["R4C", "CE"]), (["W" * 30, "b", "c"], True, ["CE"]),
    (["ÄÖÜ " * 9, "名" * 20, "c"], False, [f"BCE, lr {rate}" for rate in range(6)])])
def test_all_score_figures(names, single_label, titles):
    results = example(images=90, names=names, single_label=single_label, titles=titles)
    drawn = list(score_figures(results))
    stems = {"score_histogram", "reliability", "precision_recall", "thresholds"}
    stems |= {f"confusion_{number + 1}" for number in range(len(titles))} if single_label else {
        "co_occurrence", "mistakes"}
    assert {shown.stem for shown in drawn} == stems and all(shown.title and shown.caption for shown in drawn)
    for shown in drawn:
        check_texts(shown.figure)


def test_confusion_figure_is_in_percent_of_the_row():
    figure = draw_confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])
    axes, = figure.axes
    assert [text.get_text() for text in axes.texts] == ["75", "25"]
    assert axes.images[0].get_array().tolist() == [[75, 25], [0, 0]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a (4)", "b (0)"]


def test_each_panel_has_the_buffer_of_its_training():
    results = example(images=20, titles=[])
    for title, halfwidth in (("BCE", None), ("narrow", 0.05), ("wide", 0.3)):
        results.add(title, np.full((20, 9), 0.58), halfwidth)
    assert results.shown_buffers() == {"BCE": 0.05, "narrow": 0.05, "wide": 0.3} == results.subset([1]).shown_buffers()
    shares = [axes.get_title().split("buffer: ")[1].split(" ")[0]
              for axes in draw_histogram(results.scores, results.labels, results.shown_buffers()).axes]
    assert shares == ["0.0", "0.0", "100.0"]


def test_losses_without_a_buffer_are_shown_without_one():
    results = example(titles=[])
    results.add("BCE", np.full((9, 9), 0.3))
    assert results.shown_buffers() == {"BCE": None}
    histogram = draw_histogram(results.scores, results.labels, results.shown_buffers())
    thresholds = draw_thresholds(results.scores, results.labels, None)
    predictions, *_ = draw_predictions(images(9), results)
    assert histogram.axes[0].get_title() == "BCE"
    for figure in (histogram, thresholds, predictions):
        assert not [patch for axes in figure.axes for patch in axes.patches
                    if same_color(patch.get_facecolor(), BUFFER["color"])]
        assert "buffer interval" not in [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert any(line.get_xdata()[0] == 0.5 for axes in figure.axes for line in axes.lines)  # the threshold
    assert len(list(score_figures(results))) == 6


@pytest.mark.parametrize("checkpoints, names", [
    (number, LONG_NAMES[:labels]) for number in (1, 2, 3, 4) for labels in (3, 17)] + [(4, NAMES)])
def test_matrices_fill_their_figure_with_about_square_cells(checkpoints, names):
    results = example(images=40, names=names, titles=["R4C", "BCE", "ASL", "Focal"][:checkpoints])
    figure = draw_mistakes(results.predicted, results.labels, names)
    FigureCanvasAgg(figure).draw()
    content, boxes = figure.get_tightbbox(), [axes.get_tightbbox() for axes in figure.axes]  # inches, pixels
    assert np.abs(content.extents - [0, 0, *figure.get_size_inches()]).max() < 0.15
    for upper, lower in zip(boxes, boxes[2:]):
        assert (upper.y0 - lower.y1) / figure.dpi < 0.25
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert 0.8 < box.width / box.height < 1.25


def test_lines_of_many_runs_differ():
    looks = {(str(style["color"]), str(style["linestyle"])) for style in map(line_style, range(64))}
    assert len(looks) == 64
    variants = [f"R4C, lr {rate}" for rate in range(50)]
    looks = {(str(style["linestyle"]), style["marker"]) for style in line_styles(variants).values()}
    assert len(looks) == 50


def test_a_loss_has_one_colour_in_every_figure(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("epoch,lr,train_loss,train_part,val_mAP,val_OF1\n1,0.1,2,1,0.5,0.4\n2,0.1,1,0.5,0.6,0.5\n")
    looks: dict[str, set] = {}
    for titles in (["R4C", "BCE"], ["BCE", "R4C"], ["ASL"], ["BCE"], ["Focal, lr 1", "New", "ASL", "R4C", "CE", "BCE"]):
        results = example(images=40, titles=titles)
        figures = [draw_reliability(results.scores, results.labels), draw_thresholds(results.scores, results.labels, 0),
                   draw_precision_recall(results.scores, results.labels, NAMES),
                   draw_comparison({title: [log] for title in titles})]
        for figure in figures:
            legend, = figure.legends or [figure.axes[0].get_legend()]
            for line, text in zip(legend.get_lines(), legend.get_texts()):
                looks.setdefault(text.get_text().split(":")[0], set()).add((line.get_color(), line.get_linestyle()))
        total, _, *_, rate = [line for axes in draw_curves(log, titles[0]).axes for line in axes.lines]
        looks[titles[0]] |= {(line.get_color(), line.get_linestyle()) for line in (total, rate)}
    del looks["calibrated"]
    assert [len(same) for same in looks.values()] == [1] * 6
    assert len({color for same in looks.values() for color, _ in same}) == 6


def test_variants_of_a_loss_share_its_colour_and_new_losses_take_others():
    base = {loss.title: line_styles([loss.title])[loss.title] for loss in LOSSES.values()}
    assert len({style["color"] for style in base.values()}) == len(base)
    titles = ["Zeta", "R4C, bound", "r4c_bound", "R4C", "BCEplus", "CE folder/best", "run/best"]
    styles = line_styles(titles)
    assert styles == line_styles(titles[::-1])
    assert styles["R4C"] == base["R4C"] and styles["CE folder/best"] == base["CE"]
    r4c = [styles[title] for title in titles[1:4]]
    assert {style["color"] for style in r4c} == {base["R4C"]["color"]}
    assert len({style["linestyle"] for style in r4c}) == len({style["marker"] for style in r4c}) == 3
    new = {styles[title]["color"] for title in ("Zeta", "BCEplus", "run/best")}
    assert len(new) == 3 and not new & {style["color"] for style in base.values()}


@pytest.mark.parametrize("decay", [0.99, 0.9, 0.5])
def test_logarithmic_axes_have_plain_numbers(tmp_path, decay):
    log = tmp_path / "log.csv"
    log.write_text("epoch,lr,train_loss,val_mAP,val_OF1\n" + "".join(
        f"{epoch},{0.0004 * decay ** epoch},{decay ** epoch},0.5,0.4\n" for epoch in range(1, 15)))
    for figure in (draw_comparison({"R4C": [log]}), draw_curves(log, "R4C")):
        shown = {text.get_text() for text in shown_texts(figure)}
        ticks = {text.get_text() for text in figure.axes[2].get_yticklabels()} & shown
        assert len({float(tick.replace("\N{MINUS SIGN}", "-")) for tick in ticks}) >= 3
        check_texts(figure)


# Which images

def test_ranking_losses_of_images_are_scikit_learns():
    from sklearn.metrics import label_ranking_loss

    results = example(images=20)
    scores, labels = results.scores["BCE"].round(1), results.labels.copy()  # with ties
    labels[0], labels[1] = 0, 1  # no pairs
    losses = image_ranking_losses(scores, labels)
    assert losses == pytest.approx([label_ranking_loss(labels[i:i + 1], scores[i:i + 1]) for i in range(20)])
    assert losses.mean() == pytest.approx(label_ranking_loss(labels, scores))


def test_selected_images():
    results = example(images=20)
    wrong = {title: (results.predicted[title] != results.labels).sum(1) for title in results.scores}
    losses = {title: image_ranking_losses(scores, results.labels) for title, scores in results.scores.items()}
    losses, wrong = (-sum(by_title.values()) for by_title in (losses, wrong))
    expected = sorted(range(20), key=lambda image: (losses[image], wrong[image]))
    assert rank_images(results).tolist() == expected
    assert select_images([], 3, results) == select_images(["worst"], 3, results) == expected[:3]
    assert select_images(["best"], 3, results) == expected[::-1][:3]
    differ = (results.predicted["R4C"] != results.predicted["BCE"]).sum(1)
    disagree = select_images(["disagree"], 20, results)
    assert differ[disagree].tolist() == sorted(differ, reverse=True) and differ[disagree[0]] > 0
    assert select_images(["random"], 5, results) == select_images(["random"], 5, results) != [0, 1, 2, 3, 4]
    assert select_images(["image 3", "image 11.png", "folder/image 3.png"], 1, results) == [3, 11]


def test_selections_that_are_refused(capsys):
    results = example(images=3)
    assert len(select_images(["worst"], 50, results)) == 3
    assert "50 images to show, but there are only 3" in capsys.readouterr().err
    same_name = Results([Path("a/x.png"), Path("b/x.png")], NAMES, None, False, {"R4C": np.zeros((2, 9))},
                    {"R4C": np.zeros((2, 9), bool)})
    assert select_images(["b/x"], 1, same_name) == [1] and select_images([], 1, same_name) == [0]
    composed, decomposed = (unicodedata.normalize(form, "ménage") for form in ("NFC", "NFD"))
    accents = dataclasses.replace(same_name, images=[Path(f"{composed} 1.png"), Path(f"{decomposed} 2.png")])
    assert select_images([f"{decomposed} 1", f"{composed} 2.png"], 1, accents) == [0, 1]
    for selection, shown, message in (
            (["x"], same_name, "matches 2 images, a/x.png and b/x.png"),
            (["worst"], same_name, "needs images"), (["disagree"], same_name, "two checkpoints"),
            (["best", "image 1"], results, "one of worst, best, disagree, random, or names"),
            (["image 33"], results, "did you mean image"),
            (["zzz"], results, r"no such image among the 3 \(worst, best, disagree, random")):
        with pytest.raises(InputError, match=message):
            select_images(selection, 1, shown)


@pytest.mark.parametrize("labels", [np.ones((1, 12), np.uint8), np.eye(1, 12, dtype=np.uint8), None])
def test_labels_to_explain_are_present_then_predicted_and_at_most_the_limit(labels):
    results = Results([Path("a.png")], list("abcdefghijkl"), labels, False)
    results.add("R4C", np.linspace(0.6, 0.9, 12)[None])
    by_score = list(range(11, -1, -1))
    expected = by_score if labels is None or labels.all() else [0, *by_score[:-1]]
    assert select_labels(results).tolist() == expected[:10] and select_labels(results, 3).tolist() == expected[:3]


# Files

def test_names_in_figures():
    assert name_text("short") == "short" and name_text("costs $5") == r"costs \$5"
    assert name_text("abcdefghij", 10) == "abcdefghij" and name_text("ABCDEFGHIJ", 10) == "ABCD…HIJ"
    assert name_text("abcdefghijklmnopqrstuvwxyz", 10) == "abcd…wxyz"
    assert names_text(["one", "two", "three"], 9) == "one, two,\nthree"
    assert title_text("BCE, lr 0.1, seed 3 of 4", 8).splitlines() == ["BCE, lr", "0.1,", "…of 4"]
    assert names_text(["word"] * 20, 10, 2).splitlines()[-1].endswith("…") and len(names_text(["w"] * 99, 9, 2)) < 25


def test_files_are_the_same_each_time_and_have_no_type_3_fonts(tmp_path, capsys):
    results = example(images=30)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        figure = draw_histogram(results.scores, results.labels, results.shown_buffers())
        save_figure(figure, tmp_path / folder / "h.x", ["png", "pdf", "svg"])
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["h.x.pdf", "h.x.png", "h.x.svg"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert b"/Type3" not in (tmp_path / "a" / "h.x.pdf").read_bytes()
    assert matplotlib.rcParams["pdf.fonttype"] == matplotlib.rcParamsDefault["pdf.fonttype"]
    figure = new_figure(2, 2)
    figure.text(0.5, 0.5, "\U0001f6e9 \u6d77")
    save_figure(figure, tmp_path / "glyphs")
    save_figure(figure, tmp_path / "again")
    assert capsys.readouterr().err.count("warning: Glyph") == 1  # once, not for each figure
