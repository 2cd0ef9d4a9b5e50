"""Train an image classifier by ranking (R4C), or with a baseline loss.

    python Train.py --dataset AID_Multilabel --label_num 17 --model Resnet-50
"""

from utils.cpu import prepare_cpu
from utils.errors import InputError, NonFinite, exit_cleanly, exit_quietly_on_ctrl_c, summarize_names, warn

if __name__ == "__main__":
    exit_quietly_on_ctrl_c()  # the imports below take seconds
    prepare_cpu()

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from dataset import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LAYOUTS,
    AugmentAndNormalize,
    Data,
    ImageDataset,
    Normalize,
    build_loader,
    cached_images,
    dataset_name,
    eval_transform,
    fingerprints,
    images_of_step,
    load_data,
    load_image,
    relative_name,
    train_transform,
)
from loss import LOSSES, TERMS, build_loss, options_without_effect
from model import NETWORKS, build_model, network_name
from utils import distributed, options
from utils.acceleration import CompiledForFullBatches, make_deterministic, precision
from utils.engine import learning_rate, predict, train_one_epoch
from utils.figures.curves import draw_curves
from utils.figures.style import save_figure
from utils.metrics import validation_metrics
from utils.options import number
from utils.run import resume, run_folder
from utils.run.checkpoint import copy_to_host, in_background, read_weight_file, save_checkpoint, seed_everything
from utils.run.graceful_shutdown import graceful_shutdown


def parse_arguments(argv: list[str] | None = None, started: dict[str, Any] | None = None) -> argparse.Namespace:
    """The options; `started` are those of the run to resume, which replace the defaults."""
    parser = options.Parser(description=__doc__)
    data = parser.add_argument_group("data")
    options.add_data_options(data, LAYOUTS)
    data.add_argument("--label_num", type=number(int, 1), metavar="C",
                      help="number of labels, checked against the data; may be left out")
    data.add_argument("--image_size", type=options.image_size, default=512, metavar="PX",
                      help="images are resized to PX x PX; 224 has a fifth of the pixels, 128 suits a laptop")

    add = parser.add_argument_group("network").add_argument
    add("--model", default="Resnet-50", help=f"{', '.join(NETWORKS)}; Resnet-18 and MobileNet-V2 suit small machines")
    add("--pretrained", type=str.lower, choices=["imagenet", "none"], default="imagenet",
        help="start from torchvision's ImageNet-1K weights (downloaded once) or from scratch")
    add("--pretrained_path", type=run_folder.weight_file, metavar="FILE", help="start from this weight file instead")

    add = parser.add_argument_group("recipe").add_argument
    add("--loss", type=options.choice(LOSSES), choices=list(LOSSES), default="r4c",
        help="r4c, a baseline, or a rival ranking loss (twoway, zlpr, smoothap); ce is softmax cross-entropy, for one "
             "label per image")
    add("--max_epoch", type=number(int, 1), default=400, metavar="N",
        help="epochs; the learning rate drops at N/2 and 3N/4. Fewer epochs need a larger --lr")
    add("--lr", type=number(float, 0, exclusive=True), default=1e-5, metavar="LR",
        help="learning rate of Adam; try 1e-4 for about 30 epochs. Too large a rate saturates the scores; r4c, whose "
             "gradient is steep but narrow, then hardly learns")
    add("--train_batch_size", type=options.batch_size, default=16, metavar="B",
        help="images per step, of all processes together, and so the length of the lists of L2R-feature and L2R-sample")
    add("--val_batch_size", type=options.batch_size, default=64, metavar="B",
        help="images at a time in validation; does not affect results")

    add = parser.add_argument_group("losses").add_argument
    count, halfwidth, positive = number(int, 0, 10_000), number(float, 0, 0.5), number(float, 0)
    add("--number_sample", type=count, default=16, metavar="N", help="virtual neutral images of L2R-sample")
    add("--number_label", type=count, default=4, metavar="N", help="virtual neutral labels of L2R-label")
    add("--range_sample", type=halfwidth, default=0.1, metavar="R", help="virtual images score from 0.5 - R to 0.5 + R")
    add("--range_label", type=halfwidth, default=0.1, metavar="R", help="the same for virtual labels")
    add("--lambdas", type=positive, default=1.0, metavar="L",
        help="weight of L2R-label and L2R-sample relative to L2R-feature")
    add("--parts", nargs="+", type=options.choice(TERMS), choices=TERMS, metavar="TERM",
        help="the loss terms of r4c to sum: feature, label, sample (default: all three)")
    add("--bound", action="store_true",
        help="deviates from the paper: L2R-label and L2R-sample rank logits by a bound of nDCG, whose gradient never "
             "vanishes (compared in benchmark/RESULTS.md)")
    add("--focal_gamma", type=positive, default=2.0, metavar="G",
        help="larger values down-weight easy entries more; 0, or at least 1")
    add("--focal_alpha", type=number(float, -1, 1), default=0.25, metavar="A",
        help="weight of positives; -1 weighs positives and negatives alike")
    add("--asl_gamma_neg", type=positive, default=4.0, metavar="G",
        help="as --focal_gamma, for negatives of the asymmetric loss; 0, or at least 1")
    add("--asl_gamma_pos", type=positive, default=1.0, metavar="G", help="the same for positives")
    add("--asl_clip", type=number(float, 0, 1), default=0.05, metavar="M",
        help="negatives with a score below M contribute no loss")
    temperature = number(float, 0, exclusive=True)
    add("--twoway_tp", type=temperature, default=4.0, metavar="T",
        help="temperature of Two-way's positives; the smaller, the more the hardest count")
    add("--twoway_tn", type=temperature, default=1.0, metavar="T", help="the same for negatives")
    add("--smoothap_tau", type=temperature, default=0.01, metavar="T",
        help="temperature of Smooth-AP's ranks, on scores in [0, 1]")

    run = parser.add_argument_group("run")
    run.add_argument("--work-dir", default="./runs", metavar="DIR", help="each run makes a folder in it")
    run.add_argument("--save_path", metavar="DIR", help="folder of best.pth and last.pth (default: the run's folder)")
    run.add_argument("--cache", nargs="?", const="", metavar="DIR",
                     help="decode and resize the images once, into a file in DIR (image_cache in --work-dir) that all "
                          "workers and later runs share: for loading slower than the network, and 0.8 MB of disk per "
                          "image at 512 px (with one label per image, 3 bytes per pixel of the original)")
    run.add_argument("--compile", action="store_true",
                     help="torch.compile the network: some minutes at the start, faster steps after; for long runs")
    run.add_argument("--sync_bn", action="store_true",
                     help="with torchrun: batch normalisation over the whole batch; without, over each process's "
                          "images, and the statistics of the first process are saved")
    run.add_argument("--rank_within_gpu", action="store_true",
                     help="with torchrun, deviates from the paper: each process ranks its own images only, as in the "
                          "usual data-parallel training; the log has the losses of the first process")
    run.add_argument("--resume", metavar="RUN_FOLDER",
                     help="resume an interrupted run after its last finished epoch, with its own options; only "
                          "--max_epoch, --device and the like may differ. auto resumes the newest run in --work-dir "
                          "with the given options, or starts one: a command that can be repeated after every stop")
    run.add_argument("--deterministic", action="store_true",
                     help="the same log.csv each time on the same machine, so without images per second; slower on "
                          "CUDA, where torch warns of operations without a deterministic algorithm")
    run.add_argument("--not-save", action="store_true", help="write no checkpoints, only the log")
    options.add_machine_options(run)
    args = parser.parse_args(argv, argparse.Namespace(**started or {}))
    args.dataset, args.model = dataset_name(args.dataset), network_name(args.model)
    args.save_path = args.save_path and os.path.abspath(args.save_path)
    args.parts = args.parts and [term for term in TERMS if term in args.parts]  # any order is the same run
    return args


def defaults() -> dict[str, Any]:
    """All options' defaults, which older runs have for the options that they lack."""
    return vars(parse_arguments([]))


def build_criterion(args: argparse.Namespace) -> torch.nn.Module:
    """`--loss` with its options."""
    values = {argument: getattr(args, option) for option, argument in LOSSES[args.loss].options.items()}
    try:
        criterion = build_loss(args.loss, **{name: value for name, value in values.items() if value is not None})
    except ValueError as error:
        raise InputError(str(error)) from error
    if not getattr(criterion, "trains_classifier", True):
        warn("--parts feature and --lambdas 0 leave the classifier untrained: its scores mean nothing")
    ranks_images = {"r4c": "feature" in (args.parts or TERMS) and "L2R-feature", "smoothap": "--loss smoothap"}
    if args.train_batch_size == 1 and (title := ranks_images.get(args.loss)):
        warn(f"with --train_batch_size 1, {title} has no other images to rank and is 0")
    return criterion


def find_data(args: argparse.Namespace, folder: Path | None) -> Data:
    """The data set that the options name, checked to be fit for training; of a resumed run, in its own split."""
    lists = options.list_files(args) or run_folder.lists_of_split(folder)
    if lists and "train" not in lists:
        raise InputError("--val_dir and --test_dir need --train_dir too, or their images could be trained on")
    data = load_data(args.dataset, args.data_root, lists, args.label_path, args.seed, args.train_ratio)
    data.check_options(args.label_num, None if folder else args.train_ratio)
    data.check_trainable()
    if args.loss == "ce" and not data.single_label:
        raise InputError(f"--loss ce needs exactly one class per image, and {args.dataset} has labels: use bce, or see "
                         "in dataset/README.md how to name classes")
    if not lists:
        for folder in filter(None, (args.work_dir, args.cache)):
            run_folder.check_not_in_dataset(folder, data.root)
    return data


def build_loaders(args: argparse.Namespace, data: Data, digests: list[str],
                  device: torch.device) -> tuple[DataLoader, DataLoader]:
    """Batches of the training and of the validation images, whose fingerprints are `digests`."""
    load, (train, val) = load_image, (data.splits["train"], data.splits["val"])
    if args.cache is not None:  # with one label per image the whole image is cached, because crops are random
        load = cached_images(train.images + val.images, None if data.single_label else args.image_size,
                             Path(args.cache or Path(args.work_dir, "image_cache")), digests)
    num_workers = options.resolve_num_workers(args.num_workers, device)
    return (build_loader(ImageDataset(train, train_transform(args.image_size, data.single_label), load),
                         args.train_batch_size, num_workers, device, shuffle=True, seed=args.seed),
            build_loader(ImageDataset(val, eval_transform(args.image_size), load), args.val_batch_size, num_workers,
                         device))


def describe_classifier(args: argparse.Namespace, data: Data, checkpoint: dict[str, Any] | None) -> dict[str, Any]:
    """The metadata of a checkpoint: all it takes to use the network, and to recognise what it was trained on. A resumed
    run has the test images of its start."""
    loss, trainval = LOSSES[args.loss], {split: data.splits[split] for split in ("train", "val")}
    images = [image for split in trainval.values() for image in split.images]
    recorded = data.describe_test() if checkpoint is None else checkpoint
    of_test = {name: recorded[name] for name in ("test_images", "test_labels") if name in recorded}
    return {"model": args.model, "label_names": data.label_names, "image_size": args.image_size,
            "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "single_label": data.single_label,
            "activation": loss.activation, "loss_title": loss.title,
            "buffer_halfwidth": loss.buffer_halfwidth and getattr(args, loss.buffer_halfwidth),
            "trained_on": fingerprints(images, like=checkpoint["trained_on"] if checkpoint else ()),
            "labels": {name: torch.from_numpy(split.labels) for name, split in trainval.items()},
            "args": options.with_absolute_paths(args), "defaults": defaults(), **of_test}


def check_same_in_every_process(args: argparse.Namespace, data: Data, metadata: dict[str, Any]) -> None:
    """Raise InputError if this run's processes have different options or data, or too few images."""
    if args.train_batch_size < distributed.world_size():
        raise InputError(f"--train_batch_size {args.train_batch_size} is of all {distributed.world_size()} processes "
                         "together: raise it, or start fewer processes")
    ignore = options.RUNTIME_OPTIONS.union(options.DATA_PATH_OPTIONS, ("save_path",))
    distributed.check_same(lambda: {
        **{f"--{name}": value for name, value in vars(args).items() if name not in ignore},
        "labels": (data.label_names, [split.labels.tobytes() for split in data.splits.values()]),
        "file names": [relative_name(data.root, image) for split in data.splits.values() for image in split.images],
        "images": metadata["trained_on"]})


def warn_of_known_images(pretrained_path: str | None, data: Data, metadata: dict[str, Any]) -> None:
    """Warn of images that another split has, or that have other labels, under another name, and of those that the run
    of `pretrained_path` knew: of test images, if it trained or validated on them; of validation images, if it trained
    on them."""
    digests, test = metadata["trained_on"], metadata.get("test_images", {})
    images = [(relative_name(data.root, image), split) for split in ("train", "val")
              for image in data.splits[split].images] + [(name, "test") for name in test]
    labels = [*metadata["labels"].values(), *([metadata["test_labels"]] if test else [])]
    first, duplicates, relabelled = {}, [], []
    for (name, split), digest, row in zip(images, [*digests, *test.values()], torch.cat(labels).tolist(),
                                         strict=True):
        first_name, first_split, first_row = first.setdefault(digest, (name, split, row))
        pair = [f"{name} ({split}) = {first_name} ({first_split})"] * (name != first_name)
        duplicates += pair if split != first_split else []
        relabelled += pair if row != first_row else []
    if relabelled:
        warn(f"{summarize_names(relabelled, 'pair')} of identical images have different labels; correct them, or keep "
             "one image of each")
    if duplicates:
        warn(f"different splits hold {summarize_names(duplicates, 'identical image')}: results on them mean little; "
             "python -m dataset.audit lists all")
    if not pretrained_path:
        return
    before = read_weight_file(pretrained_path)
    known = before.get("trained_on", [])
    trained_on = known[:len(before["labels"]["train"])] if known and "labels" in before else []
    if count := len(set(known).intersection(test.values())):
        warn(f"{count} test images were trained or validated on by the run of {pretrained_path}")
    if count := len(set(trained_on).intersection(digests[len(metadata["labels"]["train"]):])):
        warn(f"{count} validation images were trained on by the run of {pretrained_path}")


def start_run(args: argparse.Namespace, data: Data, device: torch.device) -> Path:
    """Make the run's folder, and write what is run: args.json and the lists of the split."""
    run_folder.check_without_checkpoints(args.save_path)
    folder = run_folder.create_run_folder(args.work_dir, f"{args.dataset}_{args.model}_{args.loss}")
    run_folder.write_args(folder, options.with_absolute_paths(args), device, run=folder.name, defaults=defaults(),
                          loss_title=LOSSES[args.loss].title)
    data.write_lists(folder)
    run_folder.make_folder(args.save_path or folder)
    return folder


def save_progress(args: argparse.Namespace, folder: Path, metadata: dict[str, Any], model: torch.nn.Module,
                  optimizer: torch.optim.Optimizer, log: list[dict[str, Any]], start: Callable[..., None]) -> None:
    """Copy what last.pth, log.csv and, after the best epoch so far, best.pth hold, and `start` to write it. Of several
    processes, the main one does."""
    if not distributed.is_main():
        return
    epoch, (best_epoch, best_score) = len(log), run_folder.best_epoch(log)
    weights = Path(args.save_path or folder)
    checkpoint = None if args.not_save else copy_to_host({
        **metadata, "run": run_folder.name_of_run(folder), "state_dict": model.state_dict(), "epoch": epoch,
        "best_score": best_score, "threshold": log[-1].get("val_threshold") if log else None,
        "optimizer": optimizer.state_dict(), "log": log})

    def write() -> None:
        if checkpoint:  # first, because the other files can be written again from it
            save_checkpoint(weights / "last.pth", checkpoint)
        if log:
            run_folder.write_log(folder / "log.csv", log[:epoch])
        if checkpoint and 0 < epoch == best_epoch:
            to_resume = {"optimizer", "log"}
            save_checkpoint(weights / "best.pth", {name: value for name, value in checkpoint.items()
                                                   if name not in to_resume})

    start(write)


def train(args: argparse.Namespace, folder: Path | None = None, checkpoint: dict[str, Any] | None = None) -> Path:
    """Train, or resume the run in `folder` from its last checkpoint. Returns the run's folder."""
    make_deterministic(args.deterministic)
    device = options.select_device(args.device)
    seed_everything(args.seed)

    criterion = build_criterion(args)
    with distributed.main_first():  # it may draw the synthetic data
        data = find_data(args, folder)
    print(f"{args.dataset}: {data.summary()}; device {device}, {precision(device, args.amp)}"
          + f", {distributed.world_size()} processes" * (distributed.world_size() > 1))
    metadata = describe_classifier(args, data, checkpoint)
    check_same_in_every_process(args, data, metadata)
    if checkpoint:
        images = [*data.splits["train"].images, *data.splits["val"].images]
        resume.check_same_data(folder, checkpoint, {**metadata, **data.describe_test()}, images)

    if not checkpoint:
        warn_of_known_images(args.pretrained_path, data, metadata)
    pretrained = args.pretrained_path or (None if args.pretrained == "none" else args.pretrained)
    with distributed.main_first():  # it may download the weights, and write the cache
        model = build_model(args.model, len(data.label_names), None if checkpoint else pretrained)
        train_loader, val_loader = build_loaders(args, data, metadata["trained_on"], device)
    if args.sync_bn:
        model = distributed.synchronise_batch_norm(model, device)
    model = model.to(device, memory_format=torch.channels_last)
    at_once = distributed.sizes_of_step(train_loader, 1)[1]
    network = distributed.distribute(CompiledForFullBatches(model, at_once, device) if args.compile else model, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)
    augment, normalize = AugmentAndNormalize().to(device), Normalize().to(device)
    log = resume.restore(folder, checkpoint, model, optimizer, args.max_epoch, device) if checkpoint else []
    folder = distributed.from_main(folder or (distributed.is_main() and start_run(args, data, device)))

    is_new = distributed.is_main() and not checkpoint
    lock = run_folder.lock_new_run(folder, args.save_path) if is_new else nullcontext()
    with lock, resume.explain_how_to_resume(folder, args.save_path), graceful_shutdown(), in_background() as start:
        save_progress(args, folder, metadata, model, optimizer, log, start=lambda write: write())  # is there room?
        for epoch in range(len(log) + 1, args.max_epoch + 1):
            seed_everything(args.seed, epoch, distributed.rank())
            train_loader.batch_sampler.sampler.epoch = epoch
            lr = optimizer.param_groups[0]["lr"] = learning_rate(epoch, args.max_epoch, args.lr)
            title = f"epoch {epoch}/{args.max_epoch}"
            try:
                losses = train_one_epoch(network, train_loader, criterion, optimizer, augment, device, title, args.amp,
                                         args.rank_within_gpu)
            except NonFinite as error:
                if not args.not_save and distributed.is_main():
                    save_checkpoint(Path(args.save_path or folder, "nonfinite.pth"), {"state_dict": model.state_dict()})
                images = images_of_step(train_loader, error.step)
                raise resume.explain_divergence(error, epoch, folder, images) from error
            predicted = predict(model, val_loader, normalize, device, "validation", metadata["activation"], args.amp)
            metrics = validation_metrics(*predicted, data.single_label)
            log.append(run_folder.log_row(epoch, lr, losses, metrics, args.deterministic))
            save_progress(args, folder, metadata, model, optimizer, log, start=start)
            print(title, run_folder.format_last_epoch(log))
    return folder


@distributed.in_every_process
def main(argv: list[str] | None = None) -> Path:
    """Train; returns the run's folder."""
    args, folder = parse_arguments(argv), None
    if args.resume is not None:
        folder = resume.find_run(args.resume, vars(args), defaults(), sys.argv[1:] if argv is None else argv)
    if folder is None:
        ignored = options_without_effect(args.loss, vars(args))
        if distributed.world_size() == 1:
            ignored |= dict.fromkeys(("sync_bn", "rank_within_gpu"), "without torchrun and several processes")
        options.check_training(vars(args), defaults(), ignored)
        if (lr := learning_rate(1, args.max_epoch, args.lr)) < args.lr:
            warn(f"with --max_epoch {args.max_epoch} the learning rate starts at {lr:g}, and never is --lr {args.lr:g}")
        folder = train(args)
    else:
        with run_folder.run_lock(folder) if distributed.is_main() else nullcontext():
            checkpoint = resume.read_last_checkpoint(folder)
            args = parse_arguments(argv, checkpoint["args"])
            resume.check_same_options(folder, {**defaults(), **checkpoint["args"]}, options.with_absolute_paths(args))
            train(args, folder, checkpoint)
    if not distributed.is_main():
        return folder
    save_figure(draw_curves(folder / "log.csv", LOSSES[args.loss].title), folder / "curves")
    print(f"run folder: {folder}")
    if not args.not_save:
        print("test it:    python Test.py --weights_path", shlex.quote(str(Path(args.save_path or folder, "best.pth"))))
    return folder


if __name__ == "__main__":
    exit_cleanly(main)
