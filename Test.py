"""Test trained classifiers: tables, and metrics.json, per_label.csv and scores.csv beside each checkpoint.

    python Test.py                                     the newest run below --work-dir
    python Test.py --weights_path runs/.../best.pth
    python Test.py --images FOLDER photo.jpg           predict on pictures without labels: predictions.csv

Figures, of one checkpoint or of several side by side, and a page with all of them:

    python Test.py --weights_path A/best.pth B/best.pth --show_predictions 4 --pick disagree
    python Test.py --show_gradcam 4 --show_scores
    python Test.py --report
"""

import argparse
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import (
    Data,
    ImageDataset,
    Normalize,
    Split,
    all_views,
    build_loader,
    dataset_name,
    eval_transform,
    fingerprint,
    images_at,
    load_data,
    load_image,
)
from model import NETWORKS, load_trained, network_name
from utils.engine import predict
from utils.errors import InputError, exit_cleanly, warn
from utils.evaluation.gradcam import grad_cam
from utils.evaluation.html_report import write_html_report
from utils.evaluation.image_selection import check_selection, rank_images, select_images
from utils.evaluation.report import evaluate, format_report, write_predictions, write_report
from utils.figures.curves import draw_comparison, draw_curves
from utils.figures.gradcam import draw_gradcam
from utils.figures.predictions import draw_predictions
from utils.figures.scores import TitledFigure, score_figures
from utils.figures.style import FORMATS, png_of, save_figure
from utils.options import (
    HelpFormatter,
    add_machine_options,
    batch_size,
    image_size,
    number,
    resolve_num_workers,
    run_titles,
    select_device,
)
from utils.results import Results
from utils.run.run_folder import check_not_in_dataset, make_folder

# Data sets hold a few images twice; a larger share of known images is no coincidence.
TWINS = 0.05
KINDS = {False: "several labels per image", True: "one label per image"}
GRADCAM_ROWS = 10  # labels of an image


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=HelpFormatter)
    parser.add_argument("--weights_path", nargs="+", metavar="FILE",
                        help="checkpoints of Train.py, which know their network, labels and data; or bare state "
                             "dicts, with --model and --label_num (default: the newest run's best.pth)")
    parser.add_argument("--dataset",
                        help="other data with the same labels (default: the checkpoint's, else AID_Multilabel)")
    parser.add_argument("--data_root", metavar="DIR", help="the folder that holds <dataset>/ (default: as in training)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--test_dir", metavar="LIST",
                      help="list file of the images to test, e.g. a run's val.txt (default: as in training, else the "
                           "data set's test split)")
    what.add_argument("--images", nargs="+", metavar="PATH",
                      help="predict on these pictures, and on all pictures in these folders, instead of testing")
    parser.add_argument("--label_path", metavar="TABLE",
                        help="label table (default: as in training; the data set's own, with --data_root)")
    parser.add_argument("--model", help="network of a bare state dict")
    parser.add_argument("--label_num", type=number(int, 1), metavar="C", help="number of labels of a bare state dict")
    parser.add_argument("--image_size", type=image_size, metavar="PX", help="(default: as in training, else 512)")
    parser.add_argument("--test_batch_size", type=batch_size, default=64, metavar="B",
                        help="images at a time; has no influence on the figures")
    parser.add_argument("--all_views", action="store_true",
                        help="average the scores over the eight rotations and mirror images of each image: eight "
                             "times the work, and not the method as published")
    parser.add_argument("--save_path", metavar="DIR",
                        help="folder for the results (default: test_best beside best.pth, val_best for a list val.txt, "
                             "images_best for --images; for the figures of several checkpoints, comparison in "
                             "--work-dir)")
    parser.add_argument("--work-dir", default="./runs", metavar="DIR", help="where the newest run is looked for")
    add_machine_options(parser)
    figures = parser.add_argument_group("figures")
    figures.add_argument("--show_predictions", nargs="?", type=number(int, 1, 500), const=4, metavar="N",
                         help="draw N images (4), and beside each the 7 labels that every checkpoint ranks highest")
    figures.add_argument("--show_gradcam", nargs="?", type=number(int, 1, 500), const=4, metavar="N",
                         help="draw N images (4), and where each checkpoint finds its evidence for each label")
    figures.add_argument("--pick", nargs="+", default=[], metavar="RUNTIME_OPTIONS",
                         help="which N images: worst or best ranked, disagree, where the checkpoints decide "
                              "differently, or random; or names of images, which are all drawn (default: worst; of "
                              "--images, the first)")
    figures.add_argument("--show_scores", action="store_true",
                         help="draw where the scores lie, their reliability, precision and recall, F1 over the "
                              "threshold, and which labels are taken for which")
    figures.add_argument("--report", nargs="?", type=number(int, 1, 5000), const=48, metavar="N",
                         help="write report.html, one page with the tables, these figures and the N (48) worst-ranked "
                              "images")
    figures.add_argument("--formats", nargs="+", choices=FORMATS, default=["png", "pdf"], help="of the figures")
    args = parser.parse_args(argv)
    if args.images and (args.show_scores or args.report):
        parser.error("--show_scores and --report need images with labels, not --images")
    if args.pick and not (args.show_predictions or args.show_gradcam):
        parser.error("--pick is for --show_predictions and --show_gradcam")
    return args


@dataclass
class Checkpoint:
    """A trained classifier. title: its name in figures. folder: where its results go. about: what its file knows,
    nothing for a bare state dict. names: its labels, in its own order."""

    weights: Path
    title: str
    folder: Path
    model: torch.nn.Module
    network: str
    about: dict[str, Any]
    names: list[str]
    image_size: int

    def normalize(self) -> Normalize:
        return Normalize(self.about["mean"], self.about["std"]) if self.about else Normalize()


def load_checkpoints(args: argparse.Namespace) -> list[Checkpoint]:
    """Those of `--weights_path`, each once, with titles that tell them apart."""
    files = list({Path(file).resolve(): Path(file) for file in args.weights_path or [newest_checkpoint(args.work_dir)]
                  }.values())
    loaded = [load_trained(file, args.model, args.label_num) for file in files]
    titles = options = run_titles([about.get("args", {}) for _, about in loaded])
    for places in ([f"{file.parent.name}/{file.stem}" for file in files], map(str, files)):  # what tells them apart
        titles = [title if title and titles.count(title) == 1 else f"{own} {place}".strip()
                  for title, own, place in zip(titles, options, places)]
    part = "images" if args.images else Path(args.test_dir).stem if args.test_dir else "test"
    checkpoints = []
    for place, (file, title, (model, about)) in enumerate(zip(files, titles, loaded), start=1):
        folder = Path(args.save_path or file.parent / f"{part}_{file.stem}")
        if args.save_path and len(files) > 1:
            folder /= f"{place}_" + re.sub(r"[^\w.+-]+", "_", title)[:80]
        names = about.get("label_names") or [f"label {column}" for column in range(args.label_num)]
        checkpoints.append(Checkpoint(file, title, folder, model, about.get("model") or network_name(args.model), about,
                                      names, args.image_size or about.get("image_size", 512)))
    return checkpoints


def check_same_labels(one: Checkpoint, other: Checkpoint) -> None:
    """Raise InputError where two checkpoints cannot be compared; a bare state dict knows no labels but their number."""
    kinds = [checkpoint.about.get("single_label", False) for checkpoint in (one, other)]
    if set(one.names) != set(other.names) or (one.about and other.about and kinds[0] != kinds[1]):
        only_one, only_other = set(one.names) - set(other.names), set(other.names) - set(one.names)
        raise InputError(f"{one.weights} ({KINDS[kinds[0]]}) and {other.weights} ({KINDS[kinds[1]]}) have different "
                         f"labels: only the first {sorted(only_one)}, only the second {sorted(only_other)}; compare "
                         "checkpoints of the same labels")


def newest_checkpoint(work_dir: str) -> Path:
    found = sorted(Path(work_dir).glob("**/best.pth"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"there is no run with a best.pth below {work_dir}: train one first, or give --weights_path")
    return found[-1]


def find_test_data(args: argparse.Namespace, about: dict) -> Data:
    """The test images: the arguments say which, else those of the training, which the checkpoint `about` knows."""
    trained_with = about.get("args", {})
    dataset = dataset_name(args.dataset or trained_with.get("dataset", "AID_Multilabel"))
    same_data = dataset == trained_with.get("dataset")
    same_files = same_data and (not args.data_root or os.path.abspath(args.data_root) == trained_with["data_root"])
    if same_files and trained_with["train_dir"] and not (args.test_dir or trained_with["test_dir"]):
        raise InputError("this checkpoint was trained on a list file, which may name images of the data set's test "
                         "split: say with --test_dir which images to test")
    test_dir = args.test_dir or (trained_with["test_dir"] if same_files else None)
    label_path = args.label_path or (trained_with["label_path"] if same_files else None)
    data = load_data(dataset, args.data_root or trained_with.get("data_root", "./data"),
                     {"test": test_dir} if test_dir else None, label_path, trained_with.get("seed", 3050),
                     trained_with.get("train_ratio") if same_data else None, about.get("label_names"))
    data.check_label_num(args.label_num)
    if about.get("single_label", data.single_label) != data.single_label:
        raise InputError(f"the checkpoint was trained for {KINDS[about['single_label']]}, and the data has "
                         f"{KINDS[data.single_label]}")
    return leave_out_trained(data, about, named=bool(test_dir))


def leave_out_trained(data: Data, about: dict, named: bool) -> Data:
    """See to it that a test by default is on images that were not trained on, and say so where one is.

    Args:
        named: whether a list names the images to test.
    Raises:
        InputError: where there is nothing to test on, or more than a few twins of images of the training.
    """
    say = "say with --test_dir which images to test, as test.txt of the run does"
    if data.train_ratio and "trained_on" not in about:
        raise InputError(f"this file does not know which images it was trained on, and {data.root} has no split: {say}")
    trained_on, everything = set(about.get("trained_on", ())), data.all_images()
    known = {image for image in everything.images if trained_on and fingerprint(image) in trained_on}
    if data.train_ratio and len(known) <= TWINS * len(everything.images):  # a split is for training: needless here
        print(f"{data.root}: not the images of the training, so all {len(everything.images)} are tested on")
        data = replace(data, splits={"test": everything})
    if "test" not in data.splits or not data.splits["test"].images:
        raise InputError(f"{data.root} has no test images: {say}")
    images = data.splits["test"].images
    again = sum(image in known for image in images)
    if again > TWINS * len(images) and not named:
        raise InputError(f"{again} of the {len(images)} test images below {data.root} were trained or validated on: "
                         f"{say}")
    if again:
        warn(f"{again} of the {len(images)} test images were trained or validated on, or are twins of such images")
    return data


def labels_in_order(data: Data, names: list[str]) -> np.ndarray:
    """The test labels (N, C) with columns in the order of the checkpoint's label names.

    Raises:
        InputError: where the names differ.
    """
    if sorted(data.label_names) != sorted(names):
        only_here, only_there = set(data.label_names) - set(names), set(names) - set(data.label_names)
        raise InputError("the checkpoint and the data have different labels: only the data "
                         f"{sorted(only_here)}, only the checkpoint {sorted(only_there)}")
    return data.splits["test"].labels[:, [data.label_names.index(name) for name in names]]


def find_results(args: argparse.Namespace, checkpoints: list[Checkpoint]) -> Results:
    """The images and their labels, which no checkpoint has scored yet.

    Raises:
        InputError: where they are not the same for all checkpoints, or results would lie among them.
    """
    first, *others = sorted(checkpoints, key=lambda checkpoint: not checkpoint.about)  # those that know their data
    data = None if args.images else find_test_data(args, first.about)
    for checkpoint in checkpoints:
        if not checkpoint.about:
            checkpoint.names = first.names if args.images else data.label_names
    for other in others:
        check_same_labels(first, other)
    if args.images:
        for place in args.images if args.save_path else ():
            check_not_in_dataset(args.save_path, Path(place))
        return Results(images_at(args.images), first.names, None, first.about.get("single_label", False))
    images = data.splits["test"].images
    for other in others:
        if other.about and set(find_test_data(args, other.about).splits["test"].images) != set(images):
            raise InputError(f"{first.weights} and {other.weights} are not for the same test images; say with "
                             "--test_dir which images to test, and with --data_root where they are")
    if args.save_path and not args.test_dir:
        check_not_in_dataset(args.save_path, data.root)
    return Results(images, first.names, labels_in_order(data, first.names), data.single_label)


def scores_of(checkpoint: Checkpoint, results: Results, args: argparse.Namespace) -> np.ndarray:
    """Scores (N, C) of the images, prepared as in training, in the order of `results.names`."""
    device = select_device(args.device)
    split = Split(results.images, np.zeros((len(results.images), 1)))
    loader = build_loader(ImageDataset(split, eval_transform(checkpoint.image_size)), args.test_batch_size,
                          resolve_num_workers(args.num_workers, device), device)
    model = checkpoint.model.to(device, memory_format=torch.channels_last)
    scores, _ = predict(model, loader, checkpoint.normalize().to(device), device, checkpoint.title,
                        checkpoint.about.get("activation", "sigmoid"), args.amp,
                        views=all_views if args.all_views else None)
    return scores[:, [checkpoint.names.index(name) for name in results.names]]


def save_predictions(checkpoint: Checkpoint, results: Results) -> None:
    """Write predictions.csv of images without known labels, and show its first lines."""
    file = checkpoint.folder / "predictions.csv"
    labels = write_predictions(file, results.images, results.scores[checkpoint.title], results.names,
                               results.single_label)
    for image, image_labels in list(zip(results.images, labels))[:10]:
        print(f"{image}: {image_labels or '(none above 0.5)'}")
    print(f"labels and scores of {len(results.images)} images: {file}")


def save_report(checkpoint: Checkpoint, results: Results, args: argparse.Namespace) -> dict[str, Any]:
    """Write the tables of a test, and print them; returns the report that metrics.json holds."""
    scores, size = results.scores[checkpoint.title], checkpoint.image_size
    report = {"weights": str(checkpoint.weights), "epoch": checkpoint.about.get("epoch"), "image_size": size,
              "all_views": args.all_views, "device": str(select_device(args.device)),
              **evaluate(scores, results.labels, results.names, results.single_label)}
    views = ", means of 8 views" if args.all_views else ""
    print(f"{checkpoint.weights}: {len(results.images)} test images at {size} x {size}{views}\n\n"
          f"{format_report(report)}")
    write_report(checkpoint.folder, report, results.images, scores, results.labels)
    print(f"\nresults: {checkpoint.folder}")
    return report


def draw(args: argparse.Namespace, checkpoints: list[Checkpoint], results: Results) -> Iterator[TitledFigure]:
    """The figures that the options ask for."""
    logs = {checkpoint.title: [checkpoint.weights.with_name("log.csv")] for checkpoint in checkpoints}
    if args.report and all(log.is_file() for log, in logs.values()):
        yield TitledFigure("training", "Training", "Over the epochs; the checkpoint is that of the epoch in the table.",
                    draw_comparison(logs) if len(logs) > 1 else draw_curves(*logs[checkpoints[0].title]))
    if args.report or args.show_scores:
        yield from score_figures(results)
    if args.show_predictions:
        chosen = select_images(args.pick, args.show_predictions, results)
        pictures = (load_image(results.images[image]) for image in chosen)
        decides = "The first is predicted." if results.single_label else "In it, the threshold."
        for page, figure in enumerate(draw_predictions(pictures, results.of(chosen)), start=1):
            yield TitledFigure(f"predictions_{page}", "Predicted labels", "The labels that each checkpoint ranks highest. "
                        f"Gray: the buffer interval. {decides}", figure)
    if args.show_gradcam:
        chosen = select_images(args.pick, args.show_gradcam, results)
        for rank, image in enumerate(chosen, start=1):
            path = results.images[image]
            yield TitledFigure(f"gradcam_{rank}_{path.stem[:60]}", f"Grad-CAM: {path.name}", "Where each checkpoint finds its "
                        "evidence for a label; below each map, the score.",
                        explain(checkpoints, results.of([image]), select_device(args.device)))


def remove_older(args: argparse.Namespace, folder: Path) -> None:
    """Take away numbered figures of an earlier call that this one draws anew: there may have been more of them."""
    for kind, is_drawn in (("predictions", args.show_predictions), ("gradcam", args.show_gradcam)):
        for file in folder.glob(f"{kind}_[0-9]*") if is_drawn else ():
            if file.suffix[1:] in FORMATS:
                file.unlink()


def explain(checkpoints: list[Checkpoint], one: Results, device: torch.device):
    """Grad-CAM of one image, for its labels, and what else a checkpoint predicts or ranks first."""
    picture = load_image(one.images[0])
    present = np.zeros(len(one.names)) if one.labels is None else one.labels[0]
    predicted = np.any([decided[0] for decided in one.decided.values()], axis=0)
    highest = np.max([scores[0] for scores in one.scores.values()], axis=0)
    order = np.lexsort((-highest, ~predicted, present == 0))
    shown = order[:max(1, np.sum(predicted | (present == 1)))][:GRADCAM_ROWS]
    maps = {}
    for checkpoint in checkpoints:
        pixels = checkpoint.normalize()(eval_transform(checkpoint.image_size)(picture)[None])
        layer = checkpoint.model.get_submodule(NETWORKS[checkpoint.network].gradcam)
        columns = [checkpoint.names.index(one.names[label]) for label in shown]
        maps[checkpoint.title] = grad_cam(checkpoint.model, layer, pixels.to(device), columns)[0].cpu().numpy()
    return draw_gradcam(picture, maps, shown, one)


def main(argv: list[str] | None = None) -> dict[str, Any] | None:
    """Test; returns the report that metrics.json of the first checkpoint holds, or None after `--images`."""
    args = parse_arguments(argv)
    checkpoints = load_checkpoints(args)
    results = find_results(args, checkpoints)
    check_selection(args.pick, results, len(checkpoints))
    folder = checkpoints[0].folder
    if len(checkpoints) > 1:
        folder = Path(args.save_path or Path(args.work_dir) / "comparison")
    draws = args.show_predictions or args.show_gradcam or args.show_scores or args.report
    for place in (*[folder] * bool(draws), *(checkpoint.folder for checkpoint in checkpoints)):
        make_folder(place)

    reports = {}
    for checkpoint in checkpoints:
        trained_with = checkpoint.about.get("args", {})
        reach = trained_with["range_label"] if trained_with.get("loss") == "r4c" else None
        results.add(checkpoint.title, scores_of(checkpoint, results, args), reach)
        if args.images:
            save_predictions(checkpoint, results)
        else:
            reports[checkpoint.title] = save_report(checkpoint, results, args)

    if draws:
        remove_older(args, folder)
    drawn = []
    for shown in draw(args, checkpoints, results):
        save_figure(shown.figure, folder / shown.stem, args.formats)
        print(f"figure:  {folder / shown.stem}.{args.formats[0]}")
        drawn += [(shown.title, shown.caption, png_of(shown.figure))] if args.report else []
    if args.report:
        worst = results.of(rank_images(results)[:args.report])
        write_html_report(folder / "report.html", f"Test of {', '.join(reports)}", reports, drawn, worst, load_image)
        print(f"report:  {folder / 'report.html'}")
    return next(iter(reports.values()), None)


if __name__ == "__main__":
    exit_cleanly(main)
