"""Tables, lists, splits, layouts and decoding: right answers on the distributors' formats, one sentence on bad ones."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import NAMES, let_go, random_labels, write_image, write_table
from dataset import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageDataset,
    Normalize,
    RandomFlipsAndRotation,
    ShuffledImages,
    build_loader,
    eval_transform,
    load_data,
    load_image,
    train_transform,
)
from dataset.augment import flip_and_rotate
from dataset.image_list import read_image_list, write_image_list
from dataset.label_table import read_label_table
from dataset.splits import stratified_holdout
from utils.errors import InputError

CPU = torch.device("cpu")
HEADER = "IMAGE\\LABEL,sea,sand\n"


# Label tables

@pytest.mark.parametrize("delimiter, newline", [("\t", "\r\n"), (",", "\n"), (",", "\r\n"), ("\t", "\n")])
def test_table_formats_are_told_apart_by_content(tmp_path, delimiter, newline):
    labels = random_labels(5)
    keys = ["a00", "b.with.dots", "c with space", "d,comma" if delimiter == "\t" else "d", "é"]
    write_table(tmp_path / "labels.txt", keys, labels, delimiter, newline)
    table = read_label_table(tmp_path / "labels.txt")
    assert table.names == NAMES and list(table.rows) == keys
    np.testing.assert_array_equal(np.stack(list(table.rows.values())), labels)


def test_table_with_byte_order_mark_quotes_and_blank_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffIMAGE,"sea, open",sand\n\n"a", 1 ,0\n\n'.encode())
    table = read_label_table(tmp_path / "t.csv")
    assert table.names == ["sea, open", "sand"] and table.rows["a"].tolist() == [1, 0]


@pytest.mark.parametrize("content, sentence", [
    ("", "is empty"), ("\n\n", "is empty"), (HEADER, "is empty"),
    (HEADER + "a,1\n", r"line 2 \('a'\): 1 label cells, but the header names 2"),
    (HEADER + "a,1,0\nb,1,0,1\n", r"line 3 \('b'\): 3 label cells"),
    (HEADER + "a,1,2\n", "must be 0 or 1, not '2'"), (HEADER + "a,1,\n", "must be 0 or 1, not ''"),
    (HEADER + "a,1,yes\n", "not 'yes'"), (HEADER + "a,1,0\nb,0,0\na,1,0\n", r"line 4 \('a'\).*row above already"),
    ("IMAGE,sea,sea\na,1,0\n", "distinct label names"), ("IMAGE,,sea\na,1,0\n", "distinct label names"),
    ("IMAGE\na\n", "distinct label names"), ("IMAGE,sea,Sea\na,1,0\n", "distinct label names"),
    ("IMAGE;sea;sand\na;1;0\n", "tabs or commas"),
    ("a,1,0\nb,0,1\n", r"0/1: \['0', '1'\]"), (HEADER + "a" * 200_000 + ",1,0\n", "field larger"),
])
def test_bad_tables(tmp_path, content, sentence):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=sentence) as error:
        read_label_table(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(error.value)


def test_missing_and_binary_table(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_label_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="UTF-8"):
        read_label_table(tmp_path / "t.csv")


# List files

def test_lists_with_spaces_dots_and_without_class(tmp_path):
    names = ["a b/c d.jpg", "x.y.z.TIF", "my.jpg folder/e.jpg", "f.png"]
    for seed, name in enumerate(names):
        write_image(tmp_path / "root" / name, seed)
    (tmp_path / "l.txt").write_text("a b/c d.jpg scene one\r\nx.y.z.TIF\n\nmy.jpg folder/e.jpg\tfield\nf.png  \n")
    images, classes = read_image_list(tmp_path / "l.txt", [tmp_path / "root"])
    assert images == [tmp_path / "root" / name for name in names]
    assert [classes[image] for image in images] == ["scene one", "root", "field", "root"]


def test_lists_are_looked_up_below_the_root_then_beside_the_list_then_here(tmp_path, monkeypatch):
    for seed, place in enumerate(("root", "lists", "here")):
        for name in ("a.png", "b.png", "c.png")[: seed + 1]:
            write_image(tmp_path / place / name, seed)
    (tmp_path / "lists" / "l.txt").write_text("a.png\nb.png\nc.png\n")
    monkeypatch.chdir(tmp_path / "here")
    found, _ = read_image_list(tmp_path / "lists" / "l.txt", [tmp_path / "root"])
    assert [path.resolve().parent.name for path in found] == ["root", "lists", "here"]


def test_written_list_is_read_again(tmp_path):
    images = [tmp_path / "root" / "sub dir" / "a.b.jpg", tmp_path / "elsewhere" / "c.png"]
    for seed, path in enumerate(images):
        write_image(path, seed)
    write_image_list(tmp_path / "l.txt", images, tmp_path / "root")
    assert (tmp_path / "l.txt").read_text().splitlines()[0] == "sub dir/a.b.jpg sub dir"
    assert read_image_list(tmp_path / "l.txt", [tmp_path / "root"])[0] == images


@pytest.mark.parametrize("content, sentence", [("", "is empty"), ("a.doc x\n", "line 1: 'a.doc x' names no image"),
                                               ("\nb.jpg x\n", "line 2: there is no image b.jpg")])
def test_bad_lists(tmp_path, content, sentence):
    (tmp_path / "l.txt").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_image_list(tmp_path / "l.txt", [tmp_path])


# Splits

@pytest.mark.parametrize("seed", range(5))
def test_holdout_has_every_label_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((400, 17)) < np.geomspace(0.004, 0.9, 17)).astype(np.uint8)
    labels[:2, 0] = 1  # at least two of the rarest
    held_out = stratified_holdout(labels, 0.1, seed)
    held, totals = labels[held_out].sum(0), labels.sum(0)
    several = totals > 1
    assert (held[several] >= 1).all() and (held < totals)[several].all() and not held[totals == 1].any()
    assert abs(held_out.sum() - 40) <= 4
    common = totals > 40
    np.testing.assert_allclose(held[common] / totals[common], 0.1, atol=0.05)


def test_a_labels_last_image_stays_in_training():
    """Though half of few images are held out, and other labels want more of them."""
    for seed in range(200):
        labels = (np.random.default_rng(seed).random((8, 5)) < 0.3).astype(np.uint8)
        assert labels[~stratified_holdout(labels, 0.5, seed)].any(0).tolist() == labels.any(0).tolist()


def test_holdout_depends_on_the_seed_alone():
    labels = random_labels(100)
    a, b, c = (stratified_holdout(labels, 0.1, seed) for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_ucm_split(ucm):
    data = load_data("UCM_Multilabel", ucm)
    train, val, test = (data.splits[part] for part in ("train", "val", "test"))
    assert data.label_names == NAMES
    assert sorted(path.stem[-2:] for path in test.images) == ["80"] * 3 + ["99"] * 3
    assert len(train.images) + len(val.images) == 24 and len(val.images) >= 2
    assert not set(train.images) & set(val.images)
    table = read_label_table(ucm / "UCM_Multilabel" / "multilabels" / "LandUse_Multilabeled.txt")
    for split in (train, val, test):
        np.testing.assert_array_equal(split.labels, [table.rows[path.stem] for path in split.images])


def test_aid_split_is_the_official_one(aid):
    for spelling in ("AID_Multilabel", "AID_Multilable"):
        data = load_data(spelling, aid)
        assert all("images_test" in path.parts for path in data.splits["test"].images)
        assert len(data.splits["test"].images) == 6
        assert len(data.splits["train"].images) + len(data.splits["val"].images) == 20


def test_written_split_gives_the_same_data(ucm, tmp_path):
    data = load_data("UCM_Multilabel", ucm, seed=7)
    data.write_lists(tmp_path)
    again = load_data("UCM_Multilabel", ucm, {part: tmp_path / f"{part}.txt" for part in data.splits})
    for part, split in data.splits.items():
        assert [path.resolve() for path in split.images] == [path.resolve() for path in again.splits[part].images]
        np.testing.assert_array_equal(split.labels, again.splits[part].labels)


def test_own_lists_and_table(tmp_path):
    keys = [f"x.{i}" for i in range(12)]
    for seed, key in enumerate(keys):
        write_image(tmp_path / "my images" / f"{key}.png", seed)
    write_table(tmp_path / "my.csv", keys, random_labels(12))
    (tmp_path / "train.txt").write_text("".join(f"my images/{key}.png\n" for key in keys[:10]))
    data = load_data("UCM_Multilabel", tmp_path / "nowhere", {"train": tmp_path / "train.txt"}, tmp_path / "my.csv")
    assert set(data.splits) == {"train", "val"}  # no test set is invented
    assert sorted(p.stem for s in data.splits.values() for p in s.images) == sorted(keys[:10])


def test_missing_pieces_are_named(ucm, aid, tmp_path):
    root = ucm / "UCM_Multilabel"
    with pytest.raises(InputError, match="unknown data set 'UC'"):
        load_data("UC", ucm)
    with pytest.raises(InputError, match="no folder UCMerced_LandUse/Images in .*download: .*ucmerced"):
        load_data("UCM_Multilabel", tmp_path / "nowhere")
    extra = root / "UCMerced_LandUse" / "Images" / "river" / "river98.tif"
    write_image(extra, 0)
    with pytest.raises(InputError, match="no row for 1 image .*river98.tif"):
        load_data("UCM_Multilabel", ucm)
    extra = extra.rename(extra.with_name("river.tif"))
    with pytest.raises(InputError, match="river.tif does not end with its two-digit number"):
        load_data("UCM_Multilabel", ucm)
    extra.unlink()
    (root / "UCMerced_LandUse" / "Images" / "river" / "river00.tif").unlink()
    with pytest.raises(InputError, match=r"no image below .* for 1 row \(river00\)"):
        load_data("UCM_Multilabel", ucm)
    (root / "multilabels" / "LandUse_Multilabeled.txt").unlink()
    with pytest.raises(InputError, match="no table multilabels/LandUse_Multilabeled.txt"):
        load_data("UCM_Multilabel", ucm)
    (aid / "AID_Multilabel" / "images_test").rename(aid / "AID_Multilabel" / "elsewhere")
    with pytest.raises(InputError, match="no folder images_tr and images_test"):
        load_data("AID_Multilabel", aid)


def test_hidden_files_and_folders_are_passed_over(ucm):
    images = ucm / "UCM_Multilabel" / "UCMerced_LandUse" / "Images"
    for hidden in ("river/._river00.tif", "river/.ipynb_checkpoints/river00-checkpoint.tif"):
        write_image(images / hidden, 0)
    (images / "river" / "Thumbs.db").write_text("")
    assert sum(len(split.images) for split in load_data("UCM_Multilabel", ucm).splits.values()) == 30


def test_overlapping_lists_are_warned_of(ucm, tmp_path, capsys):
    images = [path.as_posix() for path in sorted(ucm.rglob("*.tif"))]
    for part, chosen in (("train", images[:20]), ("val", images[20:25]), ("test", images[17:])):
        (tmp_path / f"{part}.txt").write_text("\n".join(chosen))
    load_data("UCM_Multilabel", ucm, {part: tmp_path / f"{part}.txt" for part in ("train", "val", "test")})
    warnings = capsys.readouterr().err
    assert "3 images are both in the train and in the test list" in warnings
    assert "5 images are both in the val and in the test list" in warnings
    assert "the train and in the val" not in warnings


def test_repeated_lines_of_a_list_count_once(ucm, tmp_path, capsys):
    images = [path.as_posix() for path in sorted(ucm.rglob("*.tif"))]
    (tmp_path / "train.txt").write_text("\n".join(images[:20] + images[:20]))
    data = load_data("UCM_Multilabel", ucm, {"train": tmp_path / "train.txt"})
    assert sorted(path.as_posix() for split in data.splits.values() for path in split.images) == images[:20]
    assert "names 20 images" in capsys.readouterr().err


def test_two_images_of_one_name(ucm):
    folder = ucm / "UCM_Multilabel" / "UCMerced_LandUse" / "Images"
    write_image(folder / "other" / "river00.tif", 99)
    with pytest.raises(InputError, match="have the same name"):
        load_data("UCM_Multilabel", ucm)


# Images

def save_as(mode, path):
    gray = np.linspace(0, 255, 20 * 30).reshape(20, 30)
    if mode == "I;16":
        Image.fromarray((gray * 257).astype(np.uint16)).save(path)
    else:
        image = Image.fromarray(gray.astype(np.uint8)).convert("RGBA" if mode == "P+alpha" else mode.split("+")[0])
        image.quantize(256).save(path) if mode == "P+alpha" else image.save(path)


@pytest.mark.parametrize("mode, suffix", [("L", "png"), ("P", "png"), ("RGBA", "png"), ("LA", "png"), ("I;16", "png"),
                                          ("I;16", "tif"), ("1", "png"), ("CMYK", "jpg"), ("RGB", "bmp"),
                                          ("P+alpha", "png")])
def test_every_mode_becomes_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    save_as(mode, path)
    image = load_image(path)
    assert image.mode == "RGB" and image.size == (30, 20)
    pixels = np.asarray(image).astype(int)
    assert pixels[0, 0].max() <= 25 and pixels[-1, -1].min() >= 230  # dark to light, nothing clipped
    if mode not in ("1", "CMYK", "P+alpha"):
        np.testing.assert_allclose(pixels[..., 0], np.linspace(0, 255, 600).reshape(20, 30), atol=6)


def test_undecodable_images(tmp_path):
    write_image(tmp_path / "a.png", 0)
    whole = (tmp_path / "a.png").read_bytes()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    for content in (whole[: len(whole) // 2], b"", b"not an image"):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(InputError, match="b.png cannot be decoded"):
            load_image(tmp_path / "b.png")
    with pytest.raises(InputError, match="does not exist"):
        load_image(tmp_path / "c.png")
    with pytest.raises(InputError, match="floating-point"):
        load_image(tmp_path / "f.tif")
    for brightest in (255, 4095):  # 8 or 12 bits in a 16-bit file would come out black
        Image.fromarray(np.full((4, 4), brightest, np.uint16)).save(tmp_path / "dark.tif")
        with pytest.raises(InputError, match=f"dark.tif has values up to {brightest}"):
            load_image(tmp_path / "dark.tif")


@pytest.mark.parametrize("brightest", [4000, 65535])
def test_colour_images_of_16_bits(tmp_path, brightest):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.full(15, brightest, ">u2").tobytes() for _ in range(4))  # Pillow cannot write these
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    if brightest < 4096:
        with pytest.raises(InputError, match="a.png uses 12 of its 16 bits"):
            load_image(tmp_path / "a.png")
    else:
        assert load_image(tmp_path / "a.png").getextrema() == ((255, 255),) * 3


def test_transforms():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(100, 256, (242, 257, 3), dtype=np.uint8))
    plain = eval_transform(64)(image)
    assert plain.shape == (64, 64, 3) and plain.dtype == torch.uint8
    np.testing.assert_array_equal(plain, np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)))
    np.testing.assert_array_equal(train_transform(64)(image), plain)  # the rest is done per batch


@pytest.mark.parametrize("height, width", [(64, 64), (65, 65), (224, 224), (33, 70), (1, 1), (2, 5)])
def test_flips_and_rotation_are_pillows_to_the_last_pixel(height, width):
    rng = np.random.default_rng(height)
    angles = np.array([0, 90, -90, 45, -45, 30, -30, 60, 1e-9, 89.999999, *rng.uniform(-90, 90, 30)])
    images = rng.integers(0, 256, (len(angles), height, width, 3), dtype=np.uint8)
    flips = rng.random((2, len(angles))) < 0.5
    assert flips.any(1).all() and not flips.all(1).any()
    ours = flip_and_rotate(torch.from_numpy(images), *torch.from_numpy(flips), torch.from_numpy(angles))
    for image, angle, left_right, up_down, own in zip(images, angles, *flips, ours):
        pillow = Image.fromarray(image)
        pillow = pillow.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if left_right else pillow
        pillow = pillow.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if up_down else pillow
        np.testing.assert_array_equal(own, np.asarray(pillow.rotate(angle, Image.Resampling.NEAREST)))


def test_draws_of_flips_and_rotation(monkeypatch):
    """p 0.5 each, independent, and angles uniform in [-90, 90]; one draw per image, from the host's generator."""
    drawn = {}
    monkeypatch.setattr("dataset.augment.flip_and_rotate", lambda images, *draws: drawn.update(draws=draws))
    torch.manual_seed(0)
    RandomFlipsAndRotation(0)(torch.zeros(4000, 1, 1, 3))
    left_right, up_down, degrees = drawn["draws"]
    assert all(abs(flips.double().mean() - 0.5) < 0.03 for flips in (left_right, up_down, left_right == up_down))
    histogram = torch.histc(degrees, 6, -90, 90)
    assert histogram.sum() == 4000 and ((histogram - 4000 / 6).abs() < 100).all()
    assert abs(degrees[left_right].mean()) < 5 and abs(degrees[up_down].mean()) < 5


def test_augmented_images_are_whole_and_turned():
    images = torch.full((40, 64, 64, 3), 200, dtype=torch.uint8)
    torch.manual_seed(0)
    seen = RandomFlipsAndRotation()(images)
    assert seen.shape == images.shape and seen.dtype == torch.uint8
    assert (seen[:, 0, 0].sum(1) == 0).sum() > 20 and (seen[:, 32, 32] == 200).all()  # black corners
    assert len({image.sum().item() for image in seen}) > 20  # each by its own angle


def test_normalize():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 2, 4, 3)
    out = Normalize((0.5, 0.4, 0.0), (0.5, 0.2, 1.0))(images)
    assert out.shape == (2, 3, 2, 4) and out.is_contiguous(memory_format=torch.channels_last)
    expected = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 3.0, 1.0]])[..., None, None].expand(out.shape)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    ramp = torch.randint(256, (2, 5, 7, 3), dtype=torch.uint8)
    expected = (ramp.permute(0, 3, 1, 2).double() / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(
        IMAGENET_STD).view(3, 1, 1)
    torch.testing.assert_close(Normalize()(ramp).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_uses_the_last_partial_batch_and_names_a_broken_image(ucm, workers):
    split = load_data("UCM_Multilabel", ucm).splits["test"]
    loader = build_loader(ImageDataset(split, eval_transform(64)), 4, workers, CPU)
    batches = list(loader)
    assert [images.shape for images, _ in batches] == [(4, 64, 64, 3), (2, 64, 64, 3)]
    assert batches[0][0].dtype == torch.uint8
    np.testing.assert_array_equal(torch.cat([labels for _, labels in batches]), split.labels)
    split.images[-1].write_bytes(b"broken")
    with pytest.raises(InputError) as error:
        list(loader)
    assert str(error.value).startswith(f"image {split.images[-1]} cannot be decoded") and "\n" not in str(error.value)
    del loader
    let_go(error.value)


def test_order_and_augmentation_depend_on_the_seed_alone(ucm):
    split = load_data("UCM_Multilabel", ucm).splits["train"]

    def one_epoch(seed, workers=0, augment=lambda images: images):
        torch.manual_seed(seed)
        loader = build_loader(ImageDataset(split, train_transform(64)), 8, workers, CPU, True, seed)
        return torch.cat([augment(images) for images, _ in loader])

    assert (one_epoch(1) == one_epoch(1, workers=2)).all() and (one_epoch(1) != one_epoch(2)).any()
    augmented = one_epoch(1, augment=RandomFlipsAndRotation(1))
    assert (augmented == one_epoch(1, 2, RandomFlipsAndRotation(1))).all()
    assert (augmented != one_epoch(1, augment=RandomFlipsAndRotation(2))).any()


def test_the_order_and_the_seeds_of_the_images_can_be_taken_up_again():
    """That of a later pass, and of a pass of which a part is done."""
    images = ShuffledImages(range(20), 3)
    list(images)
    state, second, third = images.get_state(), list(images), list(images)
    assert sorted(index for index, _ in second) == list(range(20)) and len({seed for _, seed in second}) == 20
    assert {index for index, _ in second[:5]} != {index for index, _ in third[:5]} and not set(second) & set(third)
    again = ShuffledImages(range(20), 3)
    again.set_state(state)
    again.start = 8
    assert list(again) == second[8:] and again.order == [index for index, _ in second]
    again.start = 0
    assert list(again) == third
