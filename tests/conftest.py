"""Shared pieces: the reference vectors, a small network, and miniature data sets."""

import csv
import functools
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path

# Networks so small are not faster with more threads, and far slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same tests with a GPU and without

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import small_network
from utils.run.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
REFERENCE, LONG_RESULTS = ROOT / "tests" / "reference", ROOT / "benchmark" / "results" / "long"
DPI = 40  # of the figures that tests write
unicode_names = pytest.mark.skipif(sys.getfilesystemencoding() != "utf-8", reason="no such names in this locale")
NAMES = ["airplane", "bare-soil", "grass", "water"]


def reference(name: str) -> dict[str, dict[str, np.ndarray]]:
    """reference/<name>.npz, what the published code computed, as {case: {key: array}}."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(REFERENCE / f"{name}.npz") as file:
        for key in file.files:
            case, entry = key.split("/")
            cases.setdefault(case, {})[entry] = file[key]
    return cases


@pytest.fixture(scope="session", autouse=True)
def default_signals():
    """Those that a shell ignores for programs in the background, and nohup for all."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def choice_of_the_small_network():
    small_network.register()


@pytest.fixture(scope="session", autouse=True)
def imports_of_processes():
    """What is forked from Python's server of processes, from 3.14 on a loader's workers too, need import nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        multiprocessing.set_forkserver_preload(["processes"])
        yield


@pytest.fixture(scope="session", autouse=True)
def coarse_figures():
    """Files of few pixels, without a layout; tests of the layout draw figures without writing them."""
    savefig = Figure.savefig

    def save(figure, *args, **options):
        figure.set_layout_engine("none")
        savefig(figure, *args, **{**options, "dpi": DPI})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture(autouse=True)
def seeded():
    """What a test draws does not depend on those before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    """Train.py's figure takes longer than epochs so small: tests that look at it ask for the fixture `curves`."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr("Train.save_figure", lambda figure, path: None)


@pytest.fixture
def curves():
    """Training draws its curves."""


@functools.cache
def _environment() -> dict:
    """As it was before the first result was written, which git takes for a change."""
    return environment(torch.device("cpu"))


@pytest.fixture
def record(request):
    """Takes the figures of a test; of one that only `pytest -m long` runs, they are written to LONG_RESULTS."""
    start = time.perf_counter()

    def write(**figures) -> None:
        if request.node.get_closest_marker("long"):
            metadata = {"command": f"python -m pytest -m long -k {request.node.originalname}",
                     "date": time.strftime("%Y-%m-%d"), **_environment(),
                     "seconds": round(time.perf_counter() - start), **figures}
            LONG_RESULTS.mkdir(parents=True, exist_ok=True)
            name = request.node.name.removeprefix("test_").replace("[long]", "")  # and of other parameters, all
            file = LONG_RESULTS / f"{re.sub('[^A-Za-z0-9]+', '_', name).strip('_')}.json"
            file.write_text(json.dumps(metadata, indent=2) + "\n")

    return write


def let_go(raised: BaseException | None) -> None:
    """Free what its frames hold: a loader that is left to the garbage collector is waited for, 5 seconds a worker."""
    while raised:
        traceback.clear_frames(raised.__traceback__)
        raised = raised.__cause__ or raised.__context__


def write_image(path: Path, seed: int, size: tuple[int, int] = (72, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def random_labels(number: int, seed: int = 0) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 2, (number, len(NAMES)))
    labels[:, 2] |= labels.sum(1) == 0  # no image without a label
    return labels


def write_table(path: Path, keys: list[str], labels: np.ndarray, delimiter: str = ",", newline: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [["IMAGE\\LABEL", *NAMES], *([key, *map(str, row)] for key, row in zip(keys, labels))]
    path.write_bytes("".join(delimiter.join(row) + newline for row in rows).encode())


def read_scores(folder: Path, names: list[str] = NAMES) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels (N, C) of a test's scores.csv."""
    with open(folder / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores, labels = (np.array([[float(row[f"{kind} {name}"]) for name in names] for row in rows], np.float32)
                      for kind in ("score", "label"))
    return scores, labels


def write_classes(root: Path, counts: dict[str, int]) -> None:
    """Class folders with images <class>_1.jpg ..., all different; one in each class's own colour, with noise."""
    for column, (name, count) in enumerate(counts.items()):
        for number in range(1, count + 1):
            rng = np.random.default_rng([column, number])
            colour = 60 * np.array([column % 3, column // 3 % 3, (column + number % 2) % 4])
            pixels = (colour + rng.integers(0, 40, (48, 56, 3))).astype(np.uint8)
            path = root / name / f"{name.lower()}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.fixture
def scenes(tmp_path) -> Path:
    """A data root with AID as its distributor ships it: 4 scenes of 20, 20, 30 and 10 images."""
    write_classes(tmp_path / "data" / "AID", {"Airport": 20, "BareLand": 20, "Pond": 30, "River": 10})
    return tmp_path / "data"


def write_ucm(data_root: Path) -> Path:
    """UCM_Multilabel as its distributor ships it (tabs, CRLF, .tif): 24 train and 6 test images."""
    root = data_root / "UCM_Multilabel"
    keys = [f"{scene}{number:02d}" for scene in ("airplane", "river", "forest") for number in [*range(8), 80, 99]]
    for seed, key in enumerate(keys):
        write_image(root / "UCMerced_LandUse" / "Images" / key[:-2] / f"{key}.tif", seed)
    write_table(root / "multilabels" / "LandUse_Multilabeled.txt", keys, random_labels(len(keys)), "\t", "\r\n")
    return data_root


@pytest.fixture
def ucm(tmp_path) -> Path:
    """A data root with UCM_Multilabel."""
    return write_ucm(tmp_path / "data")


@pytest.fixture
def aid(tmp_path) -> Path:
    """A data root with AID_Multilabel as its distributor ships it (commas, .jpg): 20 train and 6 test images."""
    root = tmp_path / "data" / "AID_Multilabel"
    keys = {}
    for folder, numbers in (("images_tr", range(1, 11)), ("images_test", range(81, 84))):
        for scene in ("Airport", "Pond"):
            for number in numbers:
                key = f"{scene.lower()}_{number}"
                keys[key] = root / folder / scene / f"{key}.jpg"
    for seed, path in enumerate(keys.values()):
        write_image(path, seed)
    write_table(root / "multilabel.csv", list(keys), random_labels(len(keys)))
    return root.parent
