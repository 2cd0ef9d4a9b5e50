"""Train an image classifier by ranking (R4C), or by a baseline loss.

    python Train.py --dataset AID_Multilabel --label_num 17 --model Resnet-50
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from dataset import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Data,
    ImageDataset,
    Normalize,
    RandomFlipsAndRotation,
    build_loader,
    cached_images,
    dataset_name,
    eval_transform,
    fingerprint,
    load_data,
    load_image,
    train_transform,
)
from loss import LOSSES, TERMS, build_loss
from model import build_model, network_name
from utils.acceleration import CompiledForFullBatches, make_deterministic, precision
from utils.engine import Diverged, NonFinite, learning_rate, predict, train_one_epoch
from utils.errors import InputError, describe_error, exit_cleanly, summarize_names, warn
from utils.figures.curves import draw_curves
from utils.figures.style import save_figure
from utils.metrics import multilabel_metrics, single_label_metrics
from utils.options import (
    HelpFormatter,
    add_machine_options,
    batch_size,
    image_size,
    list_files,
    number,
    resolve_num_workers,
    select_device,
)
from utils.run.checkpoint import read_weight_file, save_checkpoint, seed_everything
from utils.run.graceful_shutdown import Interrupted, graceful_shutdown
from utils.run.resume import (
    DATA_PATH_OPTIONS,
    TrainingState,
    check_same_data,
    check_same_options,
    find_run,
    last_checkpoint,
    restore,
)
from utils.run.run_folder import check_not_in_dataset, create_run_folder, make_folder, run_lock, write_args, write_log


def parse_arguments(argv: list[str] | None = None, started: dict[str, Any] | None = None) -> argparse.Namespace:
    """The options; `started` are those of the run to go on with, which stand in for those not given."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=HelpFormatter)
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", default="AID_Multilabel",
                      help="AID_Multilabel, UCM_Multilabel; AID, NWPU-RESISC45 with one label per image; Custom for "
                           "images of your own; Synthetic_Multilabel, which draws its images")
    data.add_argument("--data_root", default="./data", metavar="DIR",
                      help="the folder that holds <dataset>/ as its distributor ships it; for Custom, also the "
                           "folder of the images itself")
    data.add_argument("--train_dir", metavar="LIST",
                      help="list file of training images, in place of the data set's own split")
    data.add_argument("--val_dir", metavar="LIST",
                      help="list file of validation images (default: 10 %% of the training images)")
    data.add_argument("--test_dir", metavar="LIST",
                      help="list file of test images; training only copies it into the run folder")
    data.add_argument("--label_path", metavar="TABLE",
                      help="label table, in place of the data set's own: a column of 0/1 per label, or the columns "
                           "image,labels with names like sea;sand, or image,label with one class; tabs or commas")
    data.add_argument("--train_ratio", type=number(float, 0, 0.99, exclusive=True), metavar="R",
                      help="share of each class to train on, where the data has no split: the rest tests (default: "
                           "0.2 for AID, 0.1 for NWPU-RESISC45, 0.8 for Custom)")
    data.add_argument("--label_num", type=number(int, 1), metavar="C",
                      help="number of labels, checked against the table; may be left out")
    data.add_argument("--image_size", type=image_size, default=512, metavar="PX",
                      help="images are resized to PX x PX; 224 has a fifth of the pixels, 128 fits a laptop")

    network = parser.add_argument_group("network")
    network.add_argument("--model", default="Resnet-50",
                         help="Resnet-50, VGGNet-16, Swin-T; Resnet-18 or MobileNet-V2 on small machines")
    network.add_argument("--pretrained", choices=["imagenet", "none"], default="imagenet",
                         help="start from torchvision's ImageNet-1K weights (downloaded once) or from scratch")
    network.add_argument("--pretrained_path", metavar="FILE", help="start from this weight file instead")

    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--loss", choices=list(LOSSES), default="r4c",
                        help="r4c, or a baseline; ce is softmax cross-entropy, for one label per image")
    recipe.add_argument("--max_epoch", type=number(int, 1), default=400, metavar="N",
                        help="epochs; the learning rate drops at N/2 and 3N/4. Fewer epochs want a larger --lr")
    recipe.add_argument("--lr", type=number(float, 0, exclusive=True), default=1e-5, metavar="LR",
                        help="learning rate of Adam; try 1e-4 for some 30 epochs. Too large a rate saturates the "
                             "scores, and r4c, whose slope is steep but narrow, then hardly learns")
    recipe.add_argument("--train_batch_size", type=batch_size, default=16, metavar="B",
                        help="also the length of the lists of L2R-feature and L2R-sample")
    recipe.add_argument("--val_batch_size", type=batch_size, default=64, metavar="B",
                        help="images at a time in validation; has no influence on the figures")
    recipe.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=3050, metavar="S",
                        help="of the weights, the order, the augmentation, the validation images and, where the data "
                             "has no split, the test images")

    losses = parser.add_argument_group("losses")
    losses.add_argument("--number_sample", type=number(int, 0, 10_000), default=16, metavar="N",
                        help="virtual neutral images of L2R-sample")
    losses.add_argument("--number_label", type=number(int, 0, 10_000), default=4, metavar="N",
                        help="virtual neutral labels of L2R-label")
    losses.add_argument("--range_sample", type=number(float, 0, 0.5), default=0.1, metavar="R",
                        help="virtual images have scores from 0.5 - R to 0.5 + R")
    losses.add_argument("--range_label", type=number(float, 0, 0.5), default=0.1, metavar="R",
                        help="the same for virtual labels")
    losses.add_argument("--lambdas", type=number(float, 0), default=1.0, metavar="L",
                        help="weight of L2R-label and L2R-sample against L2R-feature")
    losses.add_argument("--parts", nargs="+", choices=TERMS, metavar="PART",
                        help="the parts of r4c that are summed, of feature, label and sample (default: all three)")
    losses.add_argument("--bound", action="store_true",
                        help="L2R-label and L2R-sample rank logits by a bound of nDCG, with a slope everywhere: not "
                             "the method as published (benchmark/RESULTS.md compares them)")
    losses.add_argument("--focal_gamma", type=number(float, 0), default=2.0, metavar="G",
                        help="larger values look away from easy entries")
    losses.add_argument("--focal_alpha", type=number(float, -1, 1), default=0.25, metavar="A",
                        help="weight of positives; -1 weighs positives and negatives alike")
    losses.add_argument("--asl_gamma_neg", type=number(float, 0), default=4.0, metavar="G",
                        help="the same for negatives of the asymmetric loss; 0, or at least 1")
    losses.add_argument("--asl_gamma_pos", type=number(float, 0), default=1.0, metavar="G",
                        help="the same for positives")
    losses.add_argument("--asl_clip", type=number(float, 0, 1), default=0.05, metavar="M",
                        help="negatives with a score below M cost nothing")

    run = parser.add_argument_group("run")
    run.add_argument("--work-dir", default="./runs", metavar="DIR", help="each run makes a folder in it")
    run.add_argument("--save_path", metavar="DIR", help="folder of best.pth and last.pth (default: the run's folder)")
    run.add_argument("--cache", nargs="?", const="", metavar="DIR",
                     help="decode and resize the images once, into a file in DIR (image_cache in --work-dir) that all "
                          "workers and later runs share: worth it when images/s stays below the network's pace, and "
                          "there is room for it, 0.8 MB an image at 512 px (for one label per image, 3 bytes for each "
                          "pixel of the original, which is cropped anew each time); the pixels are the same")
    run.add_argument("--compile", action="store_true",
                     help="torch.compile the network: some minutes at the start, faster steps after; for long runs")
    run.add_argument("--resume", metavar="RUN_FOLDER",
                     help="go on with an interrupted run, after its last finished step or epoch, with its own options; "
                          "only --max_epoch, --device and such may be others. auto takes the newest run in --work-dir "
                          "with the options given, or starts one: a command that can be given again after every stop")
    run.add_argument("--deterministic", action="store_true",
                     help="the same log.csv to the last digit each time on the same machine, therefore without images "
                          "per second; slower on CUDA, and torch warns of what has no such algorithm there")
    run.add_argument("--not-save", action="store_true", help="write no checkpoints, only the log")
    add_machine_options(run)
    args = parser.parse_args(argv, argparse.Namespace(**started or {}))
    args.dataset, args.model = dataset_name(args.dataset), network_name(args.model)
    args.save_path = args.save_path and os.path.abspath(args.save_path)
    args.parts = args.parts and [part for part in TERMS if part in args.parts]  # in any order, it is one run
    return args


def build_loss_from(args: argparse.Namespace) -> torch.nn.Module:
    """`--loss` with its options, as its class names them."""
    values = {argument: getattr(args, option) for option, argument in LOSSES[args.loss].options.items()}
    try:
        return build_loss(args.loss, **{argument: value for argument, value in values.items() if value is not None})
    except ValueError as error:
        raise InputError(str(error)) from error


def find_data(args: argparse.Namespace) -> Data:
    """The data set as the options say, with its label count checked."""
    lists = list_files(args)
    if lists and "train" not in lists:
        raise InputError("--val_dir and --test_dir need --train_dir too, or images of theirs could be trained on")
    data = load_data(args.dataset, args.data_root, lists, args.label_path, args.seed, args.train_ratio)
    data.check_label_num(args.label_num)
    data.check_train_ratio(args.train_ratio)
    data.check_trainable()
    if not lists:
        check_not_in_dataset(args.work_dir, data.root)
    if args.loss == "ce" and not data.single_label:
        raise InputError(f"--loss ce is for classes, one per image, and {args.dataset} has labels: take bce, or see in "
                         "the README how to name classes")
    return data


def image_reader(args: argparse.Namespace, data: Data) -> Callable:
    """Path -> image: decoding the file, or with `--cache`, from memory.

    Random crops of a single label are cut out of the whole image, so that is what is cached for them.
    """
    if args.cache is None:
        return load_image
    folder = Path(args.cache or Path(args.work_dir, "image_cache"))
    if not list_files(args):
        check_not_in_dataset(folder, data.root)
    images = [image for part in ("train", "val") for image in data.splits[part].images]
    return cached_images(images, None if data.single_label else args.image_size, folder)


def absolute_paths(args: argparse.Namespace) -> dict[str, str]:
    """Where the data lie, for a checkpoint that is used from another working directory."""
    return {option: os.path.abspath(getattr(args, option)) for option in DATA_PATH_OPTIONS if getattr(args, option)}


def summary(lr: float, trained: dict[str, float], val: dict[str, float]) -> str:
    """An epoch in one line."""
    losses = " ".join(f"{name} {value:.3f}" for name, value in trained.items() if name != "images_per_second")
    accuracy = f"accuracy {val['accuracy']:.2%}  " if "accuracy" in val else ""
    return (f" lr {lr:.1e}  {losses}  val {accuracy}mAP {val['mAP']:.2%}  micro F1 {val['OF1']:.2%}"
            f"  {trained['images_per_second']:.0f} images/s ")


def read_last(folder: Path) -> dict[str, Any]:
    """What the last.pth of the run in `folder` holds."""
    file = last_checkpoint(folder)
    try:
        last = read_weight_file(file)
    except InputError as error:
        raise InputError(f"{error}; or start again without --resume") from error
    if not {"args", "progress", "labels", "run"} <= last.keys() or not isinstance(last["args"], dict):
        raise InputError(f"{file} is no last.pth of this version of Train.py, and cannot be gone on with")
    if last["run"] != folder.resolve().name and file.parent.resolve() != folder.resolve():
        raise InputError(f"{file} is of the run {last['run']}, which had the same --save_path, and not of {folder}")
    return last


@contextmanager
def going_on_later(folder: Path, save: Callable[[str, dict], None], args: argparse.Namespace,
                   train_set: ImageDataset, state: TrainingState) -> Iterator[None]:
    """Answer what stops the training within: save what a signal leaves undone, and say how to go on."""
    def go_on() -> str:
        if not Path(args.save_path or folder, "last.pth").exists():
            return "nothing was saved" + " (--not-save)" * args.not_save
        return f"go on with: python Train.py --resume {shlex.quote(str(folder))}"

    with graceful_shutdown():
        try:
            yield
        except Interrupted as stop:
            save("last.pth", state.state_dict())
            raise Interrupted(stop.number, go_on()) from None
        except NonFinite as error:
            save("nonfinite.pth", state.result())
            first = (error.step - 1) * args.train_batch_size
            names = state.sampler.order[first:first + args.train_batch_size]
            raise InputError(f"epoch {state.epoch + 1}, {error}: the training of {folder} diverged; start again with a "
                             "smaller --lr, or look at the images of this step: "
                             f"{', '.join(str(train_set.images[index]) for index in names)}") from error
        except Diverged:
            raise
        except (InputError, OSError) as error:
            raise InputError(f"{describe_error(error)}; when that is mended, {go_on()}") from error
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "DataLoader worker" not in str(error):
                raise
            raise InputError(f"out of memory, it seems ({str(error).splitlines()[0]}): take a smaller --image_size or "
                             f"--train_batch_size, or fewer --num_workers; with the latter, {go_on()}") from error


def train(args: argparse.Namespace, folder: Path | None = None, last: dict[str, Any] | None = None) -> Path:
    """Train, or go on with the run in `folder` from what its last.pth holds. Returns the run's folder."""
    make_deterministic(args.deterministic)
    device = select_device(args.device)
    seed_everything(args.seed)

    loss, data = build_loss_from(args), find_data(args)
    counts = ", ".join(f"{len(split.images)} {name}" for name, split in data.splits.items())
    labels = summarize_names(data.label_names, "class" if data.single_label else "label")
    print(f"{args.dataset}: {labels}, {counts} images; device {device}, {precision(device, args.amp)}")
    seen = {part: data.splits[part] for part in ("train", "val")}
    images = [image for split in seen.values() for image in split.images]
    about = {"model": args.model, "label_names": data.label_names, "image_size": args.image_size,
             "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "single_label": data.single_label,
             "activation": LOSSES[args.loss].activation, "trained_on": [fingerprint(image) for image in images],
             "labels": {part: torch.from_numpy(split.labels) for part, split in seen.items()},
             "args": {**vars(args), **absolute_paths(args)}}
    if last:
        check_same_data(folder, last, about, images)

    pretrained = args.pretrained_path or (None if args.pretrained == "none" else args.pretrained)
    model = build_model(args.model, len(data.label_names), None if last else pretrained)
    model = model.to(device, memory_format=torch.channels_last)
    network = CompiledForFullBatches(model, args.train_batch_size, device) if args.compile else model
    normalize = Normalize().to(device)
    flips_and_rotation = RandomFlipsAndRotation(args.seed)
    augment = torch.nn.Sequential(flips_and_rotation, normalize)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)

    workers = resolve_num_workers(args.num_workers, device)
    load = image_reader(args, data)
    train_set = ImageDataset(seen["train"], train_transform(args.image_size, data.single_label), load)
    val_set = ImageDataset(seen["val"], eval_transform(args.image_size), load)
    train_loader = build_loader(train_set, args.train_batch_size, workers, device, shuffle=True, seed=args.seed)
    val_loader = build_loader(val_set, args.val_batch_size, workers, device)
    state = TrainingState(model, optimizer, train_loader.sampler, flips_and_rotation.generator)

    if last:
        restore(state, last, folder)
        if state.epoch > args.max_epoch:
            raise InputError(f"--max_epoch {args.max_epoch}, but {folder} has {state.epoch} finished epochs")
        steps = f" and {state.progress.steps} steps" * bool(state.progress.steps)
        print(f"going on with {folder} after {state.epoch} of {args.max_epoch} epochs{steps}"
              + "; a larger --max_epoch would train on" * (state.epoch == args.max_epoch))
        write_args(folder, vars(args), device, state.epoch)
    else:
        folder = create_run_folder(args.work_dir, f"{args.dataset}_{args.model}_{args.loss}")
        write_args(folder, vars(args), device)
        data.write_lists(folder)
    checkpoints = make_folder(args.save_path or folder)

    def save(name: str, content: dict[str, Any]) -> None:
        if not args.not_save:
            save_checkpoint(checkpoints / name, {**about, "run": folder.resolve().name, **content})

    def keep() -> None:
        """Write what the state says; last.pth first, for the others can be made again from it."""
        save("last.pth", state.state_dict())
        if state.log:
            write_log(folder / "log.csv", state.log)
        if state.is_best:
            save("best.pth", state.result())

    if state.best_epoch and not (state.is_best or (checkpoints / "best.pth").exists()):
        warn(f"{checkpoints / 'best.pth'}, of epoch {state.best_epoch}, is lost: there is none before a better epoch")
    selects = "accuracy" if data.single_label else "OF1"
    with nullcontext() if last else run_lock(folder), going_on_later(folder, save, args, train_set, state):
        keep()
        while state.epoch < args.max_epoch:
            title = f"epoch {state.epoch + 1}/{args.max_epoch}"
            lr = learning_rate(state.epoch + 1, args.max_epoch, args.lr)
            state.begin_epoch(lr, args.train_batch_size)
            trained = train_one_epoch(network, train_loader, loss, optimizer, augment, device, title, args.amp,
                                      state.progress)
            predicted = predict(model, val_loader, normalize, device, "validation", LOSSES[args.loss].activation, args.amp)
            val = (single_label_metrics(*predicted) if data.single_label else {}) | multilabel_metrics(*predicted)
            state.finish_epoch({"epoch": state.epoch + 1, "lr": lr,
                                **{f"train_{name}": value for name, value in trained.items()
                                   if not (args.deterministic and name == "images_per_second")},
                                **{f"val_{name}": value for name, value in val.items()}}, val[selects])
            keep()
            print(title, summary(lr, trained, val), "best" if state.is_best else "")
    return folder


def main(argv: list[str] | None = None) -> Path:
    """Train; returns the run's folder."""
    args = parse_arguments(argv)
    folder = None
    if args.resume is not None:
        folder = find_run(args.resume, vars(args), sys.argv[1:] if argv is None else argv)
    if folder is None:
        folder = train(args)
    else:
        with run_lock(folder):
            last = read_last(folder)
            args = parse_arguments(argv, last["args"])
            check_same_options(folder, last["args"], {**vars(args), **absolute_paths(args)})
            train(args, folder, last)
    save_figure(draw_curves(folder / "log.csv"), folder / "curves")
    print(f"run folder: {folder}")
    if not args.not_save:
        best = shlex.quote(str(Path(args.save_path or folder, "best.pth")))
        print(f"test it:    python Test.py --weights_path {best}")
    return folder


if __name__ == "__main__":
    exit_cleanly(main)
