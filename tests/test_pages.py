"""The pages: their numbers are those of the result files, their commands, code and links work."""

import argparse
import json
import re
import runpy
import shlex
import sys
import warnings
from pathlib import Path

import pytest
import torch

from benchmark import explore, reproduce
from benchmark.speed_table import busy_machine, comparisons, distributed_cost, distributed_runs, throughput, timm
from conftest import ROOT
from model import build_model

PAGES = [Path("README.md"), *(Path(folder, "README.md") for folder in ("dataset", "loss", "utils", "benchmark")),
         Path("benchmark/RESULTS.md"), Path("benchmark/PROTOCOL.md")]


@pytest.mark.parametrize("file", sorted(reproduce.RESULTS.glob("*.md")), ids=lambda file: file.stem)
def test_tables_of_the_study_are_made_from_its_files(file):
    text = file.read_text(encoding="utf-8")
    assert text == reproduce.tables_text(file.stem)
    assert f"(results/study/{file.name})" in (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")


def test_the_readme_has_the_headline_and_the_study_its_answer_and_its_exploration():
    results = (ROOT / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")
    assert reproduce.headline_table() in results
    assert reproduce.headline_table() in (ROOT / "README.md").read_text(encoding="utf-8")
    assert reproduce.answer_table() in results
    assert explore.table() == (explore.RESULTS / "explore.md").read_text(encoding="utf-8")
    assert explore.table() in results


@pytest.mark.parametrize("rows", [
    comparisons, throughput, busy_machine, timm, distributed_cost, distributed_runs])
def test_the_speed_tables_are_those_of_the_result_files(rows):
    assert rows() in (ROOT / "benchmark" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(file.name for file in (ROOT / "benchmark").glob("*.py")
                                          if "__main__" in file.read_text(encoding="utf-8")))
def test_every_benchmark_finds_what_it_imports(script, monkeypatch):
    """As if it were started alone: the project is found by what the script itself says."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmark"), *(
        path for path in sys.path if not Path(path).resolve().is_relative_to(ROOT) or "site-packages" in path)])
    project_modules = {name: module for name, module in sys.modules.items() if is_project_module(module)}
    for name in project_modules:
        del sys.modules[name]
    try:
        runpy.run_path(str(ROOT / "benchmark" / script))
    finally:
        for name in [name for name, module in sys.modules.items() if is_project_module(module)]:
            del sys.modules[name]
        sys.modules.update(project_modules)


def is_project_module(module) -> bool:
    """The folder of the project may also hold the environment."""
    file = Path(str(getattr(module, "__file__", None)))
    return file.is_relative_to(ROOT) and not any(map(file.is_relative_to, (sys.prefix, ROOT / "tests")))


def test_the_pointing_game_is_that_of_the_result_files():
    rows = set()
    for file in (ROOT / "benchmark" / "results" / "pointing_game").glob("*.json"):
        result = json.loads(file.read_text())
        options = result["options"]
        what = ", ".join([options["model"], options["loss"], f"{options['image_size']} px"])
        rows.add(f"| {what} | {100 * result['hits']:.2f} % | {100 * result['chance']:.2f} % |")
    text = (ROOT / "utils" / "README.md").read_text(encoding="utf-8").split("| maximum in the box |")[1].split("\n\n")[0]
    assert rows and set(text.splitlines()[2:]) == rows


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_images_exist(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", read(ROOT / page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, fragment = target.partition("#")
        file = ROOT / page.parent / name if name else ROOT / page
        assert file.exists(), target
        assert not fragment or fragment in [anchor(line.lstrip("# ")) for line in read(file).splitlines()
                                            if line.startswith("#")], target


class Parsed(Exception):
    """A program has accepted its arguments."""


def run_until_parsed(words: list[str]) -> None:
    """Start `python words...`; its argparse raises Parsed, or SystemExit for an unknown option or a value it rejects."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *args):
        parser.allow_abbrev = False
        parse_args(parser, *args)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.syspath_prepend(ROOT / "benchmark")
        patch.setattr(sys, "argv", words[words[0] == "-m":])
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__")
        else:
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_programs_accept_the_commands(page):
    text = read(ROOT / page).replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    inline = re.findall(r"`(python [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [command for line in [*blocks.splitlines(), *inline] for command in line.split("&&")]
    commands = [words[1:] for words in (shlex.split(line, comments=True) for line in lines) if words[:1] == ["python"]]
    assert commands or page == Path("loss/README.md")
    for words in commands:
        if words[0] == "-c" or words[:2] == ["-m", "pytest"]:
            continue
        if words[0] == "-m" or "parse_args" in read(ROOT / words[0]):
            with pytest.raises(Parsed):
                run_until_parsed(words)
        else:
            assert len(words) == 1, f"{words[0]} takes no options"


@pytest.mark.parametrize("command", ["Test.py --pick worst", "Train.py --loss hinge", "-m dataset.audit --lr 1",
                                     "benchmark/explore.py r4c --seed 1", "-m utils.evaluation.compare"])
def test_programs_reject_wrong_commands(command):
    with pytest.raises(SystemExit):
        run_until_parsed(command.split())


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in read(ROOT / page)], ids=str)
def test_python_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build_model("Small", 4)
    torch.save({"label_names": list("abcd"), "model": "Small", "image_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "epoch": 1,
                "args": {}, "state_dict": model.state_dict()}, "best.pth")
    logits = torch.randn(6, 4, requires_grad=True)
    for code in re.findall(r"```python\n(.*?)```", read(ROOT / page), flags=re.DOTALL):
        labels = (torch.arange(24).view(6, 4) % 3 == 0).float()
        names = {"features": torch.randn(6, 8, requires_grad=True), "logits": logits, "labels": labels,
                 "images": torch.randn(6, 3, 64, 64)}
        exec(code, names)


def test_no_result_holds_a_path_of_the_machine_that_computed_it():
    files = list((ROOT / "benchmark" / "results").rglob("*.json"))
    assert len(files) > 20 and not [str(file) for file in files if re.search('(?:^|[" =])/[^/ ]+/', read(file))]


def test_the_readme_is_short():
    lines = read(ROOT / "README.md").splitlines()
    assert len(lines) <= 180
    assert max(len(line) for line in lines if not line.startswith("|")) <= 140


def test_no_page_or_program_speaks_the_old_dialect():
    banned = ["gone" + " on", "go" + " on with", "sha" + "ll", "men" + "ded", "twi" + "ns", "led to no" + " numbers"]
    pattern = re.compile(rf"\b({'|'.join(banned)})\b", re.IGNORECASE)
    files = [file for folder in ("", "loss", "model", "dataset", "utils", "benchmark", "image", "tests")
             for suffix in ("py", "md", "html") for file in (ROOT / folder).glob(f"{'**/' * bool(folder)}*.{suffix}")
             if "results" not in file.parts]
    found = [f"{file.relative_to(ROOT)}: {line.strip()}" for file in files for line in read(file).splitlines()
             if pattern.search(line)]
    assert len(files) > 100 and not found, "\n".join(found)
