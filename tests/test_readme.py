"""The figures of README.md and benchmark/RESULTS.md are those of the result files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import explore, reproduce
from benchmark.compare_losses import table
from benchmark.speed_table import comparisons, throughput

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmark" / "results").glob("*/table.md"))


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.parent.name)
def test_tables_are_made_from_the_result_files(file):
    rows = file.read_text(encoding="utf-8")
    assert rows == table(file.parent)
    assert rows in (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(reproduce.RESULTS.glob("*.md")), ids=lambda file: file.stem)
def test_tables_of_the_study_are_made_from_its_files(file):
    text = file.read_text(encoding="utf-8")
    assert text == reproduce.tables_text(file.stem)
    assert text in (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")


def test_the_readme_has_the_headline_and_the_study_its_exploration():
    assert reproduce.headline_table() in (ROOT / "README.md").read_text(encoding="utf-8")
    assert explore.table() == (explore.RESULTS / "explore.md").read_text(encoding="utf-8")
    assert explore.table() in (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")


def test_the_first_seed_chooses_the_rate_and_seeds_are_averaged(tmp_path):
    figures = dict.fromkeys(("average_accuracy", "kappa", "argmax_F1", "top5"), 0.5)
    for rate, seed, val, accuracy in [(1e-4, 1, 0.7, 0.6), (1e-3, 1, 0.8, 0.5), (1e-3, 2, 0.1, 0.7)]:
        folder = tmp_path / f"ce_{rate}_{seed}"
        folder.mkdir()
        (folder / "args.json").write_text(json.dumps({"args": {"loss": "ce", "lr": rate, "seed": seed}}))
        (folder / "log.csv").write_text(f"epoch,val_accuracy\n1,0.05\n2,{val}\n")
        (folder / "metrics.json").write_text(json.dumps(
            {"epoch": 2, "metrics": {"mAP": 0.25}, "single_label": {**figures, "accuracy": accuracy}}))
    folder = tmp_path / "r4c_of_another_seed"
    folder.mkdir()
    for file in ("log.csv", "metrics.json"):
        (folder / file).write_text((tmp_path / "ce_0.0001_1" / file).read_text())
    (folder / "args.json").write_text(json.dumps({"args": {"loss": "r4c", "lr": 1, "seed": 9}}))
    rows = [[cell.strip() for cell in line.split("|")[1:7]] for line in table(tmp_path).splitlines()[2:]]
    assert rows.pop(0) == ["**r4c**", "**1**", "**9**", "**2**", "**70.00**", "**60.00**"]
    assert rows == [["ce", "0.0001", "1", "2", "70.00", "60.00"],
                    ["**ce**", "**0.001**", "**1**", "**2**", "**80.00**", "**50.00**"],
                    ["**ce**", "**0.001**", "**2**", "**2**", "**10.00**", "**70.00**"],
                    ["**ce**", "**0.001**", "**mean of 2**", "", "**45.00**", "**60.00**"]]


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
