"""The figures of README.md and benchmark/RESULTS.md are those of the result files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import explore, reproduce
from benchmark.speed_table import comparisons, throughput

ROOT = Path(__file__).parents[1]


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


def test_every_benchmark_finds_what_it_imports(tmp_path):
    """Each as if it were started alone: the project is found by what the script itself says."""
    folder = ROOT / "benchmark"
    scripts = sorted(str(file) for file in folder.glob("*.py") if "__main__" in file.read_text(encoding="utf-8"))
    each = ("import runpy, sys\n"
            "for script in sys.argv[2:]:\n"
            "    path, sys.path = sys.path, [sys.argv[1], *sys.path]\n"
            "    runpy.run_path(script)\n"
            "    sys.path = path\n"
            "    for name, module in list(sys.modules.items()):\n"
            "        file = str(getattr(module, '__file__', None))\n"
            "        if file.startswith(sys.argv[1].rsplit('/', 1)[0]) and not file.startswith(sys.prefix):\n"
            "            del sys.modules[name]  # of the project, whose folder may hold the environment\n")
    run = subprocess.run([sys.executable, "-c", each, str(folder), *scripts], cwd=tmp_path, capture_output=True,
                         text=True, check=False)
    assert len(scripts) > 7 and run.returncode == 0, run.stderr


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
