"""Decoding, resizing and normalising images."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from conftest import write_image
from dataset import IMAGENET_MEAN, IMAGENET_STD, Normalize, eval_transform, load_image, train_transform
from dataset.transforms import UnreadableImage, read_size


def save_as(mode, path):
    gray = np.linspace(0, 255, 20 * 30).reshape(20, 30)
    image = Image.fromarray(gray.astype(np.uint8)).convert("RGBA" if mode == "P+alpha" else mode.split("+")[0])
    image.quantize(256).save(path) if mode == "P+alpha" else image.save(path)


@pytest.mark.parametrize("mode, suffix", [("L", "png"), ("P", "png"), ("RGBA", "png"), ("LA", "png"), ("1", "png"),
                                          ("CMYK", "jpg"), ("RGB", "bmp"), ("P+alpha", "png"), ("L", "tif"),
                                          ("P", "tif"), ("LA", "tif"), ("RGBA", "tif"), ("CMYK", "tif"),
                                          ("YCbCr", "tif"), ("1", "tif")])
def test_every_mode_becomes_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    save_as(mode, path)
    image = load_image(path)
    assert image.mode == "RGB" and image.size == (30, 20) == read_size(path)
    pixels = np.asarray(image).astype(int)
    assert pixels[0, 0].max() <= 25 and pixels[-1, -1].min() >= 230  # dark to light, nothing clipped
    if mode not in ("1", "CMYK", "P+alpha"):
        np.testing.assert_allclose(pixels[..., 0], np.linspace(0, 255, 600).reshape(20, 30), atol=6)


def test_undecodable_images(tmp_path):
    write_image(tmp_path / "a.png", 0)
    whole = (tmp_path / "a.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not an image", b"II*\0garbage", b"MM\0+\0"):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(UnreadableImage, match="b.png cannot be decoded"):
            load_image(tmp_path / "b.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnreadableImage, match="folder.png cannot be read .Is a directory"):
        load_image(tmp_path / "folder.png")
    with pytest.raises(UnreadableImage, match="does not exist"):
        load_image(tmp_path / "c.png")


def write_tiff(path, pixels, planar=False, extra=(), **tags_by_number):
    """A TIFF of (H, W, bands) pixels of any type, of which Pillow's `save` knows few."""
    height, width, bands = pixels.shape
    parts = bands if planar else 1
    tags = ImageFileDirectory_v2()
    values = {256: width, 257: height, 258: (8 * pixels.itemsize,) * bands, 259: 1, 262: 2 if bands > 2 else 1,
              277: bands, 278: height, 279: (pixels.nbytes // parts,) * parts, 284: 1 + planar, 338: extra,
              273: tuple(part * pixels.nbytes // parts for part in range(parts)),
              339: ({"u": 1, "i": 2, "f": 3, "c": 6}[pixels.dtype.kind],) * bands}
    values |= {int(name[1:]): value for name, value in tags_by_number.items()}
    for tag, value in values.items():
        if value != ():
            tags[tag] = value
    with open(path, "wb") as file:
        tags.save(file)  # adds the offset of what follows to those of the parts (273)
        file.write((pixels.transpose(2, 0, 1) if planar else pixels).tobytes())


RAMP = np.arange(6 * 5 * 8, dtype=np.uint8).reshape(6, 5, 8)


@pytest.mark.parametrize("bands, extra, planar", [(1, (), False), (3, (), False), (3, (), True), (4, (0,), False),
                                                  (4, (2,), False), (4, (2,), True)])
def test_bytes_of_a_tiff(tmp_path, bands, extra, planar):
    write_tiff(tmp_path / "a.tif", RAMP[..., :bands], extra=extra, planar=planar)
    pixels = np.asarray(load_image(tmp_path / "a.tif"))
    np.testing.assert_array_equal(pixels, RAMP[..., :3] if bands > 1 else RAMP[..., :1].repeat(3, 2))


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64, np.int8,
                                  np.complex64])
@pytest.mark.parametrize("bands, planar", [(1, False), (3, False), (3, True), (4, False), (10, False)])
def test_other_types_are_refused(tmp_path, kind, bands, planar):
    """Whatever their values: a folder has one type, not one range for each image."""
    for factor in (1, 250):
        pixels = (RAMP.repeat(2, 2)[..., :bands] * np.float64(factor)).astype(kind)
        write_tiff(tmp_path / "a.tif", pixels, planar, extra=(0,) * max(0, bands - 3))
        name = np.dtype(kind).name.replace("complex", "complex float")
        with pytest.raises(UnreadableImage, match=f"a.tif has {bands} bands? of {name} .*gdal_translate -ot Byte "
                                                  "-scale LOW HIGH 0 255 .*NEW.tif$"):
            load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("bands", [2, 5, 6, 8])
def test_other_bands_are_refused(tmp_path, bands):
    write_tiff(tmp_path / "a.tif", RAMP[..., :bands], extra=(0,) * (bands - 3 if bands > 2 else 1))
    with pytest.raises(UnreadableImage, match=rf"a.tif has {bands} bands of uint8 .*gdal_translate -b RED"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_gray_of_16_bits_is_refused(tmp_path, suffix):
    for brightest in (255, 4095, 65535):
        Image.fromarray(np.full((4, 4), brightest, np.uint16)).save(tmp_path / f"a.{suffix}")
        with pytest.raises(UnreadableImage, match="has 1 band of uint16"):
            load_image(tmp_path / f"a.{suffix}")


def test_colours_of_16_bits_in_a_png_are_refused(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.full(15, 65535, ">u2").tobytes() for _ in range(4))  # Pillow cannot write these
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    with pytest.raises(UnreadableImage, match="a.png has 3 bands of uint16"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("planar", [False, True])
def test_bytes_of_a_tiff_that_leaves_out_parts(tmp_path, planar):
    """GDAL writes such files: Pillow would take the bytes at the file's start for the pixels of an empty part."""
    write_tiff(tmp_path / "a.tif", RAMP[..., :3], planar)
    offsets = Image.open(tmp_path / "a.tif").tag_v2[273]
    content = (tmp_path / "a.tif").read_bytes()
    where = content.rindex(struct.pack(f"<{len(offsets)}L", *offsets), 0, offsets[0])
    (tmp_path / "a.tif").write_bytes(content[:where] + bytes(4) + content[where + 4:])
    with pytest.raises(UnreadableImage, match="a.tif is a sparse TIFF, .*gdal_translate .*NEW.tif$"):
        load_image(tmp_path / "a.tif")


def test_a_tiff_that_lacks_strips(tmp_path):
    for count in (3, 2):
        write_tiff(tmp_path / "a.tif", RAMP[..., :3], _278=2, _273=(0, 30, 60)[:count], _279=(30, 30, 30)[:count])
        if count == 3:
            np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "a.tif")), RAMP[..., :3])
    with pytest.raises(UnreadableImage, match="a.tif cannot be decoded .some strips or tiles are missing"):
        load_image(tmp_path / "a.tif")


def test_uncompressed_colours_of_fewer_pixels_are_refused(tmp_path):
    """Pillow would read them as if each pixel had its own."""
    write_tiff(tmp_path / "a.tif", RAMP[..., :3], _262=6, _530=(1, 1))
    assert load_image(tmp_path / "a.tif").size == (5, 6)
    write_tiff(tmp_path / "a.tif", RAMP[..., :3], _262=6, _530=(2, 2))
    with pytest.raises(UnreadableImage, match="a.tif has fewer pixels of colour .*gdal_translate -co PHOTOMETRIC=RGB"):
        load_image(tmp_path / "a.tif")


def test_a_palette_of_8_bits_in_a_tiff_is_refused(tmp_path):
    image = Image.fromarray(RAMP[..., :3].copy()).quantize(16)
    image.save(tmp_path / "a.tif")
    palette, content = Image.open(tmp_path / "a.tif").tag_v2[320], (tmp_path / "a.tif").read_bytes()
    before, after = (struct.pack("<768H", *(value // by for value in palette)) for by in (1, 256))
    (tmp_path / "a.tif").write_bytes(content.replace(before, after))
    with pytest.raises(UnreadableImage, match="a.tif has a palette of 8 bits.*gdal_translate -expand rgb"):
        load_image(tmp_path / "a.tif")


def test_what_pillow_cannot_read_is_to_be_converted(tmp_path):
    (tmp_path / "a.tif").write_bytes(struct.pack(">2sHHHQQ", b"MM", 43, 8, 0, 16, 0) + bytes(100))
    with pytest.raises(UnreadableImage, match="BigTIFF in big-endian byte order.; convert it: gdal_translate"):
        load_image(tmp_path / "a.tif")


def test_a_png_whose_end_was_never_written_is_refused(tmp_path):
    """Zeros continue the compressed data: Pillow decodes them without a word."""
    Image.fromarray(np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for end in (len(content) * 2 // 3, len(content) - 30):
        (tmp_path / "a.png").write_bytes(content[:end] + bytes(len(content) - end))
        with pytest.raises(UnreadableImage, match="a.png cannot be decoded"):
            load_image(tmp_path / "a.png")


def test_a_mask_as_gdal_writes_it(tmp_path):
    image = Image.new("RGB", (8, 6), (10, 20, 30))
    mask = Image.new("1", image.size)
    mask.encoderinfo = {"tiffinfo": {254: 4}}
    image.save(tmp_path / "a.tif", save_all=True, append_images=[mask])
    content = bytearray((tmp_path / "a.tif").read_bytes())
    first = struct.unpack("<I", content[4:8])[0]
    page = struct.unpack("<I", content[first + 2 + 12 * struct.unpack("<H", content[first:first + 2])[0]:][:4])[0]
    entries = [page + 2 + 12 * number for number in range(struct.unpack("<H", content[page:page + 2])[0])]
    entry = next(entry for entry in entries if struct.unpack("<H", content[entry:entry + 2])[0] == 262)
    content[entry + 8:entry + 10] = struct.pack("<H", 4)  # the photometric interpretation is that of a mask
    (tmp_path / "a.tif").write_bytes(content)
    assert load_image(tmp_path / "a.tif").getpixel((0, 0)) == (10, 20, 30)
    assert read_size(tmp_path / "a.tif") == (8, 6)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("video", [b"\xff\xda\0\0" * 9, b"\xff\xd8\xff\xd9\xff\xda\0", bytes(99)])
def test_a_jpeg_followed_by_a_video(tmp_path, progressive, video):
    write_image(tmp_path / "a.png", 1)
    Image.open(tmp_path / "a.png").save(tmp_path / "a.jpg", progressive=progressive)
    image = load_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + video)
    assert load_image(tmp_path / "a.jpg") == image


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_in_zeros(tmp_path, share, progressive):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image, thumbnail = (Image.fromarray(noise[:size, :size]) for size in (64, 16))
    thumbnail.save(tmp_path / "thumbnail.jpg")
    image.save(tmp_path / "a.jpg", progressive=progressive, comment=(tmp_path / "thumbnail.jpg").read_bytes())
    assert load_image(tmp_path / "a.jpg").size == (64, 64)
    content = (tmp_path / "a.jpg").read_bytes()
    copied = int(len(content) * share)
    (tmp_path / "a.jpg").write_bytes(content[:copied] + bytes(len(content) - copied))
    with pytest.raises(UnreadableImage, match="a.jpg cannot be decoded .the end of its data is missing"):
        load_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content + bytes(100))  # some cameras append to a whole one
    assert load_image(tmp_path / "a.jpg").size == (64, 64)


def test_a_bmp_of_16_bits_a_pixel(tmp_path):
    """5 bits of red, 6 of green and 5 of blue, which is less than 8 bits per channel."""
    pixels = np.array([[0xF800, 0x07E0], [0x001F, 0xFFFF]], "<u2")[::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 66 + len(pixels), 0, 0, 66) + header + masks + pixels)
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "a.bmp")).reshape(4, 3),
                                  255 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]))


def test_a_dropped_band_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("utils.errors._topics", set())
    for name in ("a.tif", "b.tif"):
        write_tiff(tmp_path / name, RAMP[..., :4], extra=(0,))
        load_image(tmp_path / name)
    assert capsys.readouterr().err.count("near infrared") == 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, suffix, orientation):
    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24] = 250, 160, 80
    shown = Image.fromarray(corners)
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}.get(orientation)
    stored, exif = shown.transpose(Image.Transpose[undo]) if undo else shown, Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_allclose(np.asarray(load_image(tmp_path / f"a.{suffix}")).astype(int), corners, atol=8)
    assert read_size(tmp_path / f"a.{suffix}") == (48, 32)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_unknown_exif_orientation_is_none(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.fromarray(RAMP[..., :3].copy()).save(tmp_path / f"a.{suffix}", exif=exif)
    assert load_image(tmp_path / f"a.{suffix}").size == read_size(tmp_path / f"a.{suffix}") == (5, 6)


def test_pages_of_a_tiff(tmp_path):
    large, other, small = (Image.fromarray(RAMP[:size, :, start:start + 3].copy())
                           for size, start in ((6, 0), (6, 4), (3, 0)))
    small.save(tmp_path / "a.tif", save_all=True, append_images=[large, small, large])
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "a.tif")), RAMP[..., :3])
    assert read_size(tmp_path / "a.tif") == (5, 6)
    for page in (other, other.transpose(Image.Transpose.ROTATE_90)):
        large.save(tmp_path / "b.tif", save_all=True, append_images=[page])
        with pytest.raises(UnreadableImage, match="b.tif has 2 pages of 5 x 6 pixels with different content"):
            load_image(tmp_path / "b.tif")
    large.save(tmp_path / "c.tif", save_all=True, append_images=[Image.new("L", (50, 60)).convert("I;16")])
    with pytest.raises(UnreadableImage, match="c.tif has 1 band of uint16"):
        load_image(tmp_path / "c.tif")
    mask = Image.new("1", large.size)
    mask.encoderinfo = {"tiffinfo": {254: 4}}
    large.save(tmp_path / "d.tif", save_all=True, append_images=[mask])
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "d.tif")), RAMP[..., :3])
    thumbnail = Image.fromarray(np.zeros((3, 2), np.uint16))
    thumbnail.save(tmp_path / "e.tif", save_all=True, append_images=[large])
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "e.tif")), RAMP[..., :3])


def test_animations_are_refused(tmp_path):
    frames = [Image.fromarray(pixels) for pixels in (RAMP[..., :3].copy(), 255 - RAMP[..., :3])]
    for suffix in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
        with pytest.raises(UnreadableImage, match="is an animation of 2 frames"):
            load_image(tmp_path / f"a.{suffix}")


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


def test_a_png_without_its_palette_is_refused(tmp_path):
    Image.new("P", (4, 4), 1).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"PLTE") - 4
    length = struct.unpack(">I", content[start:start + 4])[0]
    (tmp_path / "a.png").write_bytes(content[:start] + content[start + 12 + length:])
    with pytest.raises(UnreadableImage, match="a.png cannot be decoded .it has no palette"):
        load_image(tmp_path / "a.png")


def test_premultiplied_alpha_is_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", RAMP[..., :4], extra=(1,))
    with pytest.raises(UnreadableImage, match="marked as premultiplied alpha; leave it out: gdal_translate -b 1 -b 2"):
        load_image(tmp_path / "a.tif")
