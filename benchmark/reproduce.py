"""Run the study in PROTOCOL.md, completely or by rows, and write its tables from the result files.

    python benchmark/reproduce.py --list
    python benchmark/reproduce.py ucm_aitlas_96px_20epochs --jobs 2        a table
    python benchmark/reproduce.py ucm_aitlas_96px_20epochs/bce             a row of it
    python benchmark/reproduce.py                                          no training, only the tables

Each run is a Train.py and a Test.py, on a GPU or one core. Finished runs are skipped (remove their results to get their
weights in runs/study), interrupted runs are resumed, and failed runs are listed at the end. A row's learning rate is
the one that the validation images of two seeds selected in the table that searched for it, of the first seed until the
second's search is finished. Results go to
benchmark/results/study/<table>/<row>_<lr>_seed<seed>/: args.json, log.csv, metrics.json, per_label.csv, and
bootstrap.npz, the metrics of bootstrap samples of the test images. From these, <table>.md, .csv, _differences.csv and
.png (the curves) are made.
"""

import csv
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.stats
import torch
from sklearn.metrics import average_precision_score, f1_score
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import Train  # noqa: E402
from utils.errors import InputError, describe_error, exit_cleanly  # noqa: E402
from utils.evaluation.compare import mean_and_deviation, percent_cell  # noqa: E402
from utils.figures.curves import draw_comparison, read_log  # noqa: E402
from utils.figures.style import save_figure  # noqa: E402
from utils.options import RUNTIME_OPTIONS, Parser, number, option_value  # noqa: E402
from utils.run.atomic import write_csv, write_text  # noqa: E402
from utils.run.graceful_shutdown import Interrupted  # noqa: E402
from utils.run.run_folder import read_args  # noqa: E402

RESULTS = ROOT / "benchmark" / "results" / "study"
SEEDS = (3050, 3051, 3052)
SEARCH_SEEDS = SEEDS[:2]
RATES = ("5e-6", "1e-5", "2e-5", "5e-5", "1e-4", "2e-4", "5e-4", "1e-3", "2e-3", "5e-3")
DRAWS = 1000
ALL_VIEWS = "all_views.json"

ROWS = {
    "bce": "--loss bce",
    "focal": "--loss focal",
    "asl": "--loss asl",
    "ce": "--loss ce",
    "twoway": "--loss twoway",
    "zlpr": "--loss zlpr",
    "smoothap": "--loss smoothap",
    "r4c": "--loss r4c",
    "r4c_bound": "--loss r4c --bound",
    "r4c_bound_no_feature": "--loss r4c --bound --parts label sample",
    "r4c_bound_only_sample": "--loss r4c --bound --parts sample",
    "r4c_no_feature": "--loss r4c --parts label sample",
    "r4c_no_label": "--loss r4c --parts feature sample",
    "r4c_no_sample": "--loss r4c --parts feature label",
    "r4c_only_feature": "--loss r4c --parts feature",
    "r4c_only_label": "--loss r4c --parts label",
    "r4c_only_sample": "--loss r4c --parts sample",
    "r4c_no_neutral": "--loss r4c --number_label 0 --number_sample 0",
    "r4c_range_0.05": "--loss r4c --range_label 0.05 --range_sample 0.05",
    "r4c_range_0.2": "--loss r4c --range_label 0.2 --range_sample 0.2",
    "r4c_neutral_x4": "--loss r4c --number_label 16 --number_sample 64",
}
BASELINES, RANKING = ("bce", "focal", "asl"), ("twoway", "zlpr", "smoothap", "r4c", "r4c_bound")
HEADLINE = (*BASELINES, *RANKING)
# Row -> the row that it changes, whose learning rate it uses.
ABLATION_OF = {row: "r4c_bound" if row.startswith("r4c_bound") else "r4c" for row in ROWS
               if row not in (*HEADLINE, "ce")}
# The differences of a table: (row, what is subtracted).
COMPARISONS = (*((row, baseline) for row in RANKING for baseline in ("bce", "asl")), ("r4c_bound", "r4c"),
               ("r4c_bound", "twoway"), *ABLATION_OF.items())

# Column -> place in metrics.json. Accuracy exists with one label per image only; "chosen" is at the threshold that the
# validation images chose, which the first study did not record.
METRICS = {
    "accuracy": ("single_label", "accuracy"), "mAP": ("metrics", "mAP"), "micro F1": ("metrics", "OF1"),
    "macro F1": ("metrics", "macro_F1"), "micro F1, chosen": ("at_validation_threshold", "OF1"),
    "macro F1, chosen": ("at_validation_threshold", "macro_F1"),
    "macro F1 (5+)": ("without_rare_labels", "macro_F1"), "example F1": ("metrics", "example_F1"),
    "example F2": ("metrics", "example_F2"),
    "script's F1": ("reference_script", "F1"), "script's F2": ("reference_script", "F2"),
}


@dataclass(frozen=True)
class Table:
    """data, budget: options of Train.py. rates_of: the table whose search selected the rates, possibly this one.
    (Softmax cross-entropy, for one label per image only, is searched in its own table.) rates: those that a search here
    starts with. views: whether its runs are also tested with Test.py's --all_views.
    """

    data: str
    budget: str
    rows: tuple[str, ...] = HEADLINE
    seeds: tuple[int, ...] = SEEDS
    rates_of: str = "ucm_aitlas_96px_20epochs"
    rates: tuple[str, ...] = RATES[4:8]
    views: bool = False


_SMALL = "--model MobileNet-V2 --pretrained_path weights/mobilenet_v2_imagenet.pth --cache runs/image_cache"
_SHORT = f"{_SMALL} --image_size 96 --max_epoch 20"
_LISTS = "data/UCM_Multilabel/splits/aitlas_"
_AITLAS = (f"--dataset UCM_Multilabel --train_dir {_LISTS}train.txt --val_dir {_LISTS}val.txt "
           f"--test_dir {_LISTS}test.txt")
TABLES = {
    "ucm_aitlas_96px_400epochs": Table(_AITLAS, f"{_SMALL} --image_size 96 --max_epoch 400",
                                       ("bce", "asl", "twoway", "r4c", "r4c_bound"), SEEDS[:2]),
    "ucm_aitlas_96px_20epochs": Table(_AITLAS, _SHORT, (*HEADLINE, "r4c_bound_no_feature")),
    "ucm_80_20_96px_20epochs": Table("--dataset UCM_Multilabel", _SHORT, (*HEADLINE, "r4c_bound_no_feature")),
    "aid_multilabel_96px_20epochs": Table("--dataset AID_Multilabel", _SHORT, (*HEADLINE, "r4c_bound_no_feature")),
    "aid_20_80_96px_20epochs": Table("--dataset AID", _SHORT, (*HEADLINE, "ce", "r4c_bound_no_feature")),
    "ucm_ablation_96px_20epochs": Table(_AITLAS, _SHORT, tuple(row for row in ABLATION_OF
                                                               if row != "r4c_bound_no_feature"), SEEDS[:2]),
    "ucm_aitlas_96px_100epochs": Table(_AITLAS, f"{_SMALL} --image_size 96 --max_epoch 100",
                                       ("bce", "r4c", "r4c_bound_no_feature"), SEEDS[:1]),
    "ucm_aitlas_224px_20epochs": Table(_AITLAS, f"{_SMALL} --image_size 224 --max_epoch 20",
                                       ("bce", "r4c", "r4c_bound_no_feature"), SEEDS[:1], views=True),
    **{f"{name}_{model}_recipe": Table(f"--dataset {dataset}", f"--model {model} --cache", seeds=(*SEEDS, 3053, 3054),
                                       rates_of=f"ucm_80_20_{model}_recipe", rates=RATES[1:5])
       for name, dataset in (("ucm_80_20", "UCM_Multilabel"), ("aid_multilabel", "AID_Multilabel"))
       for model in ("Resnet-50", "Swin-T")},
}
HEADLINE_TABLES = {"UCM, 400 epochs": "ucm_aitlas_96px_400epochs", "UCM, AiTLAS's lists": "ucm_aitlas_96px_20epochs",
                   "UCM, 80/20": "ucm_80_20_96px_20epochs", "AID_Multilabel": "aid_multilabel_96px_20epochs",
                   "AID, 20/80": "aid_20_80_96px_20epochs"}


@dataclass(frozen=True)
class Run:
    table: str
    row: str
    rate: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row}_{self.rate}_seed{self.seed}"

    @property
    def results(self) -> Path:
        return RESULTS / self.table / self.name

    @property
    def options(self) -> list[str]:
        table = TABLES[self.table]
        return f"{table.data} {table.budget} {ROWS[self.row]} --lr {self.rate} --seed {self.seed}".split()

    @property
    def is_done(self) -> bool:
        return (self.results / "metrics.json").exists()

    def check(self) -> None:
        """Raise InputError if its results were made with other options, or are damaged."""
        options, recorded = vars(Train.parse_arguments(self.options)), read_args(self.results)["args"]
        for name in {word.removeprefix("--") for word in self.options if word.startswith("--")} - RUNTIME_OPTIONS:
            if option_value(options, name) != option_value(recorded, name):
                raise InputError(f"{self.results} was made with --{name} {recorded.get(name)}, and {self.row} has "
                                 f"{options[name]}: remove that folder and its runs, or restore the row")
        try:
            self.report()
            np.load(self.results / "bootstrap.npz").close()
            if len(read_log(self.results / "log.csv")["epoch"]) < options["max_epoch"]:
                raise ValueError("log.csv is incomplete")
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.results} is damaged ({error}): remove that folder and run its command "
                             "again") from error

    def execute(self, environment: dict[str, str]) -> None:
        """Train, test and store the results; the programs' output goes to a file next to the run.

        Raises:
            InputError: with the last line of a program that failed.
        """
        work_dir = Path("runs", "study", self.table, self.name)
        output = ROOT / work_dir / "output.txt"
        output.parent.mkdir(parents=True, exist_ok=True)

        def run(*command: str) -> None:
            if call([sys.executable, *command], environment, output):
                *_, last = "", *output.read_text(encoding="utf-8").splitlines()
                raise InputError(f"{self.table}/{self.name} failed ({last.strip()}; the whole output is in {output})")

        run("Train.py", *self.options, "--work-dir", str(work_dir), "--resume", "auto")
        log = max((ROOT / work_dir).glob("*/log.csv"), key=os.path.getmtime)
        if len(read_log(log)["epoch"]) < read_args(log.parent)["args"]["max_epoch"]:
            raise InputError(f"{log.parent} is being trained by another process: run this again when that has finished")
        weights = str(log.with_name("best.pth").relative_to(ROOT))
        run("Test.py", "--weights_path", weights)
        self.results.mkdir(parents=True, exist_ok=True)
        if TABLES[self.table].views:
            run("Test.py", "--weights_path", weights, "--all_views", "--save_path", str(work_dir / "all_views"))
            shutil.copy(ROOT / work_dir / "all_views" / "metrics.json", self.results / ALL_VIEWS)
        test = log.parent / "test_best"
        report = (test / "metrics.json").read_text(encoding="utf-8")
        with open(test / "scores.csv", encoding="utf-8", newline="") as file:
            images, *columns = zip(*list(csv.reader(file))[1:])
        scores, labels = np.split(np.array(columns, dtype=np.float32).T, 2, axis=1)
        np.savez_compressed(self.results / "bootstrap.npz", **(
            bootstrap_accuracy(images, scores, labels) if "single_label" in json.loads(report) else
            bootstrap_metrics(scores, labels)))
        for file in (log, test / "per_label.csv"):
            shutil.copy(file, self.results)
        # Relative paths, so that the results are recognised in whichever folder the project lies.
        options = log.with_name("args.json").read_text(encoding="utf-8")
        write_text(self.results / "args.json", options.replace(json.dumps(f"{ROOT}{os.sep}")[1:-1], ""))
        write_text(self.results / "metrics.json", report)  # last: it marks the run as finished

    def report(self, file: str = "metrics.json") -> dict:
        return json.loads((self.results / file).read_text())

    def validation(self) -> float:
        """The best value of the metric that selects the epoch."""
        log = read_log(self.results / "log.csv")
        return max(log["val_accuracy" if "val_accuracy" in log else "val_OF1"])


_children: set[subprocess.Popen] = set()


def call(command: list[str], environment: dict[str, str], output: Path) -> int:
    """Run a program, append its output to a file, and return its exit code."""
    with open(output, "a", encoding="utf-8") as file, subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=file) as child:
        _children.add(child)
        try:
            return child.wait()
        finally:
            _children.discard(child)


def stop_the_children(number: int, frame) -> None:
    """A scheduler may signal this program alone: pass it on to the trainings, which stop gracefully."""
    for child in list(_children):
        child.send_signal(number)
    raise Interrupted(number, "resume with the same command")


def bootstrap_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of DRAWS samples of the images with replacement, the same samples for every run on as many images."""
    random, values = np.random.default_rng(0), []
    for _ in range(DRAWS):
        images = random.integers(len(scores), size=len(scores))
        s, y = scores[images], labels[images]
        present = y.any(0)
        values.append([np.mean([average_precision_score(*pair) for pair in zip(y.T[present], s.T[present])]),
                      f1_score(y.ravel(), s.ravel() > 0.5, zero_division=0)])
    return dict(zip(("mAP", "micro F1"), np.array(values, dtype=np.float32).T))


def bootstrap_accuracy(images: Sequence[str], scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The same with one label per image, where the seed selects the test images: in whichever test set, a sample
    contains an image equally often (Poisson with mean 1)."""
    counts = np.stack([np.random.default_rng(zlib.crc32(Path(image).name.encode())).poisson(1, DRAWS)
                      for image in images])
    right = scores.argmax(1) == labels.argmax(1)
    return {"accuracy": (right @ counts / counts.sum(0)).astype(np.float32)}


def best_rate(runs: list[Run]) -> str:
    """The rate with the highest mean of the validation metric over the seeds."""
    rates = dict.fromkeys(run.rate for run in runs)
    return max(rates, key=lambda rate: np.mean([run.validation() for run in runs if run.rate == rate]))


def search(table: str, row: str, seeds: Sequence[int]) -> list[Run]:
    """The runs that select a row's rate: those of the first rates, and one beyond the best rate while it is an end."""
    low, high = RATES.index(TABLES[table].rates[0]), RATES.index(TABLES[table].rates[-1])
    while True:
        runs = [Run(table, row, rate, seed) for rate in RATES[low:high + 1] for seed in seeds]
        if not all(run.is_done for run in runs):
            return runs
        best = RATES.index(best_rate(runs))
        if best == low > 0:
            low -= 1
        elif best == high < len(RATES) - 1:
            high += 1
        else:
            return runs


def chosen_rate(table: str, row: str) -> str | None:
    """The rate that validation selected, of the first seed until the search of both is finished; None before that."""
    both, first = (searched(table, row, seeds) for seeds in (SEARCH_SEEDS, SEARCH_SEEDS[:1]))
    return next((best_rate(runs) for runs in (both, first) if all(run.is_done for run in runs)), None)


def searched(table: str, row: str, seeds: Sequence[int]) -> list[Run]:
    """The runs of these seeds that select this row's rate, possibly those of another table and row."""
    return search(table if row == "ce" else TABLES[table].rates_of, ABLATION_OF.get(row, row), seeds)


def is_provisional(table: str, row: str) -> bool:
    """Whether the first seed alone has selected this row's rate."""
    return not all(run.is_done for run in searched(table, row, SEARCH_SEEDS))


def seeds_of(table: str, row: str) -> list[Run]:
    """A row's runs at its rate, one per seed; none while the search is unfinished."""
    rate = chosen_rate(table, row)
    return [Run(table, row, rate, seed) for seed in TABLES[table].seeds if rate]


def runs_of(table: str, row: str) -> list[Run]:
    """All runs that a row needs, as far as they are known."""
    return list(dict.fromkeys([*searched(table, row, SEARCH_SEEDS[:1]), *searched(table, row, SEARCH_SEEDS),
                               *seeds_of(table, row)]))


def reproduce(rows: list[tuple[str, str]], jobs: int) -> list[str]:
    """Run what is unfinished in these rows, `jobs` at a time, each on a GPU or on one core, because results depend on
    the number of threads. Returns what failed."""
    resources = [{"OMP_NUM_THREADS": "1"}]
    if gpus := torch.cuda.device_count():
        names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        resources = [{"CUDA_VISIBLE_DEVICES": name} for name in names.split(",")]
    environments: queue.Queue[dict[str, str]] = queue.Queue()
    for job in range(jobs):
        environments.put({**os.environ, **resources[job % len(resources)]})
    tables, failed = [*TABLES], {}

    def execute(run: Run) -> None:
        environment = environments.get()
        try:
            run.execute(environment)
        except (InputError, OSError) as error:
            failed[run] = describe_error(error)
        finally:
            environments.put(environment)

    with tqdm(desc="runs", unit="run") as bar, ThreadPoolExecutor(jobs) as pool:
        while True:
            runs = list(dict.fromkeys(run for table, row in rows for run in runs_of(table, row)))
            bar.total, bar.n = len(runs), sum(run.is_done for run in runs)
            bar.refresh()
            # One seed of every row before the next seed: a study that is stopped has comparable rows.
            left = sorted((run for run in runs if run not in failed and not run.is_done),
                          key=lambda run: (tables.index(run.table), run.seed))
            if not left:
                return [*failed.values()]
            for _ in pool.map(execute, left):
                bar.update()


@dataclass
class Difference:
    """The mean difference of a metric between two rows over common seeds, with its uncertainty.

    Student's t over the seeds covers the variation over seeds on these images, the percentiles of the bootstrap that
    over images with these seeds. The interval of both has the root of the sum of their squared half-lengths.

    Args:
        differences: (seeds,). drawn: (draws,), the mean over the seeds for each sample of the images.
        corrected: the p-value after Holm's correction in its table.
    """

    row: str
    reference: str
    metric: str
    differences: np.ndarray
    drawn: np.ndarray
    corrected: float | None = None

    @property
    def mean(self) -> float:
        return float(self.differences.mean())

    def half_lengths(self, error: float) -> tuple[float, float]:
        """Of the intervals over seeds and over images at this error (0.05 for 95 %)."""
        seeds = len(self.differences)
        low, high = np.percentile(self.drawn, [50 * error, 100 - 50 * error])
        deviation = self.differences.std(ddof=1) / seeds**0.5
        return scipy.stats.t.ppf(1 - error / 2, seeds - 1) * deviation, (high - low) / 2

    def intervals(self) -> list[tuple[float, float] | None]:
        """At 95 %: (low, high) of the seeds, of the images, of both; None for those that need two seeds."""
        of_images = tuple(np.percentile(self.drawn, [2.5, 97.5]))
        if len(self.differences) == 1:
            return [None, of_images, None]
        of_seeds, _ = halves = self.half_lengths(0.05)
        both = np.hypot(*halves)
        return [(self.mean - of_seeds, self.mean + of_seeds), of_images, (self.mean - both, self.mean + both)]

    def p_value(self) -> float | None:
        """The error at which the interval of both ends at zero; None with one seed."""
        if len(self.differences) == 1:
            return None

        def reach(error: float) -> float:
            return np.hypot(*self.half_lengths(error)) - abs(self.mean)

        smallest = 1e-12
        return 1.0 if self.mean == 0 else smallest if reach(smallest) < 0 else scipy.optimize.brentq(reach, smallest, 1)

    def cell(self) -> str:
        """In points: mean and interval of both, bold if significant, and the corrected p-value; with one seed, the
        interval of the images."""
        _, of_images, of_both = self.intervals()
        low, high = of_both or of_images
        text = f"{100 * self.mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
        if self.corrected is None:
            return text
        return f"{f'**{text}**' if self.corrected < 0.05 else text}, {self.corrected:.2g}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): the k-th smallest of n p-values times n - k + 1, and not below the one before it."""
    order = np.argsort(p_values)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return corrected.tolist()


def markdown(head: list[str], body: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


def metrics_of(runs: list[Run], file: str = "metrics.json") -> dict[str, list[float]]:
    """The METRICS that all of these runs have, a value per run."""
    reports = [run.report(file) for run in runs]
    return {title: [report[section][name] for report in reports] for title, (section, name) in METRICS.items()
            if all(section in report for report in reports)}


def finished(table: str) -> dict[str, list[Run]]:
    """Row -> its finished runs at its rate."""
    return {row: done for row in TABLES[table].rows if (done := [run for run in seeds_of(table, row) if run.is_done])}


def metrics_table(done: dict[str, list[Run]], file: str = "metrics.json") -> str:
    values = {row: metrics_of(runs, file) for row, runs in done.items()}
    columns = [title for title in METRICS if any(title in row for row in values.values())]
    return markdown(["row", "lr", "seeds", "epochs", *columns],
                    [[row, runs[0].rate + "*" * is_provisional(runs[0].table, row), str(len(runs)),
                      ", ".join(str(run.report()["epoch"]) for run in runs),
                      *(percent_cell(mean_and_deviation(values[row].get(column, []))) for column in columns)]
                     for row, runs in done.items()])


def differences(table: str) -> list[Difference]:
    """The COMPARISONS of rows with common seeds. The table of the ablations lacks the rows that they change: those are
    of the table that its rates are of, if that has the same data and budget."""
    done, found = finished(table), []
    here, there = TABLES[table], TABLES[TABLES[table].rates_of]
    is_alike = (here.data, here.budget) == (there.data, there.budget)
    references = (finished(here.rates_of) | done) if is_alike else done
    for row, reference in COMPARISONS:
        pairs = [(a, b) for a in done.get(row, ())
                 for b in (references if row in ABLATION_OF else done).get(reference, ()) if a.seed == b.seed]
        for metric in np.load(pairs[0][0].results / "bootstrap.npz") if pairs else ():
            drawn = np.mean([np.subtract(*(np.load(run.results / "bootstrap.npz")[metric] for run in pair))
                             for pair in pairs], axis=0)
            found.append(Difference(row, reference, metric, np.subtract(
                *(metrics_of(list(runs))[metric] for runs in zip(*pairs))), drawn))
    tested = [difference for difference in found if len(difference.differences) > 1]
    for difference, corrected in zip(tested, holm([difference.p_value() for difference in tested])):
        difference.corrected = corrected
    return found


def differences_table(found: list[Difference]) -> str:
    body: dict[tuple[str, str], dict[str, str]] = {}
    for difference in found:
        pair = f"{difference.row} - {difference.reference}", str(len(difference.differences))
        body.setdefault(pair, {})[difference.metric] = difference.cell()
    return markdown(["difference", "seeds", *next(iter(body.values()))],
                    [[*row, *cells.values()] for row, cells in body.items()])


def answer_table() -> str:
    """RESULTS.md's table: the differences in mAP (or accuracy) of the headline rows in each headline table."""
    columns = {title: {f"{difference.row} - {difference.reference}": difference.cell()
                       for difference in differences(table)
                       if difference.metric != "micro F1" and difference.row not in ABLATION_OF}
               for title, table in HEADLINE_TABLES.items()}
    columns = {title: cells for title, cells in columns.items() if cells}
    return markdown(["difference", *columns],
                    [[pair, *(cells.get(pair, "") for cells in columns.values())]
                     for pair in (f"{row} - {reference}" for row, reference in COMPARISONS)
                     if any(pair in cells for cells in columns.values())])


def headline_table() -> str:
    """The README's table: mAP and micro F1 (or accuracy) of the headline rows; in brackets, how many seeds are finished
    where some are not."""
    columns: dict[str, dict[str, str]] = {}
    for title, table in HEADLINE_TABLES.items():
        for row, runs in finished(table).items():
            metrics = metrics_of(runs) if row in HEADLINE else {}
            note = f" ({len(runs)})" * (len(runs) < len(TABLES[table].seeds))
            for name in ("accuracy",) if "accuracy" in metrics else ("mAP", "micro F1") if metrics else ():
                cell = percent_cell(mean_and_deviation(metrics[name])) + note
                columns.setdefault(f"{title}: {name}", {})[row] = cell
    return markdown(["row", *columns], [[row, *(cells.get(row, "") for cells in columns.values())] for row in HEADLINE])


def search_table(table: str) -> str:
    """The rows whose rate was searched in this table; empty without any."""
    tried = {row: [run for run in runs_of(table, row) if run.is_done and run.table == table and run.seed in SEARCH_SEEDS]
             for row in TABLES[table].rows
             if row == "ce" or TABLES[table].rates_of == table and row not in ABLATION_OF}
    tried = {row: runs for row, runs in tried.items() if runs}
    rates = [rate for rate in RATES if any(run.rate == rate for runs in tried.values() for run in runs)]
    return tried and markdown(["row", *rates], [
        [row, *(" / ".join(f"{100 * run.validation():.2f}" for run in runs if run.rate == rate) for rate in rates)]
        for row, runs in tried.items()]) or ""


def tables_text(table: str) -> str:
    """The content of <table>.md, empty if no run is finished."""
    done = finished(table)
    if not done:
        return ""
    text = "Test results in percent, mean ± standard deviation over seeds"
    if any(is_provisional(table, row) for row in done):
        text += "; * the rate that the first seed selected, as the search of the second is unfinished"
    text += f".\n\n{metrics_table(done)}"
    with_views = {row: [run for run in runs if (run.results / ALL_VIEWS).exists()] for row, runs in done.items()}
    if views := {row: runs for row, runs in with_views.items() if runs}:
        text += ("\nThe same with scores averaged over the eight views of an image:\n\n"
                 f"{metrics_table(views, ALL_VIEWS)}")
    if found := differences(table):
        text += ("\nPaired differences in points, with 95 % intervals over seeds and test images and the p-value after "
                 "Holm's correction\nin this table, bold if that is below 0.05; with one seed, the interval over the "
                 f"images alone. (All intervals are in\n`{table}_differences.csv`.)\n\n{differences_table(found)}")
    if tried := search_table(table):
        text += ("\nLearning-rate search: highest validation micro F1 (or accuracy) of "
                 f"{' / '.join(f'seed {seed}' for seed in SEARCH_SEEDS)}.\n\n{tried}")
    return text


def write_tables(table: str) -> None:
    """Write the table's files from the finished runs."""
    done = finished(table)
    if not done:
        return
    text = tables_text(table)
    write_text(RESULTS / f"{table}.md", text)
    metrics = {row: metrics_of(runs) for row, runs in done.items()}
    columns = [title for title in METRICS if any(title in values for values in metrics.values())]
    write_csv(RESULTS / f"{table}.csv", [["row", "lr", "seed", "epoch", *columns],
                                         *([row, run.rate, run.seed, run.report()["epoch"],
                                            *(f"{metrics[row][column][index]:.6f}" if column in metrics[row] else ""
                                              for column in columns)]
                                           for row, runs in done.items() for index, run in enumerate(runs))])
    write_csv(RESULTS / f"{table}_differences.csv", [
        ["row", "reference", "metric", "seeds", "mean",
         *(f"{end} of {what}" for what in ("seeds", "images", "both") for end in ("low", "high")), "p", "p, Holm"],
        *([difference.row, difference.reference, difference.metric, len(difference.differences),
           *(f"{value:.6f}" if value is not None else "" for value in (
               difference.mean, *(end for interval in difference.intervals() for end in interval or (None, None)),
               difference.p_value(), difference.corrected))] for difference in differences(table))])
    save_figure(draw_comparison({row: [run.results / "log.csv" for run in runs] for row, runs in done.items()}),
                RESULTS / table)
    print(f"{RESULTS / table}.md\n\n{text}")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TABLE[/ROW]", help="what to run (default: only write the tables)")
    parser.add_argument("--list", action="store_true", help="list every row and how many of its runs are finished")
    parser.add_argument("--jobs", type=number(int, 1), default=1, metavar="N",
                        help="runs at a time: at most the number of GPUs, or else cores")
    options = parser.parse_args(argv)
    every = [(table, row) for table in TABLES for row in TABLES[table].rows]
    for run in dict.fromkeys(run for table, row in every for run in runs_of(table, row) if run.is_done):
        run.check()
    if options.list:
        for table, row in every:
            runs = [run for run in runs_of(table, row) if run.table == table]
            print(f"{table}/{row}: {sum(run.is_done for run in runs)} of "
                  f"{len(runs) if chosen_rate(table, row) else '?'} runs    {ROWS[row]}")
        return
    unknown = [name for name in options.names if name not in TABLES and tuple(name.split("/")) not in every]
    if unknown:
        raise InputError(f"no row or table is called {', '.join(unknown)}: see --list")
    failed = reproduce([(table, row) for table, row in every if {table, f"{table}/{row}"} & {*options.names}],
                       options.jobs)
    for table in TABLES:
        write_tables(table)
    print(headline_table())
    if failed:
        raise InputError("; ".join(failed))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_the_children)
    exit_cleanly(main)
