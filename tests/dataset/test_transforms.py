"""Decoding, resizing and normalising images."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import write_image
from dataset import IMAGENET_MEAN, IMAGENET_STD, Normalize, eval_transform, load_image, train_transform
from utils.errors import InputError


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
