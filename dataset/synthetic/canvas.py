"""The canvas: everything is painted twice, on the image and on a label map.

So the labels are what is still visible once everything is drawn. Lengths are pixels of a 256 x 256 image (about 0.3 m
each), angles radians, colours 8-bit RGB. Both layers are drawn at twice their size; averaging the image down
smooths its edges. A layout is drawn about (0, 0), and each canvas rotates, zooms and shifts it at random.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, ...]

LABELS = ("airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass", "mobile-home",
          "pavement", "sand", "sea", "ship", "tanks", "trees", "water")
ID = {name: index for index, name in enumerate(LABELS)}

# Per label: the smallest area (px) that counts as visible, about a third of one small object; and how rough
# its surface looks: relative brightness of the fine grain, and of broad patches.
ENOUGH = np.array([120, 300, 150, 35, 120, 250, 60, 500, 300, 120, 300, 200, 500, 50, 120, 150, 120])
GRAIN = np.array([.01, .05, .03, .01, .08, .02, .03, .06, .06, .02, .03, .03, .025, .01, .01, .08, .02], "f4")
PATCH = np.array([.00, .06, .02, .00, .03, .03, .03, .05, .08, .01, .03, .05, .04, .00, .00, .04, .05], "f4")

GROUND = {
    "bare-soil": [(168, 146, 120), (182, 162, 134), (150, 124, 100), (172, 140, 114)],
    "grass": [(92, 112, 66), (108, 122, 74), (122, 126, 84), (82, 108, 72), (136, 132, 92)],
    "pavement": [(122, 121, 118), (146, 143, 136), (98, 98, 100), (170, 166, 156)],
    "sand": [(214, 194, 160), (198, 180, 150), (222, 206, 178)],
    "sea": [(38, 78, 92), (34, 66, 84), (52, 92, 98), (46, 82, 98)],
    "water": [(52, 74, 62), (66, 80, 62), (40, 66, 66), (84, 92, 72), (36, 58, 54)],
    "trees": [(64, 88, 52), (56, 82, 50), (78, 94, 58), (74, 84, 62)],
    "chaparral": [(84, 80, 52), (74, 74, 50), (92, 82, 58)],
    "dock": [(188, 180, 166), (166, 154, 136), (204, 200, 190)],
    "field": [(96, 118, 66), (132, 118, 86), (150, 140, 92), (78, 106, 68), (118, 102, 80), (168, 152, 104)],
}
ROOFS = [(170, 110, 84), (148, 140, 130), (120, 112, 106), (186, 178, 166), (130, 96, 78), (206, 200, 190)]
CARS = [(232, 232, 230), (236, 236, 236), (176, 180, 184), (42, 44, 48), (70, 76, 84), (150, 40, 36), (44, 64, 110),
        (120, 112, 98), (30, 54, 48)]
COURTS = [(74, 110, 86), (150, 84, 70), (62, 92, 130), (96, 128, 100)]
PALE = [(222, 220, 214), (206, 202, 194), (234, 234, 230), (176, 168, 156), (188, 196, 200)]
WHITE, YELLOW, SHADE = (226, 226, 220, 200), (206, 172, 70, 210), (10, 12, 24, 115)
SOLID = [0] * 128 + [255] * 128         # look-up table: the opaque half of a soft mask


def box(w: float, h: float) -> np.ndarray:
    """Corners (4, 2) of a w x h rectangle about the origin."""
    return np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) / 2


def circle(r: float, n: int = 24) -> np.ndarray:
    """Points (n, 2) round the origin."""
    t = np.arange(n) * 2 * np.pi / n
    return r * np.stack([np.cos(t), np.sin(t)], 1)


def rotated(points: ArrayLike, angle: float) -> np.ndarray:
    """Points (n, 2) rotated about the origin: (n, 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, float) @ np.array([(cos, sin), (-sin, cos)])


def scaled(colour: ArrayLike, gain: float) -> Colour:
    """The colour made lighter or darker."""
    return tuple(int(min(255, v * gain)) for v in colour)


class Canvas:
    """An image, its label map, the sun, and the layout's place in it: rotated, zoomed, off centre."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.size, self.k = rng, size, 2 * size / 256
        self.image, self.labels = (Image.new(mode, (2 * size, 2 * size)) for mode in ("RGB", "L"))
        self.pen, self.label_pen = ImageDraw.Draw(self.image, "RGBA"), ImageDraw.Draw(self.labels)
        angle, sun = rng.uniform(0, 2 * np.pi, 2)
        self.rotation = rotated(np.eye(2), angle)
        self.scale, self.origin = rng.uniform(.88, 1.12) * self.k, size + rng.uniform(-12, 12, 2) * self.k
        self.away = np.array([np.cos(sun), np.sin(sun)])        # from the sun, in the image
        self.shadow = rng.uniform(.5, 1.1)                      # px of shadow a px of height casts
        self.ground = {name: self.tone(self.choose(choices)) for name, choices in GROUND.items()}

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.rng.random() < p

    def choose(self, choices: Sequence):
        """One of the choices."""
        return choices[self.rng.integers(len(choices))]

    def tone(self, colour: Colour, spread: float = 8) -> Colour:
        """The colour, a little lighter or darker and a little off its hue."""
        shift = self.rng.normal(0, spread) + self.rng.normal(0, spread / 4, 3)
        return tuple(int(v) for v in np.clip(np.add(colour, shift), 0, 255))

    def place(self, points: ArrayLike, at: ArrayLike = (0, 0), angle: float = 0.) -> np.ndarray:
        """Layout points (n, 2), rotated and then moved to `at`, in pixels (n, 2) of the drawn (double) image."""
        return (rotated(points, angle) + at) @ self.rotation * self.scale + self.origin

    def sees(self, at: ArrayLike) -> bool:
        """Whether the layout point is in the image or close to it."""
        return np.abs(self.place([at])[0] - self.size).max() < self.size + 25 * self.k

    def paint(self, pixels: np.ndarray, colour: Colour, label: str | None = None) -> None:
        """Fill a polygon (n, 2) of drawn pixels; an alpha blends; without a label the label map stays."""
        flat = pixels.ravel().tolist()
        self.pen.polygon(flat, fill=colour)
        if label is not None:
            self.label_pen.polygon(flat, fill=ID[label])

    def polygon(self, points: ArrayLike, colour: Colour, label: str | None, at: ArrayLike = (0, 0),
                angle: float = 0.) -> None:
        """Fill a polygon of layout points (n, 2)."""
        self.paint(self.place(points, at, angle), colour, label)

    def slab(self, at: ArrayLike, w: float, h: float, ground: str) -> None:
        """A rectangle of one ground."""
        self.polygon(box(w, h), self.ground[ground], ground, at)

    def line(self, points: ArrayLike, width: float, colour: Colour, label: str | None = None,
             at: ArrayLike = (0, 0), angle: float = 0.) -> None:
        """A polyline of layout points (n, 2), `width` px thick."""
        flat, thick = self.place(points, at, angle).ravel().tolist(), max(1, round(width * self.scale))
        self.pen.line(flat, fill=colour, width=thick, joint="curve")
        if label is not None:
            self.label_pen.line(flat, fill=ID[label], width=thick, joint="curve")

    def fill(self, *choices: str) -> str:
        """Cover everything with one of the grounds; returns its label."""
        label = self.choose(choices)
        for layer, value in ((self.image, self.ground[label]), (self.labels, ID[label])):
            layer.paste(value, (0, 0, *layer.size))
        return label

    def drop(self, pixels: np.ndarray, height: float) -> None:
        """The shadow of a low or hovering polygon (n, 2) of drawn pixels: a moved copy of it."""
        self.paint(pixels + self.away * height * self.shadow * self.scale, SHADE)

    def cast(self, points: np.ndarray, height: float, at: ArrayLike = (0, 0), angle: float = 0.) -> None:
        """The shadow of an upright prism over a convex base (n, 2): the hull of the base and its moved copy."""
        base = self.place(points, at, angle)
        across = (base - base[0]) @ (-self.away[1], self.away[0])
        a, b = sorted((int(across.argmin()), int(across.argmax())))     # where the outline bends away
        side_a, side_b = base[a:b + 1], np.concatenate([base[b:], base[:a + 1]])
        near, far = sorted((side_a, side_b), key=lambda side: side.mean(0) @ self.away)
        self.paint(np.concatenate([near, far + self.away * height * self.shadow * self.scale]), SHADE)

    def noise(self, cell: float) -> np.ndarray:
        """Smooth noise (size, size) of about unit variance, with lumps of `cell` px."""
        if cell <= 1:
            return self.rng.standard_normal((self.size, self.size), dtype=np.float32)
        n = max(2, int(256 / cell) + 1)
        rough = Image.fromarray(self.rng.standard_normal((n, n), dtype=np.float32))
        return np.asarray(rough.resize((self.size, self.size), Image.BICUBIC))

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Layout coordinates x, y of the pixels of the final image, each (size, size)."""
        axis = 2 * np.arange(self.size, dtype=np.float32) + 1
        u, v = (axis[None] - self.origin[0]) / self.scale, (axis[:, None] - self.origin[1]) / self.scale
        return u * self.rotation[0, 0] + v * self.rotation[0, 1], u * self.rotation[1, 0] + v * self.rotation[1, 1]

    def at_pixels(self, field: np.ndarray, points: ArrayLike) -> np.ndarray:
        """Values (n,) of a field (size, size) at layout points (n, 2)."""
        x, y = np.clip((self.place(points) / 2).astype(int), 0, self.size - 1).T
        return field[y, x]

    def cover(self, level: np.ndarray, colour: Colour, label: str | None, soft: float = 2., alpha: float = 1.,
              on: Sequence[str] | None = None) -> None:
        """Paint where `level` (size, size) is above 0, only on the labels `on` if given; its edge fades over `soft`."""
        mask = np.clip(level * (255 / soft) + 127, 0, 255).astype(np.uint8)
        if on is not None:
            mask[~np.isin(np.asarray(self.labels)[::2, ::2], [ID[name] for name in on])] = 0
        mask = Image.fromarray(mask)
        bounds = mask.getbbox()
        if bounds is None:
            return
        mask = mask.crop(bounds).resize((2 * (bounds[2] - bounds[0]), 2 * (bounds[3] - bounds[1])), Image.BILINEAR)
        bounds = tuple(2 * edge for edge in bounds)
        self.image.paste(colour, bounds, mask if alpha == 1 else mask.point(lambda v: v * alpha))
        if label is not None:
            self.labels.paste(ID[label], bounds, mask.point(SOLID, "1"))

    def spots(self, count: int, on: Sequence[str], clear: float = 0., gap: float = 0.,
              most: int | None = None) -> np.ndarray:
        """Of `count` random layout points, those `clear` px within the labels `on`, `gap` apart: (n <= most, 2)."""
        points = self.rng.uniform(-175, 175, (count, 2))
        around = self.place(np.concatenate([[(0, 0)], circle(clear, 8)])) - self.place([(0, 0)])
        pixels = np.clip((self.place(points)[:, None] + around).astype(int), 0, 2 * self.size - 1)
        visible = np.asarray(self.labels)[pixels[..., 1], pixels[..., 0]]
        points = points[np.isin(visible, [ID[name] for name in on]).all(1)]
        chosen = points[:0] if gap else points
        for point in points if gap else ():
            if (np.hypot(*(chosen - point).T) > gap).all():
                chosen = np.vstack([chosen, point])
        return chosen[:most]

    def finish(self) -> tuple[Image.Image, np.ndarray]:
        """Texture, tint, blur and sensor noise: the image, and the (17,) uint8 labels visible in it."""
        visible = np.asarray(self.labels)[::2, ::2]
        fine = self.noise(1) * .5 + self.noise(2) * .7 + self.noise(5) * .5
        patch = self.noise(14) * .5 + self.noise(50) * .8
        rgb = np.stack([np.asarray(plane, "f4") for plane in self.image.reduce(2).split()])
        rgb *= 1 + GRAIN[visible] * fine + PATCH[visible] * patch
        vivid, contrast, haze = self.rng.uniform((.6, .85, -4), (.95, 1.2, 12)).astype("f4")
        grey, warm, green = rgb.mean(0), self.rng.normal(0, .03), self.rng.normal(0, .015)
        tint = self.rng.uniform(.92, 1.1) * np.array([1 + warm, 1 + green, 1 - warm], "f4")
        rgb = ((grey + (rgb - grey) * vivid - 115) * contrast + 115 + haze) * tint[:, None, None]
        rgb += self.noise(1) * self.rng.uniform(1.5, 5)
        planes = [Image.fromarray(plane) for plane in np.clip(rgb, 0, 255).astype(np.uint8)]
        image = Image.merge("RGB", planes).filter(ImageFilter.BoxBlur(self.rng.uniform(.1, .4)))
        area = np.bincount(visible.ravel(), minlength=len(LABELS)) * (256 / self.size) ** 2
        return image, (area >= ENOUGH).astype(np.uint8)
