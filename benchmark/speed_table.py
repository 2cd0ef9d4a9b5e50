"""The speed tables of benchmark/README.md, from the result files: python benchmark/speed_table.py"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "speed"


def comparisons() -> str:
    """The comparisons of the speed benchmarks on a CPU."""
    loss, loader, step, epoch, metrics = map(_read, ("loss", "loader", "step", "epoch", "metrics"))
    rows = [(f"R4C and its gradient, {size}", f"{result['r4c_loss_ms']:.1f} ms",
             f"list by list: {result['row_by_row_ms']:.1f} ms", result["times_as_fast"])
            for size, result in loss.items() if size.endswith("images") and isinstance(result, dict)]
    rows.append(("its memory for 2048 images", f"{loss['peak_mib_at_2048_images']:.0f} MiB", "", None))
    speed = {name: f"{value:.0f} images/s" for name, value in loader["images_per_second"].items()}
    one_by_one = f"decoded, resized, flipped, rotated and normalised one by one: {speed['per image']}"
    rows += [("loading for 512 px with `--cache`, one core", speed["cached"], f"without: {speed['decoded']}",
              loader["cached_to_decoded"]),
             ("", speed["cached"], one_by_one, loader["cached_to_per_image"]),
             ("the same, flipped, rotated and normalised on that core", speed["cached, prepared"], one_by_one,
              loader["cached_and_prepared_to_per_image"])]
    for name, result in step.items():
        if "px" in name:
            for kind, what in (("cached", "with `--cache`"), ("decoded", "without")):
                rows.append((f"a training step, {name}, {what}", f"{result[f'{kind}_ms']:.0f} ms",
                             f"the network alone: {result['bare_ms']:.0f} ms",
                             result["bare_ms"] / result[f"{kind}_ms"]))
    freed = _read("freed_memory")
    for name, result in freed["networks"].items():
        (_, default), (_, now) = result["seconds"].items()
        rows.append((f"the network alone, {name}, {freed['image_size']} px, 16 images, freed memory kept",
                     f"{1000 * now:.0f} ms", f"glibc's default: {1000 * default:.0f} ms", result["times_as_fast"]))
    seconds = epoch["seconds"]
    for side, what in (("reference_way", "straightforward implementation"),
                       ("reference_way_channels_last", "the same, channels last")):
        rows.append((f"an epoch of UCM, {epoch['model']}, {epoch['image_size']} px",
                     f"{seconds['this_project']:.1f} s", f"{what}: {seconds[side]:.1f} s",
                     epoch["times_as_fast"][side]))
    checkpoint = _read("checkpoint")
    times = checkpoint["seconds"]
    rows.append((f"an epoch of {checkpoint['model']} with {checkpoint['megabytes_per_epoch']:.0f} MB of checkpoints, "
                 f"on a disk that takes {checkpoint['seconds_of_disk_per_epoch']:.1f} s for them",
                 f"{times['in the background']:.1f} s", f"without checkpoints: {times['without']:.1f} s",
                 times["without"] / times["in the background"]))
    rows.append((f"all metrics of {metrics['images']:,} images with {metrics['labels']} labels",
                 f"{max(metrics['seconds'].values()):.2f} s", "", None))
    lines = ["| | this project | compared with | times as fast |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {measured} | {compared} | {'' if ratio is None else f'{ratio:.2f}'} |"
                              for what, measured, compared, ratio in rows]) + "\n"


def throughput() -> str:
    """Images per second of a training step of the network alone on a CPU, by options; a row for each network."""
    options = ["none of them", "channels_last", "compile channels_last", "amp channels_last",
               "amp compile channels_last"]
    lines = ["| | plain | channels last (always on) | `--compile` | `--amp` | both |", "|---|---|---|---|---|---|"]
    for file in sorted(RESULTS.glob("throughput_*_cpu.json")):
        stem = file.stem.removesuffix("_cpu")
        result, (_, name, size, batch) = _read(stem), stem.split("_")
        speeds = [f"{result[option]['images_per_second']:.1f}" for option in options]
        lines.append(f"| {name}, {size.replace('px', ' px')}, batch {batch} | {' | '.join(speeds)} |")
    return "\n".join(lines) + "\n"


def distributed_cost() -> str:
    """A step of Resnet-50 with 16 images per process, measured for 2 processes and predicted for the others."""
    pieces = ["network", "gradients", "gather", "loss", "meet", "step"]
    lines = [f"| processes | images | {' | '.join(pieces)} | efficiency |", f"|{'---|' * (len(pieces) + 3)}"]
    for processes, predicted in _read("distributed_cost")["predicted"].items():
        number = int(processes.split()[0])
        cells = [f"{predicted[piece]:,.0f} ms" for piece in pieces]
        lines.append(f"| {number} | {16 * number} | {' | '.join(cells)} | {predicted['efficiency']:.0%} |")
    return "\n".join(lines) + "\n"


def distributed_runs() -> str:
    """Test results of trainings by one process and by two."""
    lines = ["| | best epoch | last training loss | mAP | micro F1 | CF1 | example F1 | images/s |", f"|{'---|' * 8}"]
    for name, run in _read("distributed_run").items():
        if isinstance(run, dict) and "test" in run:
            metrics = " | ".join(f"{100 * value:.2f}" for value in run["test"].values())
            lines.append(f"| {name} | {run['best_epoch']} | {run['train_loss_of_last_epoch']:.3f} | {metrics} | "
                         f"{run['images_per_second']:.0f} |")
    return "\n".join(lines) + "\n"


def busy_machine() -> str:
    """A step of training by how long OpenMP's threads spin, alone and beside a program on each core."""
    lines = ["| | | alone | to torch's default | beside a program on each core | to the fair share |",
             f"|{'---|' * 6}"]
    lines += [f"| {network} | {name} | {row['idle_ms']:.0f} ms | {row['idle_to_default']:.2f} | "
              f"{row['busy_ms']:,.0f} ms | {row['busy_to_fair_share']:.2f} |"
              for network in ("Resnet-18", "MobileNet-V2") for name, row in _read(f"busy_{network}")["settings"].items()]
    return "\n".join(lines) + "\n"


def timm() -> str:
    """Images per second of training and validation, end to end, by this project and by timm's train.py."""
    lines = ["| | this project | timm | times as fast |", "|---|---|---|---|"]
    for file in sorted(RESULTS.glob("timm_*_cpu.json")):
        result = _read(file.stem.removesuffix("_cpu"))
        speeds, (_, network, size, *_) = result["images_per_second"], file.stem.split("_")
        for name, ratio in result["times_as_fast_as"].items():
            _, *how, precision = name.split(", ")
            ours = speeds[f"this project, {precision}"]
            lines.append(f"| {network}, {size.replace('px', ' px')}, {precision} | {ours:.1f} | {', '.join(how)}: "
                         f"{speeds[name]:.1f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}_cpu.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(comparisons(), throughput(), busy_machine(), timm(), distributed_cost(), distributed_runs(), sep="\n")
