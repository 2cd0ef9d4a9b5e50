"""Synthetic_Multilabel: aerial-like scenes drawn by a seeded generator, with the 17 UCM / AID labels."""

import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.run.atomic import partial_path

from .canvas import LABELS
from .scenes import SCENES, draw_scene

__all__ = ["LABELS", "SCENES", "draw_scene", "write_synthetic"]


def write_synthetic(root: str | Path, images_per_scene: int = 80, seed: int = 3050) -> None:
    """Write the data set in the UCM layout under `root`, which must not exist yet.

    Numbers are spread over 00..99, so that the usual rule "below 80 is training" leaves a fifth for
    testing. All is drawn in a folder beside `root`, renamed at the end: an interrupted run leaves no `root`. If
    another process finished first, its drawing is used.

    Raises:
        ValueError: unless 1 <= images_per_scene <= 100.
        FileExistsError: if `root` exists.
        OSError: if the folder cannot be written.
    """
    root = Path(root)
    if not 1 <= images_per_scene <= 100:
        raise ValueError(f"images_per_scene must lie in 1..100, got {images_per_scene}")
    if root.exists():
        raise FileExistsError(f"{root} exists already")
    partial = partial_path(root)
    try:
        _draw(partial, images_per_scene, seed, root.name)
        partial.rename(root)
    except OSError:
        if not root.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _draw(folder: Path, images_per_scene: int, seed: int, title: str) -> None:
    images, table = folder / "UCMerced_LandUse" / "Images", folder / "multilabels" / "LandUse_Multilabeled.txt"
    table.parent.mkdir(parents=True)
    jobs = [(index, kind, int(number)) for index, kind in enumerate(SCENES)
            for number in np.arange(images_per_scene) * 100 // images_per_scene]
    rows = [("IMAGE\\LABEL", *LABELS)]
    for index, kind, number in tqdm(jobs, desc=title, unit="image"):
        image, labels = draw_scene(kind, np.random.default_rng([seed, index, number]))
        file = images / kind / f"{kind}{number:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file, quality=92)
        rows.append((file.stem, *map(str, labels)))
    table.write_bytes("".join("\t".join(row) + "\r\n" for row in rows).encode())
