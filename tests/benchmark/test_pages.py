"""The figures of README.md and benchmark/RESULTS.md are those of the result files."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from benchmark import explore, reproduce
from benchmark.speed_table import comparisons, throughput
from conftest import ROOT


@pytest.mark.parametrize("file", sorted(reproduce.RESULTS.glob("*.md")), ids=lambda file: file.stem)
def test_tables_of_the_study_are_made_from_its_files(file):
    text = file.read_text(encoding="utf-8")
    assert text == reproduce.tables_text(file.stem)
    assert text in (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")


def test_the_readme_has_the_headline_and_the_study_its_exploration():
    assert reproduce.headline_table() in (ROOT / "README.md").read_text(encoding="utf-8")
    assert explore.table() == (explore.RESULTS / "explore.md").read_text(encoding="utf-8")
    assert explore.table() in (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rows", [comparisons, throughput])
def test_the_speed_tables_are_those_of_the_result_files(rows):
    assert rows() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(file.name for file in (ROOT / "benchmark").glob("*.py")
                                          if "__main__" in file.read_text(encoding="utf-8")))
def test_every_benchmark_finds_what_it_imports(script, monkeypatch):
    """As if it were started alone: the project is found by what the script itself says."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmark"), *(
        path for path in sys.path if not Path(path).resolve().is_relative_to(ROOT) or "site-packages" in path)])
    ours = {name: module for name, module in sys.modules.items() if is_ours(module)}
    for name in ours:
        del sys.modules[name]
    try:
        runpy.run_path(str(ROOT / "benchmark" / script))
    finally:
        for name in [name for name, module in sys.modules.items() if is_ours(module)]:
            del sys.modules[name]
        sys.modules.update(ours)


def is_ours(module) -> bool:
    """Whether it is a module of the project, whose folder may hold the environment."""
    file = Path(str(getattr(module, "__file__", None)))
    return file.is_relative_to(ROOT) and not any(map(file.is_relative_to, (sys.prefix, ROOT / "tests")))


def test_the_pointing_game_is_that_of_the_result_files():
    rows = set()
    for file in (ROOT / "benchmark" / "results" / "pointing_game").glob("*.json"):
        result = json.loads(file.read_text())
        options = result["options"]
        what = ", ".join([options["model"], options["loss"], f"{options['image_size']} px"])
        rows.add(f"| {what} | {100 * result['hits']:.2f} % | {100 * result['chance']:.2f} % |")
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("| maximum in the box |")[1].split("\n\n")[0]
    assert rows and set(text.splitlines()[2:]) == rows


def test_pictures_and_files_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = [part.split(")")[0] for part in text.split("](image/")[1:]]
    assert pictures and all((ROOT / "image" / picture).is_file() for picture in pictures)
