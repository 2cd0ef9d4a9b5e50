"""Draw the synthetic multilabel data set, or a contact sheet of it: python -m dataset.synthetic --data_root ./data"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.options import Parser, number

from . import LABELS, SCENES, draw_scene, write_synthetic

ROWS, COLUMNS, TILE, CAPTION, GAP = 4, 6, 256, 64, 8


def contact_sheet(file: Path, seed: int = 3050) -> None:
    """Save scenes of all kinds in turn, each above the names of its labels, in the format of the file's suffix.

    Raises:
        ValueError: for a suffix that names no image format.
        OSError: if the file cannot be written.
    """
    font, kinds = ImageFont.load_default(size=16), list(SCENES)
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, ROWS * (TILE + CAPTION) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for cell in range(ROWS * COLUMNS):
        again, index = divmod(cell, len(kinds))
        image, labels = draw_scene(kinds[index], np.random.default_rng([seed, index, again]), TILE)
        x, y = GAP + cell % COLUMNS * (TILE + GAP), GAP + cell // COLUMNS * (TILE + CAPTION)
        sheet.paste(image, (x, y))
        text = ""
        for name in (name + ", " for name, present in zip(LABELS, labels) if present):
            wraps = pen.textlength((text + name).rpartition("\n")[2], font) > TILE + 4
            text += "\n" * wraps + name
        pen.multiline_text((x, y + TILE + 2), text[:-2], "black", font, spacing=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file, quality=88, optimize=True)


def main(argv: list[str] | None = None) -> None:
    """The command line; exits with code 2 and a message for what cannot be used or written."""
    parser = Parser(prog="python -m dataset.synthetic", description="Draw the synthetic multilabel data set.")
    parser.add_argument("--data_root", type=Path, metavar="DIR", help="write the set to DIR/Synthetic_Multilabel")
    parser.add_argument("--contact_sheet", type=Path, metavar="FILE", help="write a contact sheet to this .jpg or .png")
    parser.add_argument("--images_per_scene", type=number(int, 1, 100), default=80, metavar="N",
                        help="1 to 100 (default: %(default)s)")
    parser.add_argument("--seed", type=number(int, 0), default=3050, metavar="S", help="(default: %(default)s)")
    options = parser.parse_args(argv)
    if not (options.data_root or options.contact_sheet):
        parser.error("give --data_root, --contact_sheet or both")
    if not options.data_root and options.images_per_scene != parser.get_default("images_per_scene"):
        parser.error("--images_per_scene has no effect without --data_root, which writes the set")
    formats = Image.registered_extensions()
    if options.contact_sheet and formats.get(options.contact_sheet.suffix.lower()) not in Image.SAVE:
        parser.error(f"--contact_sheet {options.contact_sheet}: give it the suffix .jpg or .png")
    try:
        if options.contact_sheet:
            contact_sheet(options.contact_sheet, options.seed)
        if options.data_root:
            write_synthetic(options.data_root / "Synthetic_Multilabel", options.images_per_scene, options.seed)
    except OSError as error:  # it exists already, or cannot be written
        parser.error(str(error))


if __name__ == "__main__":
    main()
