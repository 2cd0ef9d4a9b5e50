"""The pages: their numbers are those of the result files, their commands, code and links work."""

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
from benchmark.speed_table import comparisons, throughput
from conftest import ROOT
from model import build_model

PAGES = [Path("README.md"), *(Path(folder, "README.md") for folder in ("dataset", "loss", "utils", "benchmark")),
         Path("benchmark/RESULTS.md"), Path("benchmark/PROTOCOL.md")]


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
    assert rows() in (ROOT / "benchmark" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(file.name for file in (ROOT / "benchmark").glob("*.py")
                                          if "__main__" in file.read_text(encoding="utf-8")))
def test_every_benchmark_finds_what_it_imports(script, monkeypatch):
    """As if it were started alone: the project is found by what the script itself says."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmark"), *(
        path for path in sys.path if not Path(path).resolve().is_relative_to(ROOT) or "site-packages" in path)])
    computed = {name: module for name, module in sys.modules.items() if is_ours(module)}
    for name in computed:
        del sys.modules[name]
    try:
        runpy.run_path(str(ROOT / "benchmark" / script))
    finally:
        for name in [name for name, module in sys.modules.items() if is_ours(module)]:
            del sys.modules[name]
        sys.modules.update(computed)


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


def options_of(command: str, capsys) -> set[str]:
    """The options of a program, from its help."""
    words = shlex.split(command)
    module = words[2] if words[1] == "-m" else words[1].removesuffix(".py").replace("/", ".")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"), pytest.raises(SystemExit):
        patch.setattr(sys, "argv", [words[1], "--help"])
        patch.syspath_prepend(ROOT / "benchmark")
        runpy.run_module(module, run_name="__main__")
    return set(re.findall(r"--[\w-]+", capsys.readouterr().out))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_use_options_that_exist(page, capsys):
    text = read(ROOT / page).replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    inline = re.findall(r"`(python [^`]+)`", text)
    commands = [split_name.strip() for line in [*blocks.splitlines(), *inline] for split_name in line.split("&&")]
    known: dict[str, set[str]] = {}
    for command in commands:
        words = command.split()
        if words[:1] != ["python"] or words[1].startswith("-c") or words[2:3] == ["pytest"]:
            continue
        program = " ".join(words[:3] if words[1] == "-m" else words[:2])
        if program == "python image/l2r_label.py" or program == "python image/ucm_models.py" or program.endswith(
                ("speed_table.py", "metrics_speed.py")):  # these take no options
            assert (ROOT / words[1]).is_file() and len(words) == 2
            continue
        if program not in known:
            known[program] = options_of(program, capsys)
        assert {word for word in words if word.startswith("--")} <= known[program], command
    assert page.name != "README.md" or page.parent == Path("loss") or known


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
        if "multilabel_metrics" in code:
            names |= {"scores": logits.sigmoid().detach().numpy(), "labels": labels.numpy()}
        exec(code, names)


def test_the_readme_is_short():
    assert len(read(ROOT / "README.md").splitlines()) <= 180


def test_no_page_or_program_speaks_the_old_dialect():
    banned = ["gone" + " on", "go" + " on with", "sha" + "ll", "men" + "ded", "twi" + "ns", "led to no" + " numbers"]
    pattern = re.compile(rf"\b({'|'.join(banned)})\b", re.IGNORECASE)
    files = [file for folder in ("", "loss", "model", "dataset", "utils", "benchmark", "image", "tests")
             for suffix in ("py", "md", "html") for file in (ROOT / folder).glob(f"{'**/' * bool(folder)}*.{suffix}")
             if "results" not in file.parts]
    found = [f"{file.relative_to(ROOT)}: {line.strip()}" for file in files for line in read(file).splitlines()
             if pattern.search(line)]
    assert len(files) > 100 and not found, "\n".join(found)
