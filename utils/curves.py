"""curves.png: the loss parts, the learning rate and the validation figures of a run over its epochs."""

import csv
from pathlib import Path


def draw_curves(log: Path, picture: Path) -> None:
    """Draw log.csv, which `append_log` wrote."""
    # Imported here and drawn on a figure of its own: Train.py starts faster, and no display is needed.
    from matplotlib.figure import Figure

    with open(log, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    losses = [name for name in rows[0] if name.startswith("train_") and name != "train_images_per_second"]
    validation = [name for name in ("val_accuracy", "val_mAP", "val_OF1", "val_CF1") if name in rows[0]]
    panels = {"training loss": losses, "validation": validation, "learning rate": ["lr"]}
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(panels)), panels.items()):
        for name, style in zip(names, ("-", "--", ":", "-.")):
            label = name.removeprefix("train_").removeprefix("val_")
            axes.plot(epochs, [float(row[name]) for row in rows], style, label=label)
        axes.set(title=title, xlabel="epoch", yscale="log" if names == ["lr"] else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(picture, dpi=150)
