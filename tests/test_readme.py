"""The README's figures are those of the result files."""

from pathlib import Path

import pytest

from benchmark.compare_losses import table

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmark" / "results").glob("*/table.md"))


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.parent.name)
def test_tables_are_made_from_the_result_files(file):
    rows = file.read_text(encoding="utf-8")
    assert rows == table(file.parent)
    assert rows in (ROOT / "README.md").read_text(encoding="utf-8")


def test_pictures_and_files_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = [part.split(")")[0] for part in text.split("](image/")[1:]]
    assert pictures and all((ROOT / "image" / picture).is_file() for picture in pictures)
