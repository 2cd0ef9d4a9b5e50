"""Train an image classifier by ranking (R4C), or by a baseline loss.

    python Train.py --dataset AID_Multilabel --label_num 17 --model Resnet-50
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch

from dataset import (IMAGENET_MEAN, IMAGENET_STD, Data, ImageDataset, Normalize, RandomFlipsAndRotation, build_loader,
                     cached_images, dataset_name, eval_transform, fingerprint, load_data, load_image, train_transform)
from loss import LOSSES, build_loss
from model import build_model, network_name
from utils.acceleration import CompiledForFullBatches, precision
from utils.arguments import (HelpFormatter, add_machine_options, batch_size, image_size, list_files, number,
                             pick_device, pick_num_workers)
from utils.checkpoint import random_states, save_checkpoint, seed_everything
from utils.engine import learning_rate, predict, train_one_epoch
from utils.errors import InputError, exit_cleanly, some
from utils.figures.curves import draw_curves
from utils.figures.style import save_figure
from utils.metrics import multilabel_metrics, single_label_metrics
from utils.run_log import append_log, check_outside, create_run_folder, make_folder, write_args


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
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
    run.add_argument("--not-save", action="store_true", help="write no checkpoints, only the log")
    add_machine_options(run)
    return parser.parse_args(argv)


def build_loss_from(args: argparse.Namespace) -> torch.nn.Module:
    """`--loss` with its options, as its class names them."""
    options = {
        "r4c": dict(number_sample=args.number_sample, number_label=args.number_label, range_sample=args.range_sample,
                    range_label=args.range_label, lambdas=args.lambdas),
        "focal": dict(gamma=args.focal_gamma, alpha=args.focal_alpha),
        "asl": dict(gamma_neg=args.asl_gamma_neg, gamma_pos=args.asl_gamma_pos, clip=args.asl_clip),
    }
    try:
        return build_loss(args.loss, **options.get(args.loss, {}))
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
        check_outside(args.work_dir, data.root)
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
        check_outside(folder, data.root)
    images = [image for part in ("train", "val") for image in data.splits[part].images]
    return cached_images(images, None if data.single_label else args.image_size, folder)


def absolute_paths(args: argparse.Namespace) -> dict[str, str]:
    """Where the data lies, for a checkpoint that is tested from another working directory."""
    options = ("data_root", "train_dir", "val_dir", "test_dir", "label_path")
    return {option: os.path.abspath(getattr(args, option)) for option in options if getattr(args, option)}


def summary(lr: float, trained: dict[str, float], val: dict[str, float]) -> str:
    """An epoch in one line."""
    losses = " ".join(f"{name} {value:.3f}" for name, value in trained.items() if name != "images_per_second")
    accuracy = f"accuracy {val['accuracy']:.2%}  " if "accuracy" in val else ""
    return (f" lr {lr:.1e}  {losses}  val {accuracy}mAP {val['mAP']:.2%}  micro F1 {val['OF1']:.2%}"
            f"  {trained['images_per_second']:.0f} images/s ")


def main(argv: list[str] | None = None) -> Path:
    """Train; returns the run's folder."""
    args = parse_arguments(argv)
    args.dataset, args.model = dataset_name(args.dataset), network_name(args.model)
    device = pick_device(args.device)
    seed_everything(args.seed)

    data = find_data(args)
    counts = ", ".join(f"{len(split.images)} {name}" for name, split in data.splits.items())
    labels = some(data.label_names, "class" if data.single_label else "label")
    print(f"{args.dataset}: {labels}, {counts} images; device {device}, {precision(device, args.amp)}")

    pretrained = args.pretrained_path or (None if args.pretrained == "none" else args.pretrained)
    model = build_model(args.model, len(data.label_names), pretrained).to(device, memory_format=torch.channels_last)
    loss = build_loss_from(args)
    network = CompiledForFullBatches(model, args.train_batch_size, device) if args.compile else model
    normalize = Normalize().to(device)
    flips_and_rotation = RandomFlipsAndRotation(args.seed)
    augment = torch.nn.Sequential(flips_and_rotation, normalize)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)

    workers = pick_num_workers(args.num_workers, device)
    load = image_reader(args, data)
    train_set = ImageDataset(data.splits["train"], train_transform(args.image_size, data.single_label), load)
    val_set = ImageDataset(data.splits["val"], eval_transform(args.image_size), load)
    train_loader = build_loader(train_set, args.train_batch_size, workers, device, shuffle=True, seed=args.seed)
    val_loader = build_loader(val_set, args.val_batch_size, workers, device)

    folder = create_run_folder(args.work_dir, f"{args.dataset}_{args.model}_{args.loss}")
    checkpoints = make_folder(args.save_path or folder)
    write_args(folder, vars(args), device)
    data.write_lists(folder)
    trained_on = [fingerprint(image) for part in ("train", "val") for image in data.splits[part].images]

    best_score, selects = -1.0, "accuracy" if data.single_label else "OF1"
    for epoch in range(1, args.max_epoch + 1):
        title, lr = f"epoch {epoch}/{args.max_epoch}", learning_rate(epoch, args.max_epoch, args.lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        trained = train_one_epoch(network, train_loader, loss, optimizer, augment, device, title, args.amp)
        predicted = predict(model, val_loader, normalize, device, "validation", loss.activation, args.amp)
        val = (single_label_metrics(*predicted) if data.single_label else {}) | multilabel_metrics(*predicted)
        is_best = val[selects] >= best_score  # a tie keeps the later epoch
        best_score = max(best_score, val[selects])
        append_log(folder / "log.csv", {"epoch": epoch, "lr": lr, **{f"train_{name}": v for name, v in trained.items()},
                                        **{f"val_{name}": v for name, v in val.items()}})
        print(title, summary(lr, trained, val), "best" if is_best else "")
        if not args.not_save:
            usable = {"model": args.model, "label_names": data.label_names, "image_size": args.image_size,
                      "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "state_dict": model.state_dict(),
                      "single_label": data.single_label, "activation": loss.activation,
                      "trained_on": trained_on,
                      "epoch": epoch, "best_score": best_score, "args": {**vars(args), **absolute_paths(args)}}
            if is_best:
                save_checkpoint(checkpoints / "best.pth", usable)
            save_checkpoint(checkpoints / "last.pth", {**usable, "optimizer": optimizer.state_dict(),
                                                       "order": train_loader.sampler.generator.get_state(),
                                                       "workers": train_loader.generator.get_state(),
                                                       "augmentation": flips_and_rotation.generator.get_state(),
                                                       **random_states()})
    save_figure(draw_curves(folder / "log.csv"), folder / "curves")
    print(f"run folder: {folder}")
    if not args.not_save:
        print(f"test it:    python Test.py --weights_path {checkpoints / 'best.pth'}")
    return folder


if __name__ == "__main__":
    exit_cleanly(main)
