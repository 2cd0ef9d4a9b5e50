"""The README's tables of speed, from the result files: python benchmark/speed_table.py"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "speed"


def comparisons() -> str:
    """What the speed benchmarks compared on a CPU, a row each."""
    loss, loader, step, epoch, metrics = map(_read, ("loss", "loader", "step", "epoch", "metrics"))
    rows = [(f"R4C and its gradient, {size}", f"{own['r4c_loss_ms']:.1f} ms",
             f"list by list: {own['row_by_row_ms']:.1f} ms", own["times_as_fast"])
            for size, own in loss.items() if size.endswith("images") and isinstance(own, dict)]
    rows.append(("its memory for 2048 images", f"{loss['peak_mib_at_2048_images']:.0f} MiB", "", None))
    pace = {name: f"{own:.0f} images/s" for name, own in loader["images_per_second"].items()}
    one_by_one = f"decoded, resized, flipped, turned and normalised one by one: {pace['per image']}"
    rows += [("loading for 512 px with `--cache`, one core", pace["cached"], f"without: {pace['decoded']}",
              loader["cached_to_decoded"]),
             ("", pace["cached"], one_by_one, loader["cached_to_per_image"]),
             ("the same, flipped, turned and normalised on that core", pace["cached, prepared"], one_by_one,
              loader["cached_and_prepared_to_per_image"])]
    for name, own in step.items():
        if "px" in name:
            for kind, what in (("cached", "with `--cache`"), ("decoded", "without")):
                rows.append((f"a training step, {name}, {what}", f"{own[f'{kind}_ms']:.0f} ms",
                             f"the network alone: {own['bare_ms']:.0f} ms", own["bare_ms"] / own[f"{kind}_ms"]))
    seconds = epoch["seconds"]
    for side, what in (("reference_way", "as one would first write it"),
                       ("reference_way_channels_last", "the same, channels last")):
        rows.append((f"an epoch of UCM, {epoch['model']}, {epoch['image_size']} px",
                     f"{seconds['this_project']:.1f} s", f"{what}: {seconds[side]:.1f} s",
                     epoch["times_as_fast"][side]))
    rows.append((f"all figures of {metrics['images']:,} images with {metrics['labels']} labels",
                 f"{max(metrics['seconds'].values()):.2f} s", "", None))
    lines = ["| | this project | compared with | times as fast |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {ours} | {theirs} | {'' if ratio is None else f'{ratio:.2f}'} |"
                              for what, ours, theirs, ratio in rows]) + "\n"


def throughput() -> str:
    """Images per second on a CPU of the network's training step by its options, a row for each network."""
    options = ["none of them", "channels_last", "compile channels_last", "amp channels_last",
               "amp compile channels_last"]
    lines = ["| | plain | channels last (always on) | `--compile` | `--amp` | both |", "|---|---|---|---|---|---|"]
    for file in sorted(RESULTS.glob("throughput_*_cpu.json")):
        about = file.stem.removesuffix("_cpu")
        result, (_, name, size, batch) = _read(about), about.split("_")
        paces = [f"{result[option]['images_per_second']:.1f}" for option in options]
        lines.append(f"| {name}, {size.replace('px', ' px')}, batch {batch} | {' | '.join(paces)} |")
    return "\n".join(lines) + "\n"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}_cpu.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(comparisons(), throughput(), sep="\n")
