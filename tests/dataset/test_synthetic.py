"""The synthetic data set: repeatable, in the UCM layout, and with labels that are true of the images."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dataset import load_data, synthetic
from dataset.synthetic import LABELS, SCENES, __main__, draw_scene, scenes, things, write_synthetic
from dataset.synthetic.canvas import Canvas, circle

PER_KIND = 12
ID = {name: index for index, name in enumerate(LABELS)}


def rng(*seed):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def labels():
    """(kinds, PER_KIND, 17) labels of a small sample of every kind, in small."""
    return np.array([[draw_scene(kind, rng(3050, index, number), 96)[1] for number in range(PER_KIND)]
                     for index, kind in enumerate(SCENES)])


def digest(root):
    """Names and contents of all files under root."""
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(root.rglob("*")) if file.is_file()}


def test_the_labels_are_those_of_ucm_in_order():
    assert LABELS == ("airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field",
                      "grass", "mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water")


@pytest.mark.parametrize("kind", SCENES)
def test_a_scene_repeats_with_its_seed_and_changes_with_another(kind):
    assert kind.isalpha() and kind.islower()
    (first, labels), (repeated, repeated_labels), (different, _) = (draw_scene(kind, rng(seed)) for seed in (1, 1, 2))
    assert first.mode == "RGB" and first.size == (256, 256)
    assert labels.shape == (17,) and labels.dtype == np.uint8 and set(labels) <= {0, 1}
    assert first.tobytes() == repeated.tobytes() and (labels == repeated_labels).all()
    assert first.tobytes() != different.tobytes()


def test_a_scene_has_the_size_that_is_asked_for():
    assert draw_scene("beach", rng(1), 96)[0].size == (96, 96)
    with pytest.raises(KeyError):
        draw_scene("moon", rng(1))


def test_the_layout_and_the_table_are_those_of_ucm(tmp_path):
    root = tmp_path / "Synthetic_Multilabel"
    left = tmp_path / "Synthetic_Multilabel.0.partial"  # by a process that was killed hours ago
    (left / "UCMerced_LandUse").mkdir(parents=True)
    os.utime(left, (0, 0))
    write_synthetic(root, images_per_scene=5)
    assert [path.name for path in tmp_path.iterdir()] == ["Synthetic_Multilabel"]
    text = (root / "multilabels" / "LandUse_Multilabeled.txt").read_bytes().decode()
    assert text.endswith("\r\n") and text.count("\r\n") == text.count("\n") == 1 + 5 * len(SCENES)
    header, *rows = (line.split("\t") for line in text.split("\r\n")[:-1])
    assert header == ["IMAGE\\LABEL", *LABELS]
    stems = [f"{kind}{number}" for kind in SCENES for number in ("00", "20", "40", "60", "80")]
    assert [row[0] for row in rows] == stems
    assert all(len(row) == 18 and set(row[1:]) <= {"0", "1"} for row in rows)
    images = root / "UCMerced_LandUse" / "Images"
    assert sorted(file.relative_to(images).as_posix() for file in images.rglob("*.*")) \
        == sorted(f"{stem[:-2]}/{stem}.jpg" for stem in stems)
    _, expected = draw_scene("airport", np.random.default_rng([3050, list(SCENES).index("airport"), 20]))
    assert rows[stems.index("airport20")][1:] == [str(value) for value in expected]


def test_the_whole_set_repeats_with_its_seed_and_changes_with_another(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, images_per_scene=1, seed=seed)
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b and a.keys() == c.keys() and not set(a.values()) & set(c.values())


@pytest.mark.parametrize("count, below, above", [(80, 64, 16), (100, 80, 20), (10, 8, 2)])
def test_a_fifth_of_the_numbers_is_for_testing(tmp_path, monkeypatch, count, below, above):
    blank = Image.new("RGB", (8, 8)), np.zeros(17, np.uint8)
    monkeypatch.setattr(synthetic, "draw_scene", lambda kind, rng: blank)
    write_synthetic(tmp_path / "set", images_per_scene=count)
    for kind in SCENES:
        numbers = [int(file.stem[-2:]) for file in (tmp_path / "set").rglob(f"{kind}*.jpg")]
        assert len(set(numbers)) == count
        assert (sum(n < 80 for n in numbers), sum(n >= 80 for n in numbers)) == (below, above)
    shutil.rmtree(tmp_path / "set")


def test_the_first_of_two_drawings_is_used(tmp_path, monkeypatch):
    """Another process starts later, and finishes earlier."""
    root, real, calls = tmp_path / "set", draw_scene, []

    def draw(kind, rng):
        calls.append(kind)
        if len(calls) == 2:
            write_synthetic(root, images_per_scene=1, seed=2)
        return real(kind, rng)

    monkeypatch.setattr(synthetic, "draw_scene", draw)
    write_synthetic(root, images_per_scene=1, seed=1)
    monkeypatch.setattr(synthetic, "draw_scene", real)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    write_synthetic(tmp_path / "expected", images_per_scene=1, seed=2)
    assert digest(root) == digest(tmp_path / "expected")


def test_a_drawing_that_another_process_finished_meanwhile_is_used(tmp_path, monkeypatch):
    def write(root):
        write_synthetic(root, images_per_scene=5)
        write_synthetic(root)

    monkeypatch.setattr(synthetic, "write_synthetic", write)
    assert len(load_data("Synthetic_Multilabel", tmp_path).all_images().images) == 5 * len(SCENES)


def test_an_interrupted_write_leaves_no_set(tmp_path, monkeypatch):
    real, calls = draw_scene, []

    def failing(kind, rng):
        calls.append(kind)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return real(kind, rng)

    monkeypatch.setattr(synthetic, "draw_scene", failing)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "set", images_per_scene=1)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(synthetic, "draw_scene", real)
    write_synthetic(tmp_path / "set", images_per_scene=1)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_wrong_arguments_are_refused(tmp_path, capsys):
    for count in (0, 101):
        with pytest.raises(ValueError, match="1..100"):
            write_synthetic(tmp_path / "set", images_per_scene=count)
    (tmp_path / "Synthetic_Multilabel").mkdir()
    with pytest.raises(FileExistsError):
        write_synthetic(tmp_path / "Synthetic_Multilabel")
    (tmp_path / "file").touch()
    for arguments, message in (([], "--data_root"), (["--data_root", str(tmp_path)], "exists already"),
                               (["--data_root", str(tmp_path / "file")], "Not a directory"),
                               (["--data_root", str(tmp_path / "new"), "--images_per_scene", "101"], "at most 100"),
                               (["--contact_sheet", str(tmp_path / "sheet.txt")], "suffix"),
                               (["--contact_sheet", str(tmp_path / "sheet.psd")], "suffix"),
                               (["--seed", "x"], "--seed")):
        with pytest.raises(SystemExit) as stop:
            __main__.main(arguments)
        assert stop.value.code == 2 and message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Synthetic_Multilabel", "file"]


def test_an_unwritable_folder_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_synthetic(tmp_path / "file" / "set", images_per_scene=1)


def test_the_contact_sheet_shows_all_scenes_in_the_format_of_its_suffix(tmp_path, monkeypatch):
    red = Image.new("RGB", (256, 256), "red"), np.ones(17, np.uint8)
    monkeypatch.setattr(__main__, "draw_scene", lambda kind, rng, size: red)
    for name, form in (("sheet.jpg", "JPEG"), ("sheet.png", "PNG")):
        __main__.main(["--contact_sheet", str(tmp_path / "new" / name)])
        with Image.open(tmp_path / "new" / name) as sheet:
            assert sheet.format == form
            pixels = np.asarray(sheet.convert("RGB")).astype(int)
        reds = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
        assert abs(reds.sum() / 256 ** 2 - 24) < .3 and (pixels.max(2) < 60).sum() > 24 * 200       # the captions


def test_every_label_is_neither_rare_nor_everywhere(labels):
    share = labels.mean((0, 1))
    assert share.min() >= .06, dict(zip(LABELS, share.round(3)))
    assert share.max() <= .85, dict(zip(LABELS, share.round(3)))
    per_image = labels.sum(2)
    assert per_image.min() >= 1 and per_image.max() <= 8 and 3 <= per_image.mean() <= 4.5


def test_the_kind_does_not_settle_the_labels(labels):
    for kind, sample in zip(SCENES, labels):
        assert len(np.unique(sample, axis=0)) >= 2, kind


def test_things_are_where_they_belong(labels):
    """Ships, docks: water or sea in the image; cars, aircraft: pavement."""
    present = labels.reshape(-1, 17).astype(bool).T
    wet, paved = present[ID["water"]] | present[ID["sea"]], present[ID["pavement"]]
    assert wet[present[ID["ship"]]].all() and wet[present[ID["dock"]]].all()
    assert paved[present[ID["cars"]]].all() and paved[present[ID["airplane"]]].all()
    assert not (present[ID["sea"]] & present[ID["field"]]).any()


@pytest.mark.parametrize("label, thing, kind", [
    ("ship", "boat", "harbor"), ("cars", "car", "parkinglot"), ("airplane", "airplane", "airport"),
    ("tanks", "tank", "storagetanks"), ("mobile-home", "mobile_home", "mobilehomepark"),
    ("court", "court", "tenniscourt"), ("trees", "trees", "forest"), ("chaparral", "shrubs", "chaparral"),
    ("field", "parcel", "farmland"), ("buildings", "building", "residential")])
def test_without_the_thing_there_is_no_label(label, thing, kind, monkeypatch):
    before = [draw_scene(kind, rng(7, number))[1][ID[label]] for number in range(3)]
    for module in (things, scenes):
        if hasattr(module, thing):
            monkeypatch.setattr(module, thing, lambda *args, **kwargs: None)
    after = [draw_scene(kind, rng(7, number))[1][ID[label]] for number in range(3)]
    assert any(before) and not any(after)


def test_what_is_painted_over_is_not_labelled():
    canvas = Canvas(rng(1), 256)
    canvas.fill("pavement")
    things.car(canvas, (0, 0), 0.)
    assert canvas.finish()[1][ID["cars"]] == 1
    canvas.slab((0, 0), 30, 30, "pavement")
    assert canvas.finish()[1][ID["cars"]] == 0


def test_shadows_point_away_from_the_sun_and_colour_no_label():
    canvas = Canvas(rng(3), 256)
    canvas.fill("pavement")
    canvas.away = np.array([1., 0.])
    canvas.cast(circle(20), 30)
    image = np.asarray(canvas.image).mean(2)
    x, y = canvas.origin.astype(int)
    distance = int((20 + 30 * canvas.shadow * .8) * canvas.scale)
    assert image[y, x + distance] < .8 * image[y, x - distance]
    assert (np.asarray(canvas.labels) == ID["pavement"]).all()
