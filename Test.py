"""Test trained classifiers: tables, and metrics.json, per_label.csv and scores.csv next to each checkpoint.

    python Test.py                                     the newest run below --work-dir
    python Test.py --weights_path runs/.../best.pth
    python Test.py --images FOLDER photo.jpg           predict on images without labels: predictions.csv

Figures of one checkpoint, or of several side by side, and a page with all of them:

    python Test.py --weights_path A/best.pth B/best.pth --show_predictions 4 --select disagree
    python Test.py --show_gradcam 4 --show_scores
    python Test.py --report
"""

from utils.cpu import prepare_cpu
from utils.errors import InputError, exit_cleanly, exit_quietly_on_ctrl_c, summarize_names, warn

if __name__ == "__main__":
    exit_quietly_on_ctrl_c()  # the imports below take seconds
    prepare_cpu()

import argparse
import hashlib
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import (
    Candidate,
    ImageDataset,
    Normalize,
    Split,
    all_views,
    build_loader,
    eval_transform,
    find_common_test_data,
    fingerprints,
    images_at,
    load_image,
    unify_labels,
)
from model import NETWORKS, load_trained, network_name
from utils import distributed, options
from utils.engine import predict
from utils.evaluation.gradcam import grad_cam
from utils.evaluation.html_report import write_html_report
from utils.evaluation.image_selection import SELECTIONS, check_selection, rank_images, select_images, select_labels
from utils.evaluation.report import evaluate, format_report, write_predictions, write_report
from utils.figures.confusion import draw_confusion
from utils.figures.curves import read_log
from utils.figures.gradcam import draw_gradcam
from utils.figures.scores import TitledFigure, prediction_figures, save_figures, score_figures, training_figure
from utils.figures.style import FORMATS, png_of, remove_figures, save_figure
from utils.metrics import confusions
from utils.results import Results
from utils.run.run_folder import check_not_in_dataset, make_folder, newest_checkpoint, read_args, weight_file


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.Parser(description=__doc__)
    add, exclusive = parser.add_argument, parser.add_mutually_exclusive_group().add_argument
    add("--weights_path", nargs="+", type=weight_file, metavar="FILE",
        help="checkpoints or runs of Train.py, which know their data; or bare state dicts, with --model and "
             "--label_num (default: the newest run's best.pth)")
    add("--dataset", help="other data with the same labels (default: the checkpoint's, else AID_Multilabel)")
    add("--data_root", metavar="DIR", help="the folder that holds <dataset>/ (default: as in training)")
    exclusive("--test_dir", type=options.list_file("test"), metavar="LIST",
              help="list file of the images to test (default: as in training, else the data set's test split)")
    exclusive("--images", nargs="+", metavar="PATH",
              help="predict on these images, and on all images in these folders, instead of testing")
    add("--label_path", type=options.label_table, metavar="TABLE", help="(default: as in training or in the data set)")
    add("--model", help="network of a bare state dict")
    add("--label_num", type=options.number(int, 1), metavar="C", help="number of labels of a bare state dict")
    add("--image_size", type=options.image_size, metavar="PX", help="(default: as in training, else 512)")
    add("--test_batch_size", type=options.batch_size, default=64, metavar="B", help="images at a time")
    add("--all_views", action="store_true",
        help="average the scores of eight rotations and mirror images: eight times the work; deviates from the paper")
    add("--save_path", metavar="DIR",
        help="folder for the results (default: test_best next to best.pth, val_best for a list val.txt, images_best "
             "for --images; for the figures of several checkpoints, comparison in --work-dir)")
    add("--work-dir", default="./runs", metavar="DIR", help="where to look for the newest run")
    options.add_machine_options(parser)
    add, up_to_500 = parser.add_argument_group("figures").add_argument, options.number(int, 1, 500)
    add("--show_predictions", nargs="?", type=up_to_500, const=4, metavar="N",
        help="draw N images (4), each with the 7 labels that every checkpoint ranks highest")
    add("--show_gradcam", nargs="?", type=up_to_500, const=4, metavar="N",
        help="draw N images (4) and where each checkpoint finds its evidence for each label")
    add("--select", nargs="+", default=[], metavar="HOW",
        help="which N images: worst or best (by ranking loss), disagree (where checkpoints predict different labels), "
             "random; or names of images, which are all drawn (default: worst; for --images, the first)")
    add("--show_scores", action="store_true",
        help="draw score distributions, reliability, precision-recall curves, F1 over the threshold and confusions")
    add("--report", nargs="?", type=options.number(int, 1, 5000), const=48, metavar="N",
        help="write report.html, one page with the tables, these figures and the N (48) worst-ranked images")
    add("--formats", nargs="+", type=str.lower, choices=FORMATS, default=["png", "pdf"], help="formats of the figures")
    args = parser.parse_args(argv)
    args.select = [word.lower() if word.lower() in SELECTIONS else word for word in args.select]
    needs_labels = "show_scores report dataset data_root label_path".split() if args.images else ()
    ignored = dict.fromkeys(needs_labels, "with --images, which have no labels")
    if not (args.show_predictions or args.show_gradcam):
        ignored["select"] = "without --show_predictions or --show_gradcam"
        ignored |= {} if args.show_scores or args.report else {"formats": "without a figure to draw"}
    options.check_effect(vars(args), vars(parser.parse_args([])), ignored)
    return args


@dataclass
class Checkpoint(Candidate):
    """A trained classifier. title: its name in figures. folder: for its results."""

    title: str
    folder: Path
    model: torch.nn.Module
    network: str
    image_size: int
    normalize: Normalize


def load_checkpoints(args: argparse.Namespace) -> list[Checkpoint]:
    """The checkpoints of `--weights_path`, each once, with distinct titles."""
    files = [Path(file) for file in args.weights_path or [newest_checkpoint(args.work_dir)]]
    files = list({file.resolve(): file for file in files}.values())
    loaded = [load_trained(file, args.model, args.label_num) for file in files]
    titles = options.distinct_titles(options.run_titles([metadata for _, metadata in loaded]), files)
    tested = "images" if args.images else Path(args.test_dir).stem if args.test_dir else "test"
    checkpoints = []
    for index, (file, title, (model, metadata)) in enumerate(zip(files, titles, loaded), start=1):
        folder = Path(args.save_path or file.parent / f"{tested}_{file.stem}")
        if args.save_path and len(files) > 1:
            folder /= f"{index}_" + re.sub(r"[^\w.+-]+", "_", title)[:80]
        names = metadata.get("label_names") or [f"label {column}" for column in range(args.label_num)]
        checkpoints.append(Checkpoint(file, names, metadata, title, folder, model,
                                      metadata.get("model") or network_name(args.model),
                                      args.image_size or metadata.get("image_size", 512),
                                      Normalize(metadata["mean"], metadata["std"]) if metadata else Normalize()))
    return checkpoints


def find_results(args: argparse.Namespace, checkpoints: list[Checkpoint]) -> Results:
    """The images and, without `--images`, their labels; no scores yet."""
    bare = [str(checkpoint.weights) for checkpoint in checkpoints if not checkpoint.metadata]
    if bare:
        warn(f"{summarize_names(bare, 'bare state dict')} do not tell how they were trained: images get "
             f"{args.image_size or 512} px (--image_size) and ImageNet's mean and standard deviation, and scores are "
             "sigmoids: after softmax cross-entropy, only the accuracy is right")
    if args.images:
        for path in args.images if args.save_path else ():
            check_not_in_dataset(args.save_path, Path(path))
        single_label = any(checkpoint.metadata.get("single_label") for checkpoint in checkpoints)
        return Results(images_at(args.images), unify_labels(checkpoints), None, single_label)
    data = find_common_test_data(checkpoints, dataset=args.dataset, data_root=args.data_root, test_dir=args.test_dir,
                                 label_path=args.label_path)
    data.check_options(args.label_num)
    if bare:
        warn(f"the outputs of a bare state dict are taken for {', '.join(data.label_names)}, in this order")
    if args.save_path and not args.test_dir:
        check_not_in_dataset(args.save_path, data.root)
    return Results(data.splits["test"].images, data.label_names, data.splits["test"].labels, data.single_label)


def compute_scores(args: argparse.Namespace, checkpoint: Checkpoint, results: Results) -> np.ndarray:
    """Scores (N, C) of the images, preprocessed as in training, in the order of `results.label_names`; NaN for images
    of `--images` that cannot be decoded."""
    device = options.select_device(args.device)
    dataset = ImageDataset(Split(results.images, np.zeros((len(results.images), 1))),
                           eval_transform(checkpoint.image_size), skip_unreadable=bool(args.images))
    loader = build_loader(dataset, args.test_batch_size, options.resolve_num_workers(args.num_workers, device), device)
    model = checkpoint.model.to(device, memory_format=torch.channels_last)
    scores, nan_if_unreadable = predict(
        model, loader, checkpoint.normalize.to(device), device, checkpoint.title,
        checkpoint.metadata.get("activation", "sigmoid"), args.amp, views=all_views if args.all_views else None)
    return (scores + nan_if_unreadable)[:, [checkpoint.label_names.index(name) for name in results.label_names]]


def digests_of(results: Results) -> dict[str, str]:
    """What tells whether two tests are of the same images and labels: the files' names, their content, the labels (in
    alphabetical order)."""
    return {"images": _digest("\n".join(image.name for image in results.images).encode()),
            "files": _digest("\n".join(fingerprints(results.images)).encode()),
            "labels": _digest(np.ascontiguousarray(results.labels[:, np.argsort(results.label_names)], np.uint8))}


def digests_of_training(metadata: dict[str, Any]) -> dict[str, str]:
    """What tells whether two runs were trained on the same data: digests of the files' content and labels, in any
    order, of the training and validation images, and of these with the test images. Where the seed chooses the test
    images, only the latter are equal; where these are given, they may change alone. Empty if the checkpoint is of an
    older version, which did not record all of this."""
    trained_on, test = metadata.get("trained_on"), metadata.get("test_images", {})
    if not trained_on or "-" in trained_on[0] or (test and "test_labels" not in metadata):
        return {}
    rows = torch.cat([*metadata["labels"].values(), *([metadata["test_labels"]] if test else [])]).tolist()
    images = [f"{content} {sorted(name for name, present in zip(metadata['label_names'], row) if present)}"
              for content, row in zip([*trained_on, *test.values()], rows)]
    return {"train_val": _digest("\n".join(sorted(images[:len(trained_on)])).encode()),
            "train_val_test": _digest("\n".join(sorted(images)).encode())}


def _digest(content: bytes | np.ndarray) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def describe_epoch(checkpoint: Checkpoint) -> str:
    """The epoch of the weights and, if its run has epochs to go, how many it has finished. Its log is next to them or,
    with --save_path, in --work-dir."""
    metadata = checkpoint.metadata
    for folder in (checkpoint.weights.parent, Path(metadata["args"].get("work_dir", ""), metadata.get("run", ""))):
        with suppress(InputError):  # not the run's folder
            record, epochs = read_args(folder), len(read_log(folder / "log.csv")["epoch"])
            max_epoch = record["args"].get("max_epoch", 0)
            if record.get("run") == metadata.get("run") and epochs < max_epoch:
                return f"epoch {metadata['epoch']}; the run has finished {epochs} of {max_epoch} epochs"
    return f"epoch {metadata['epoch']}"


def save_report(args: argparse.Namespace, checkpoint: Checkpoint, results: Results,
                digests: dict[str, str]) -> dict[str, Any]:
    """Write the tables of a test, and print them; returns the content of metrics.json."""
    scores, size, folder = results.scores[checkpoint.title], checkpoint.image_size, checkpoint.folder
    metadata = checkpoint.metadata
    report = {"weights": str(checkpoint.weights), "run": metadata.get("run"), "epoch": metadata.get("epoch"),
              "image_size": size, "all_views": args.all_views, "amp": args.amp, "other_data": other_data(args),
              "digests": digests, "training_data": digests_of_training(metadata),
              "device": str(options.select_device(args.device)),
              **evaluate(scores, results.labels, results.label_names, results.single_label, metadata.get("threshold"))}
    write_report(folder, report, results.images, scores, results.labels)
    if results.single_label:
        save_figure(draw_confusion(confusions(scores, results.labels), results.label_names), folder / "confusion")
    print(f"{checkpoint.weights}: {len(results.images)} test images at {size} x {size}"
          f"{', means of 8 views' * args.all_views}\n\n{format_report(report)}")
    print(f"\nresults: {folder}")
    return report


def other_data(args: argparse.Namespace) -> dict[str, str]:
    """The options that name other data than those of the training."""
    names = ("dataset", "data_root", "test_dir", "label_path")
    return {name: options.option_value(vars(args), name) for name in names if getattr(args, name)}


def draw(args: argparse.Namespace, checkpoints: list[Checkpoint], results: Results) -> Iterator[TitledFigure]:
    """Draw the figures that the options ask for."""
    logs = {checkpoint.title: checkpoint.weights.with_name("log.csv") for checkpoint in checkpoints}
    if args.report and all(log.is_file() for log in logs.values()):
        yield training_figure(logs)
    if args.report or args.show_scores:
        yield from score_figures(results)
    if args.show_predictions:
        shown = results.subset(select_images(args.select, args.show_predictions, results))
        yield from prediction_figures(shown, map(load_image, shown.images))
    if args.show_gradcam:
        for rank, index in enumerate(select_images(args.select, args.show_gradcam, results), start=1):
            image = results.images[index]
            yield TitledFigure(f"gradcam_{rank}_{image.stem[:60]}", f"Grad-CAM: {image.name}",
                               "Where each checkpoint finds its evidence for a label; below each map, the score.",
                               explain(checkpoints, results.subset([index]), options.select_device(args.device)))


def explain(checkpoints: list[Checkpoint], results: Results, device: torch.device):
    """Draw Grad-CAM of the one image in `results`."""
    image, labels, maps = load_image(results.images[0]), select_labels(results), {}
    for checkpoint in checkpoints:
        pixels = checkpoint.normalize(eval_transform(checkpoint.image_size)(image)[None].to(device))
        layer = checkpoint.model.get_submodule(NETWORKS[checkpoint.network].gradcam)
        columns = [checkpoint.label_names.index(results.label_names[label]) for label in labels]
        maps[checkpoint.title] = grad_cam(checkpoint.model, layer, pixels, columns)[0].cpu().numpy()
    return draw_gradcam(image, maps, labels, results)


@distributed.in_every_process
def main(argv: list[str] | None = None) -> dict[str, Any] | None:
    """Test; returns the content of the first checkpoint's metrics.json, or None after `--images`, of which unreadable
    ones are skipped and lead to exit code 1. Of several processes, the main one writes the results."""
    args, started = parse_arguments(argv), time.time()
    checkpoints = load_checkpoints(args)
    results = find_results(args, checkpoints)
    check_selection(args.select, results, len(checkpoints))
    distributed.check_same(lambda: {"checkpoints": fingerprints([checkpoint.weights for checkpoint in checkpoints]),
                                    "file names": [image.name for image in results.images],
                                    "labels": results.labels is not None and results.labels.tobytes()})
    draws = args.show_predictions or args.show_gradcam or args.show_scores or args.report
    folder = checkpoints[0].folder if len(checkpoints) == 1 else Path(args.save_path or f"{args.work_dir}/comparison")
    for path in (*[folder] * bool(draws), *(checkpoint.folder for checkpoint in checkpoints)):
        make_folder(path)

    reports, unreadable, digests = {}, [], {}
    for checkpoint in checkpoints:
        scores = compute_scores(args, checkpoint, results)
        results, scores, without_scores = results.split_off_nan(scores)
        unreadable += without_scores
        results.add(checkpoint.title, scores, checkpoint.metadata.get("buffer_halfwidth"))
        if not distributed.is_main():
            continue
        if args.images:
            write_predictions(checkpoint.folder / "predictions.csv", results, checkpoint.title, unreadable)
        else:
            digests = digests or digests_of(results)
            reports[checkpoint.title] = save_report(args, checkpoint, results, digests)
        if checkpoint.metadata:
            print(f"weights: {describe_epoch(checkpoint)}")
    if not distributed.is_main():
        return None
    for kind in ["predictions"] * bool(args.show_predictions) + ["gradcam"] * bool(args.show_gradcam):
        remove_figures(folder, kind)
    figures = save_figures(draw(args, checkpoints, results), folder, args.formats)
    shown = [(drawn.title, drawn.caption, args.report and png_of(drawn.figure)) for drawn in figures]
    if args.report:
        worst = results.subset(rank_images(results)[:args.report])
        write_html_report(folder / "report.html", f"Test of {', '.join(reports)}", reports, shown, worst, load_image)
        print(f"report:  {folder / 'report.html'}")
    old = [file.name for file in sorted(folder.glob("*.*")) if file.stat().st_mtime < started
           and file.suffix[1:] in ("html", *FORMATS)]
    if old and reports:
        warn(f"{summarize_names(old, 'figure')} in {folder} are of an earlier test")
    if unreadable:
        print(f"skipped {summarize_names(map(str, unreadable), 'unreadable image')}", file=sys.stderr)
        sys.exit(1)
    return next(iter(reports.values()), None)


if __name__ == "__main__":
    exit_cleanly(main)
