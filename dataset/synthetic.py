"""Synthetic_Multilabel: aerial-like scenes drawn by a seeded generator, with the 17 UCM / AID labels.

Everything is painted twice, on the picture and on a label map, so that a label says what can still be
seen once all is drawn.  Lengths are pixels of a 256 x 256 picture (about 0.3 m each), angles radians,
colours 8-bit RGB.  Both are drawn at twice their size; averaging the picture down smooths its edges.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from tqdm import tqdm

LABELS = ("airplane", "bare-soil", "buildings", "cars", "chaparral", "court", "dock", "field", "grass",
          "mobile-home", "pavement", "sand", "sea", "ship", "tanks", "trees", "water")
ID = {name: index for index, name in enumerate(LABELS)}

# Per label: the smallest area (px) that counts as seen, about a third of one small thing; and how rough
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
CARS = [(232, 232, 230), (236, 236, 236), (176, 180, 184), (42, 44, 48), (70, 76, 84), (150, 40, 36),
        (44, 64, 110), (120, 112, 98), (30, 54, 48)]
COURTS = [(74, 110, 86), (150, 84, 70), (62, 92, 130), (96, 128, 100)]
PALE = [(222, 220, 214), (206, 202, 194), (234, 234, 230), (176, 168, 156), (188, 196, 200)]
WHITE, YELLOW, SHADE = (226, 226, 220, 200), (206, 172, 70, 210), (10, 12, 24, 115)
SOLID = [0] * 128 + [255] * 128         # look-up table: a soft mask's own half


def box(w, h):
    """Corners (4, 2) of a w x h rectangle about the origin."""
    return np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) / 2


def circle(r, n=24):
    """(n, 2) points round the origin."""
    t = np.arange(n) * 2 * np.pi / n
    return r * np.stack([np.cos(t), np.sin(t)], 1)


def turned(points, angle):
    """Points (n, 2) turned about the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, float) @ np.array([(cos, sin), (-sin, cos)])


def scaled(colour, gain):
    """The colour made lighter or darker."""
    return tuple(int(min(255, v * gain)) for v in colour)


class Canvas:
    """A picture, its label map, the sun, and the layout's place in it: turned, zoomed, off centre."""

    def __init__(self, rng, size):
        self.rng, self.size, self.k = rng, size, 2 * size / 256
        self.picture, self.labels = (Image.new(mode, (2 * size, 2 * size)) for mode in ("RGB", "L"))
        self.pen, self.label_pen = ImageDraw.Draw(self.picture, "RGBA"), ImageDraw.Draw(self.labels)
        turn, sun = rng.uniform(0, 2 * np.pi, 2)
        self.turn = turned(np.eye(2), turn)
        self.scale, self.origin = rng.uniform(.88, 1.12) * self.k, size + rng.uniform(-12, 12, 2) * self.k
        self.away = np.array([np.cos(sun), np.sin(sun)])        # from the sun, in the picture
        self.reach = rng.uniform(.5, 1.1)                       # px of shadow a px of height casts
        self.ground = {name: self.tone(self.pick(choices)) for name, choices in GROUND.items()}

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, choices):
        return choices[self.rng.integers(len(choices))]

    def tone(self, colour, spread=8):
        """The colour, a little lighter or darker and a little off its hue."""
        shift = self.rng.normal(0, spread) + self.rng.normal(0, spread / 4, 3)
        return tuple(int(v) for v in np.clip(np.add(colour, shift), 0, 255))

    def place(self, points, at=(0, 0), turn=0.):
        """Layout points (n, 2), turned and then moved to `at`, in pixels of the drawn (double) picture."""
        return (turned(points, turn) + at) @ self.turn * self.scale + self.origin

    def sees(self, at):
        """Whether the layout point is in the picture or close to it."""
        return np.abs(self.place([at])[0] - self.size).max() < self.size + 25 * self.k

    def at_pixels(self, field, points):
        """Values of a field (size, size) at layout points (n, 2)."""
        x, y = np.clip((self.place(points) / 2).astype(int), 0, self.size - 1).T
        return field[y, x]

    def paint(self, pixels, colour, label):
        """Fill a polygon (n, 2) of drawn pixels; an alpha blends; label None leaves the label map."""
        flat = np.asarray(pixels).ravel().tolist()
        self.pen.polygon(flat, fill=colour)
        if label is not None:
            self.label_pen.polygon(flat, fill=ID[label])

    def polygon(self, points, colour, label, at=(0, 0), turn=0.):
        self.paint(self.place(points, at, turn), colour, label)

    def slab(self, at, w, h, ground):
        """A rectangle of one ground."""
        self.polygon(box(w, h), self.ground[ground], ground, at)

    def line(self, points, width, colour, label=None, at=(0, 0), turn=0.):
        """A polyline `width` px thick."""
        flat, thick = self.place(points, at, turn).ravel().tolist(), max(1, round(width * self.scale))
        self.pen.line(flat, fill=colour, width=thick, joint="curve")
        if label is not None:
            self.label_pen.line(flat, fill=ID[label], width=thick, joint="curve")

    def fill(self, label):
        """Cover everything with one ground."""
        for layer, value in ((self.picture, self.ground[label]), (self.labels, ID[label])):
            layer.paste(value, (0, 0, *layer.size))

    def drop(self, points, height, at=(0, 0), turn=0.):
        """The shadow of a low or hovering shape: a moved copy of it."""
        self.paint(self.place(points, at, turn) + self.away * height * self.reach * self.scale, SHADE, None)

    def cast(self, points, height, at=(0, 0), turn=0.):
        """The shadow of an upright prism over a convex base: the hull of the base and its moved copy."""
        base = self.place(points, at, turn)
        across = (base - base[0]) @ (-self.away[1], self.away[0])
        a, b = sorted((int(across.argmin()), int(across.argmax())))     # where the outline turns away
        one, other = base[a:b + 1], np.concatenate([base[b:], base[:a + 1]])
        near, far = sorted((one, other), key=lambda side: side.mean(0) @ self.away)
        shift = self.away * height * self.reach * self.scale
        self.paint(np.concatenate([near, far + shift]), SHADE, None)

    def lit(self, colour, normal, strength=.2):
        """The colour of a slope whose outward normal in the picture is `normal`: lighter to the sun."""
        return scaled(colour, 1 - strength * float(normal @ self.away) / (np.hypot(*normal) + 1e-9))

    def noise(self, cell):
        """Smooth noise (size, size) of about unit variance, with lumps of `cell` px."""
        if cell <= 1:
            return self.rng.standard_normal((self.size, self.size), dtype=np.float32)
        n = max(2, int(256 / cell) + 1)
        rough = Image.fromarray(self.rng.standard_normal((n, n), dtype=np.float32))
        return np.asarray(rough.resize((self.size, self.size), Image.BICUBIC))

    def grid(self):
        """Layout coordinates x, y of the pixels of the final picture, each (size, size)."""
        axis = 2 * np.arange(self.size, dtype=np.float32) + 1
        u, v = (axis[None] - self.origin[0]) / self.scale, (axis[:, None] - self.origin[1]) / self.scale
        return u * self.turn[0, 0] + v * self.turn[0, 1], u * self.turn[1, 0] + v * self.turn[1, 1]

    def cover(self, level, colour, label, soft=2., alpha=1., on=None):
        """Paint where `level` (size, size) is above 0, only over the labels `on` if given; the edge
        fades over `soft` units of level."""
        shape = np.clip(level * (255 / soft) + 127, 0, 255).astype(np.uint8)
        if on is not None:
            shape[~np.isin(np.asarray(self.labels)[::2, ::2], [ID[name] for name in on])] = 0
        shape = Image.fromarray(shape)
        part = shape.getbbox()
        if part is None:
            return
        shape = shape.crop(part).resize((2 * (part[2] - part[0]), 2 * (part[3] - part[1])), Image.BILINEAR)
        part = tuple(2 * edge for edge in part)
        self.picture.paste(colour, part, shape if alpha == 1 else shape.point(lambda v: v * alpha))
        if label is not None:
            self.labels.paste(ID[label], part, shape.point(SOLID, "1"))

    def spots(self, count, on, clear=0., gap=0., most=None):
        """Of `count` random layout points, those whose surroundings (radius `clear`) lie on the labels
        `on`, at least `gap` apart, at most `most`: (n, 2)."""
        points = self.rng.uniform(-175, 175, (count, 2))
        around = self.place(np.concatenate([[(0, 0)], circle(clear, 8)])) - self.place([(0, 0)])
        pixels = np.clip((self.place(points)[:, None] + around).astype(int), 0, 2 * self.size - 1)
        seen = np.asarray(self.labels)[pixels[..., 1], pixels[..., 0]]
        points = points[np.isin(seen, [ID[name] for name in on]).all(1)]
        kept = []
        for p in points if gap else ():
            if all(np.hypot(*(p - q)) > gap for q in kept):
                kept.append(p)
        return (np.array(kept).reshape(-1, 2) if gap else points)[:most]

    def finish(self):
        """Texture, tint, blur and sensor noise: the picture, and the (17,) uint8 labels seen in it."""
        seen = np.asarray(self.labels)[::2, ::2]
        fine = self.noise(1) * .5 + self.noise(2) * .7 + self.noise(5) * .5
        patch = self.noise(14) * .5 + self.noise(50) * .8
        rgb = np.stack([np.asarray(plane, "f4") for plane in self.picture.reduce(2).split()])
        rgb *= 1 + GRAIN[seen] * fine + PATCH[seen] * patch
        vivid, contrast, haze = self.rng.uniform((.6, .85, -4), (.95, 1.2, 12)).astype("f4")
        grey, warm, green = rgb.mean(0), self.rng.normal(0, .03), self.rng.normal(0, .015)
        tint = self.rng.uniform(.92, 1.1) * np.array([1 + warm, 1 + green, 1 - warm], "f4")
        rgb = ((grey + (rgb - grey) * vivid - 115) * contrast + 115 + haze) * tint[:, None, None]
        rgb += self.noise(1) * self.rng.uniform(1.5, 5)
        planes = (Image.fromarray(plane) for plane in np.clip(rgb, 0, 255).astype(np.uint8))
        picture = Image.merge("RGB", list(planes)).filter(ImageFilter.BoxBlur(self.rng.uniform(.1, .4)))
        area = np.bincount(seen.ravel(), minlength=len(LABELS)) * (256 / self.size) ** 2
        return picture, (area >= ENOUGH).astype(np.uint8)


# Things: drawn about `at` in the layout, turned by `turn`, the long side along x.

def car(c, at, turn):
    if c.sees(at):
        body, front, rear = np.split(c.place([
            (-7, -2.6), (-6, -3.3), (6, -3.3), (7.4, -2), (7.4, 2), (6, 3.3), (-6, 3.3), (-7, 2.6),
            (1.2, -2.6), (3.4, -2.2), (3.4, 2.2), (1.2, 2.6),
            (-5.2, -2.3), (-3.8, -2.5), (-3.8, 2.5), (-5.2, 2.3)], at, turn), (8, 12))
        c.paint(body + c.away * 3 * c.reach * c.scale, SHADE, None)
        c.paint(body, c.tone(c.pick(CARS), 6), "cars")
        c.paint(front, (34, 38, 44), "cars")
        c.paint(rear, (40, 44, 50), "cars")


def road(c, y, width, cars=0, marked=True, turn=0.):
    """A straight paved road across the picture at layout height y, with up to `cars` cars in its lanes."""
    c.line([(-220, y), (220, y)], width, c.ground["pavement"], "pavement", turn=turn)
    for x in np.arange(-200, 200, 16) if marked else ():
        c.line([(x, y), (x + 8, y)], .7, WHITE, turn=turn)
    for x in c.rng.permutation(np.arange(-130, 131, 26))[:cars]:
        lane = c.pick([-1, 1])
        car(c, turned([(x, y + lane * width / 4)], turn)[0], turn + np.pi * (lane < 0))


def building(c, at, w, h, turn=0., roof=None, label="buildings", height=None, colour=None):
    """A w x h px house; roof: "gable", "hip" or "flat"."""
    if h > w:
        w, h, turn = h, w, turn + np.pi / 2
    roof, colour = roof or c.pick(["gable", "hip"]), colour or c.tone(c.pick(ROOFS), 10)
    c.cast(box(w, h), height or .28 * h, at, turn)
    a, b, e, d = corner = c.place(box(w, h), at, turn)
    if roof == "flat":
        c.paint(corner, colour, label)
        c.polygon(box(w - 4, h - 4), scaled(colour, .88), label, at, turn)
        for x, y in c.rng.uniform(-.38, .38, (max(2, int(w * h / 1500)), 2)):      # plant on the roof
            plant = c.place(box(*c.rng.uniform(3, 8, 2)) + (x * w, y * h), at, turn)
            c.paint(plant + c.away * 3 * c.reach * c.k, SHADE, None)
            c.paint(plant, c.tone((170, 170, 166), 20), label)
        return
    inset = h / 2 if roof == "hip" else 0
    p, q = ridge = c.place([(-w / 2 + inset, 0), (w / 2 - inset, 0)], at, turn)
    for face, normal in (((a, b, q, p), a - d), ((d, e, q, p), d - a),
                         ((a, d, p), a - b), ((b, e, q), b - a)):
        c.paint(face, c.lit(colour, normal), label)
    c.pen.line(ridge.ravel().tolist(), fill=scaled(colour, 1.15), width=2)


def mobile_home(c, at, turn):
    if c.sees(at):
        length = c.rng.uniform(40, 50)
        colour = c.tone(c.pick(PALE), 6)
        building(c, at, length, c.rng.uniform(13, 17), turn, "gable", "mobile-home", 6, colour)
        for x in np.arange(-length / 2 + 5, length / 2, 9):
            c.line([(x, -6), (x, 6)], .5, (70, 70, 70, 60), None, at, turn)


def crown(c, n=56):
    """A tree from above, n x n px, as (picture, mask): a lumpy dome lit from the sun's side."""
    v, u = np.mgrid[-1:1:n * 1j, -1:1:n * 1j]
    lumps = sum(np.asarray(Image.fromarray(c.rng.standard_normal((m, m), dtype=np.float32))
                           .resize((n, n), Image.BICUBIC)) * a for m, a in ((7, .16), (15, .12)))
    dv, du = np.gradient(np.sqrt(np.clip(1.05 - u ** 2 - v ** 2, 0, 1)) + lumps * .9, 2 / n)
    light = np.clip(.95 + .2 * (du * c.away[0] + dv * c.away[1]), .4, 1.7)[..., None]
    rgb = np.clip(light * c.tone(c.ground["trees"], 7), 0, 255).astype(np.uint8)
    mask = np.hypot(u, v) + .7 * lumps < .86
    return Image.fromarray(rgb), Image.fromarray(mask.astype(np.uint8) * 255)


def trees(c, points, low=6, high=13):
    """Round crowns with radii from low to high px; all shadows lie under all crowns."""
    models, fitted = [crown(c) for _ in range(6 if len(points) else 0)], {}
    radii, pixels = c.rng.uniform(low, high, len(points)) * c.scale, c.place(np.reshape(points, (-1, 2)))
    for p, r in zip(pixels, radii):
        c.paint(circle(r * .9, 10) + p + c.away * r * c.reach * .9, SHADE, None)
    for (x, y), r in zip(pixels, radii):
        side, which = max(6, int(2.2 * r) // 3 * 3), c.rng.integers(len(models))
        if (which, side) not in fitted:                 # resizing costs more than pasting
            picture, mask = (layer.resize((side, side), Image.BILINEAR) for layer in models[which])
            fitted[which, side] = picture, mask, mask.point(SOLID, "1")
        picture, mask, solid = fitted[which, side]
        x, y = int(x) - side // 2, int(y) - side // 2
        c.picture.paste(picture, (x, y), mask)
        c.labels.paste(ID["trees"], (x, y, x + side, y + side), solid)


def wood(c, count, on, low=6, high=13, clear=3.):
    """Up to `count` trees, in clumps, on the grounds `on`."""
    points = c.spots(2 * count, on, clear)
    dense = c.at_pixels(c.noise(45), points) + c.rng.normal(0, .4, len(points))
    trees(c, points[np.argsort(-dense)[:len(points) // 2]], low, high)


def shrubs(c, share):
    """Low dry bushes, with short shadows, on about `share` of the open soil."""
    level = np.maximum(c.noise(c.rng.uniform(4, 6)), c.noise(10) - .3) + .3 * c.noise(2.5) + .25 * c.noise(60)
    level, soil = level - np.quantile(level, 1 - share), ("bare-soil", "sand")
    shift = np.rint(c.away * c.size / 256 * (1 + 1.5 * c.reach)).astype(int)
    c.cover(np.roll(level, shift[::-1], (0, 1)), SHADE[:3], None, .3, .45, soil)
    c.cover(level, c.ground["chaparral"], "chaparral", .3, .95, soil)
    sunny = np.minimum(level, np.roll(level, -shift[::-1], (0, 1))) - .15
    c.cover(sunny, scaled(c.ground["chaparral"], 1.4), None, .6, .6, ("chaparral",))


def patches(c, label, share, cell=40):
    """Ragged patches of a ground over about `share` of the picture."""
    level = c.noise(cell) + .3 * c.noise(cell / 4)
    c.cover((level - np.quantile(level, 1 - share)) * 10, c.ground[label], label, 4)


def pond(c, label, at, radius):
    """A round, uneven spot of water or sand."""
    x, y = c.grid()
    level = radius - np.hypot(x - at[0], y - at[1]) + radius * .22 * c.noise(radius)
    c.cover(level, c.ground[label], label, 3)


def airplane(c, at, turn, length):
    """An airliner, or below 60 px a light aircraft; the nose points along x."""
    s, airliner = length / 100, length >= 60
    half = np.array([(-50, .8), (-40, 2.6), (-15, 5), (30, 5), (42, 4), (48, 2.2), (50, .3)]) * s
    swept, straight = [(16, 3), (2, 3), (-18, 46), (-12, 47)], [(18, 3), (2, 3), (4, 55), (14, 56)]
    wing = np.array(swept if airliner else straight) * s
    tail = np.array([(-36, 2), (-44, 2), (-51, 17), (-46, 18)]) * s
    body = np.concatenate([half, half[::-1] * (1, -1)]) * (1, 1 if airliner else 1.3)
    engines = [box(10 * s, 4 * s) + (7 * s, y * s) for y in (-18, 18) if airliner]
    parts = [wing, wing * (1, -1), tail, tail * (1, -1), body]
    for part in parts:
        c.drop(part, 12 * s, at, turn)
    paintwork = c.tone(c.pick([(236, 236, 236), (244, 244, 242), (214, 218, 222)]), 4)
    for part in engines + parts[:4]:
        c.polygon(part, scaled(paintwork, .88), "airplane", at, turn)
    c.polygon(body, paintwork, "airplane", at, turn)
    nose, left = c.place([(0, 0), (0, 1)], at, turn)
    dark = half * (1, 1 if (left - nose) @ c.away > 0 else -1)
    c.polygon(dark, scaled(paintwork, .8), "airplane", at, turn)
    livery = c.pick([(40, 60, 120), (150, 40, 40), (70, 80, 90), (220, 220, 220)])
    c.line([(-48 * s, 0), (-34 * s, 0)], max(1, 1.8 * s), livery, "airplane", at, turn)
    c.line([(44 * s, -2.5 * s), (44 * s, 2.5 * s)], 1, (50, 54, 60), "airplane", at, turn)


def boat(c, at, turn, length, wake=False):
    """A motor boat or yacht, bow along x, with a wake if it is moving."""
    if not c.sees(at):
        return
    size = np.array([length, length * .16])
    for points in ([(.3, 0), (-1.9, 2.4), (-1.6, .9)], [(.3, 0), (-1.9, -2.4), (-1.6, -.9)],
                   [(0, .6), (0, -.6), (-1.8, 0)]) if wake else ():
        c.polygon(points * size, (222, 233, 233, 70), None, at, turn)
    hull = np.array([(-.5, -.8), (.15, -1), (.38, -.6), (.5, 0), (.38, .6), (.15, 1), (-.5, .8)]) * size
    c.drop(hull, 3, at, turn)
    c.polygon(hull, c.tone((230, 230, 226), 6), "ship", at, turn)
    deck = c.pick([(206, 196, 176), (200, 204, 206), (60, 84, 130), (180, 170, 150)])
    c.polygon(hull * (.8, .6), c.tone(deck, 6), "ship", at, turn)
    cabin = [(-.12, -.5), (.1, -.5), (.16, 0), (.1, .5), (-.12, .5)] * size
    c.polygon(cabin, (238, 238, 236), "ship", at, turn)
    c.polygon([(.08, -.5), (.16, -.3), (.16, .3), (.08, .5)] * size, (50, 58, 66), "ship", at, turn)


def moorings(c, y):
    """A pier along x at layout height y, with fingers and boats on both sides."""
    slot, reach, full = c.rng.uniform(13, 17), c.rng.uniform(26, 34), c.rng.uniform(.4, .98)
    for x in np.arange(-190, 190, 2 * slot):
        c.line([(x, y - reach), (x, y + reach)], 2.4, c.ground["dock"], "dock")
    for x in np.arange(-190, 190, slot):
        for side in (-1, 1):
            if c.chance(full):
                length = reach * c.rng.uniform(.72, 1.0)
                boat(c, (x + slot / 2, y + side * (6 + length / 2)), c.pick([-1, 1]) * np.pi / 2, length)
    c.line([(-200, y), (200, y)], 6, c.ground["dock"], "dock")


def tank(c, at, r):
    """A storage tank of radius r px: a cone roof, or a floating roof sunk below its rim."""
    paint = c.tone(c.pick(PALE), 6)
    c.cast(circle(r), r * .75, at)
    c.polygon(circle(r), scaled(paint, .8), "tanks", at)
    c.polygon(circle(r * .95), paint, "tanks", at)
    middle, ring = c.place([at])[0], circle(r * c.scale)
    if c.chance(.5):
        c.paint(ring * .88 + middle, scaled(paint, .5), "tanks")
        c.paint(ring * .76 + middle + c.away * r * .12 * c.scale, scaled(paint, .9), "tanks")
    else:
        for t in np.linspace(0, .9, 6):                 # the cone's lit side
            spot = middle - c.away * r * .25 * t * c.scale
            c.paint(ring * .9 * (1 - t) + spot, (255, 255, 255, 18), "tanks")
    c.line([(0, 0), (r, 0)], .8, (90, 90, 90, 160), None, at, c.rng.uniform(0, 6.3))


def court(c, at, surround, play):
    """A tennis court: 80 x 37 px of lines on 104 x 56 px of hard surface."""
    c.polygon(box(104, 56), surround, "court", at)
    c.polygon(box(80, 37), play, "court", at)
    for line in ([(-40, -18.5), (40, -18.5), (40, 18.5), (-40, 18.5), (-40, -18.5)],
                 [(-40, 14), (40, 14)], [(-40, -14), (40, -14)],
                 [(-21, -14), (-21, 14)], [(21, -14), (21, 14)], [(-21, 0), (21, 0)]):
        c.line(line, .9, WHITE, None, at)
    c.line([(0, -20), (0, 20)], 1, (40, 44, 44, 190), None, at)


def parcel(c, at, w, h):
    """A field of w x h px, with furrows along x or y."""
    colour = c.tone(c.pick(GROUND["field"]), 8)
    c.polygon(box(w, h), colour, "field", at)
    step, dark, along = c.rng.uniform(3.5, 9), scaled(colour, c.rng.uniform(.72, .9)), c.chance(.5)
    reach, span = (w / 2, h / 2) if along else (h / 2, w / 2)
    for offset in np.arange(step / 2 - span, span - step / 2, step):
        ends = np.array([(-reach, offset), (reach, offset)])
        c.line(ends if along else ends[:, ::-1], step * .42, dark, None, at)


def parking(c, at, w, h, full):
    """A paved lot of w x h px with rows of marked stalls, each holding a car with probability `full`."""
    c.slab(at, w, h, "pavement")
    for y in np.arange(at[1] - h / 2 + 12, at[1] + h / 2 - 10, 31):
        way = c.pick([1, -1])
        for x in np.arange(at[0] - w / 2 + 8, at[0] + w / 2 - 10, 9.5):
            if c.sees((x, y)):
                c.line([(x, y - 9), (x, y + 9)], .6, WHITE)
                if c.chance(full):
                    car(c, (x + 4.75, y) + c.rng.normal(0, (.4, 1)), way * np.pi / 2 + c.rng.normal(0, .04))


def house(c, at, w, h):
    """A house of one or two wings."""
    roof, colour, lean = c.pick(["gable", "hip", "hip"]), c.tone(c.pick(ROOFS), 10), c.rng.normal(0, .03)
    building(c, at, w, h, lean, roof, colour=colour)
    if c.chance(.5):
        wing = (c.pick([-1, 1]) * w * .26, c.pick([-1, 1]) * h * .3)
        building(c, np.add(at, wing), w * .4, h * .9, lean, roof, height=.2 * h, colour=colour)


def swell(c):
    """Ripples on the sea."""
    x, y = c.grid()
    wave = np.sin(y / c.rng.uniform(2.2, 4) + 2.5 * c.noise(40) + .02 * x) + .8 * c.noise(6) - .3
    c.cover(wave, scaled(np.add(c.ground["sea"], 55), .8), None, 2, .3, ("sea",))


# Scenes: a recipe fills the ground, lays things out, and chooses at random what to leave out.

def airport(c):
    c.fill("pavement")
    if c.chance(.5):
        c.slab((0, -150), 420, 100, c.pick(["grass", "grass", "bare-soil"]))
    for y in (-76, -72):
        c.line([(-200, y), (200, y)], 1, YELLOW)
    for x in np.arange(-200, 200, 52):                  # joints of the concrete
        c.line([(x, -97), (x, 200)], .6, (60, 60, 60, 90))
    if c.chance(.55):
        building(c, (0, 125), 380, 66, 0, "flat", height=16, colour=c.tone((186, 182, 174)))
        for x in c.rng.uniform(-120, 120, 4):
            building(c, (x, 83), 5, 26, 0, "flat", height=6, colour=(168, 168, 166))
    airliners = c.chance(.65)
    step, full = (105, .85) if airliners else (58, .85)
    for x in (np.arange(-step, step * 1.6, step) + c.rng.uniform(-20, 20)) if c.chance(.95) else ():
        for y in (15,) if airliners else (-30, 35):
            if c.chance(full):
                airplane(c, (x, y + c.rng.normal(0, 3)), np.pi / 2 + c.rng.normal(0, .05),
                         c.rng.uniform(*((85, 108) if airliners else (40, 50))))
    for p in c.spots(c.rng.integers(10, 50), ["pavement"], 9, 20) if c.chance(.6) else ():
        car(c, p, c.pick([0, np.pi / 2]))


def beach(c):
    c.fill("sand")
    x, y = c.grid()
    shore = y + c.rng.uniform(-30, 30) + 5 * np.sin(x / c.rng.uniform(18, 40))
    shore += 10 * c.noise(70) + 2 * c.noise(12)
    c.cover(14 - shore, scaled(c.ground["sand"], .74), "sand", 10)
    c.cover(-shore, scaled(np.add(c.ground["sea"], 100), .6), "sea", 8)
    c.cover(-45 - shore, c.ground["sea"], "sea", 60)
    swell(c)
    lace = 1.2 - 2 * np.abs(c.noise(9) + .5 * c.noise(3)) + c.noise(2) + .5 * c.noise(20)
    drift = shore + 4 * c.noise(30)
    for start, width in ((3, 6), (c.rng.uniform(22, 34), 8), (c.rng.uniform(50, 70), 6)):
        c.cover(width - np.abs(drift + start) + 5 * lace, (226, 231, 230), "sea", 11, .8)
        c.cover(2.5 + c.noise(9) - np.abs(drift + start + width) - start / 25, (240, 242, 241), "sea", 4, .8)
    inland = c.pick(["none", "scrub", "road", "town"])
    if inland == "scrub":
        c.cover(shore - 80 + 14 * c.noise(20), c.ground["grass"], "grass", 6)
    elif inland != "none":
        c.slab((0, 130), 420, 90, c.pick(["bare-soil", "grass"]))
        road(c, 92, 24, c.rng.integers(0, 6))
        for x in np.arange(-150, 170, 62) if inland == "town" else ():
            house(c, (x, 135), c.rng.uniform(40, 54), c.rng.uniform(32, 40))
    wood(c, c.rng.integers(0, 60), ["grass", "bare-soil"])


def chaparral(c):
    soil = c.pick(["bare-soil", "bare-soil", "sand"])
    c.fill(soil)
    if c.chance(.3):
        c.line([(-200, -60), (-20, c.rng.uniform(-40, 40)), (200, 60)], 9, scaled(c.ground[soil], 1.15), soil)
    if c.chance(.15):
        road(c, 40, 20, c.rng.integers(0, 4))
    for p in c.spots(5, [soil], 28, 60, c.rng.integers(0, 3)) if c.chance(.2) else ():
        mobile_home(c, p, c.rng.uniform(0, 3))
    shrubs(c, c.rng.uniform(.08, .32))
    wood(c, 14 * c.chance(.3), [soil], 5, 9)


def farmland(c):
    c.fill(c.pick(["grass", "bare-soil"]))
    xs, ys = (np.concatenate([[-200], np.sort(c.rng.uniform(-90, 90, c.rng.integers(0, 3))), [200]])
              for _ in range(2))
    gap, extra = c.rng.uniform(1, 8), c.pick(["none", "farm", "farm", "pond", "road"])
    for x, x2 in zip(xs[:-1], xs[1:]):
        for y, y2 in zip(ys[:-1], ys[1:]):
            if min(x2 - x, y2 - y) > 16:
                parcel(c, ((x + x2) / 2, (y + y2) / 2), x2 - x - gap, y2 - y - gap)
    if c.chance(.4):                                    # a hedge along a boundary, cut by what follows
        x = xs[1] if len(xs) > 2 else 90
        trees(c, [(x + c.rng.normal(0, 3), y) for y in np.arange(-180, 180, 9) if c.chance(.7)], 5, 11)
    if extra == "pond":
        pond(c, "water", c.rng.uniform(-80, 80, 2), c.rng.uniform(18, 34))
    elif extra == "road":
        road(c, ys[1] if len(ys) > 2 else 60, 14, c.rng.integers(0, 3))
    elif extra == "farm":
        x, y = c.rng.uniform(-60, 60, 2)
        c.slab((x, y), 90, 80, "bare-soil")
        building(c, (x - 14, y - 16), 54, 28, 0, "gable")
        if c.chance(.5):
            tank(c, (x + 30, y - 18), 11)
        if c.chance(.4):
            mobile_home(c, (x + 4, y + 24), 0.)


def forest(c):
    floor = c.pick(["grass", "bare-soil"])
    c.fill(floor)
    if c.chance(.2):
        c.cover(9 - np.abs(c.grid()[1] - 50 + 14 * c.noise(60)), c.ground["water"], "water", 3)
    if c.chance(.3):
        road(c, c.rng.uniform(-40, 40), 14, c.rng.integers(0, 3), False)
    for p in c.spots(9, [floor], 30, 80, c.rng.integers(1, 3)) if c.chance(.3) else ():
        house(c, p, 48, 34)
    points = c.spots(c.rng.integers(450, 700), [floor], 5)
    clearing = .9 if c.chance(.4) else 9
    trees(c, points[c.at_pixels(c.noise(90), points) < clearing], 7, 16)


def golfcourse(c):
    c.fill("grass")
    x, y = c.grid()
    fairway = 45 + 8 * c.noise(60) - np.abs(y - 40 * np.sin(x / 90 + c.rng.uniform(0, 6)))
    c.cover(fairway, scaled(c.ground["grass"], 1.2), "grass", 6)
    if c.chance(.4):
        pond(c, "water", c.rng.uniform(-80, 80, 2), c.rng.uniform(26, 50))
    for at in c.spots(60, ["grass"], 22, 40, c.rng.integers(1, 5)) if c.chance(.75) else ():
        pond(c, "sand", at, c.rng.uniform(11, 20))
    if c.chance(.4):
        t = np.linspace(0, 5, 30)
        c.line(np.stack([80 * t - 200, 50 * np.sin(t)], 1), 6, c.ground["pavement"], "pavement")
    for p in c.spots(9, ["grass"], 60, most=1) if c.chance(.5) else ():
        court(c, p, c.tone(c.pick(COURTS)), c.tone(c.pick(COURTS)))
    wood(c, c.rng.integers(0, 150), ["grass"], clear=6)


def harbor(c):
    basin = c.pick(["water", "sea"])
    c.fill(basin)
    swell(c)
    quay, pitch, first = c.chance(.5), c.rng.uniform(88, 110), c.rng.uniform(-120, -80)
    for y in np.arange(first, 50 if quay else 150, pitch):
        moorings(c, y)
    if c.chance(.3):
        boat(c, (c.rng.uniform(-60, 60), first + pitch / 2), c.pick([0, np.pi]), 26, True)
    if quay:
        c.slab((0, 165), 420, 130, "pavement")
        c.line([(-210, 100), (210, 100)], 5, c.tone((150, 144, 132)), "pavement")
        side = c.pick(["parking", "sheds", "tanks", "lawn"])
        if side == "parking":
            parking(c, (0, 124), 300, 34, c.rng.uniform(.2, .8))
        elif side == "lawn":
            c.slab((0, 170), 420, 110, "grass")
            wood(c, 30, ["grass"])
        for x in np.arange(-140, 160, 70):
            if side == "sheds":
                building(c, (x, 130), 56, 32, 0, "flat", height=10)
            elif side == "tanks":
                tank(c, (x, 130), 18)


def mobilehomepark(c):
    yard, pitch = c.pick(["grass", "bare-soil", "pavement"]), c.rng.uniform(23, 29)
    lean, parked = c.rng.uniform(-.12, .12), c.pick([0, .2, .4])
    c.fill(yard)
    for y in (-180, -60, 60, 180):
        road(c, y, 20, 0 if not parked else c.rng.integers(0, 4), False)
        for x in np.arange(-190, 190, pitch):
            for side in (-1, 1):
                if c.chance(.93):
                    mobile_home(c, (x, y + side * 34), np.pi / 2 + side * lean)
                if c.chance(parked):
                    c.slab((x + pitch / 2, y + side * 18), 8, 22, "pavement")
                    car(c, (x + pitch / 2, y + side * 19), np.pi / 2)
    wood(c, c.pick([0, 60, 140]), [yard], 4, 9)


def parkinglot(c):
    c.fill("pavement")
    parking(c, (0, -40), 440, 300, c.rng.uniform(.2, .95))
    edge = c.pick(["none", "grass", "bare-soil", "shop", "shop"])
    if edge == "shop":
        building(c, (c.rng.uniform(-40, 40), 148), 240, 74, 0, "flat", height=18)
    elif edge != "none":
        c.slab((0, 128), 440, 64, edge)
        wood(c, c.rng.integers(0, 70), [edge])


def residential(c):
    yard = c.pick(["grass", "grass", "bare-soil"])
    c.fill(yard)
    if c.chance(.4):
        patches(c, "bare-soil" if yard == "grass" else "grass", .2, 30)
    plot, street, cars = c.rng.uniform(52, 72), c.rng.uniform(22, 28), c.chance(.8)
    for y in (-152, 0, 152):
        c.line([(-220, y), (220, y)], street + 8, c.tone((172, 168, 160), 4), "pavement")
        road(c, y, street, cars * c.rng.integers(0, 5), False)
        for x in np.arange(-180, 180, plot):
            for side in (-1, 1):
                w, h = c.rng.uniform(.58, .78) * plot, c.rng.uniform(30, 38)
                drive = x + c.pick([-1, 1]) * w * .3
                c.slab((drive, y + side * 26), 9, 28, "pavement")
                house(c, (x, y + side * (36 + h / 2)), w, h)
                if cars and c.chance(.3):
                    car(c, (drive, y + side * 24), np.pi / 2)
    for p in c.spots(300, [yard], 10, 70, 4) if c.chance(.3) else ():
        c.polygon(circle(1) * (13, 8) * 1.1, (206, 200, 190), "pavement", p)
        c.polygon(circle(1) * (12, 7), c.tone((70, 160, 176)), "water", p)
    wood(c, c.rng.integers(0, 130), [yard])


def river(c):
    bank = c.pick(["grass", "bare-soil", "grass"])
    extra = c.pick(["none", "fields", "bridge", "jetties", "shrubs"])
    c.fill(bank)
    for y in (-150, 150) if extra == "fields" else ():
        parcel(c, (0, y), 420, 130)
    x, y = c.grid()
    middle = 22 * np.sin(x / c.rng.uniform(50, 80) + c.rng.uniform(0, 6)) + 6 * c.noise(40)
    half = c.rng.uniform(22, 44)
    outside = np.abs(y - middle) - half - 3 * c.noise(18)
    if c.chance(.6):
        shoal = c.pick(["sand", "bare-soil"])
        c.cover(14 + 16 * c.noise(50) - outside, c.ground[shoal], shoal, 5)
    c.cover(-outside, c.ground["water"], "water", 3)
    for at in c.rng.uniform(-90, 90, c.rng.integers(1, 4)) if extra == "jetties" else ():
        end = c.at_pixels(middle, [(at, 0)])[0] + half - 22
        c.line([(at, end), (at, end + 40)], 5, c.ground["dock"], "dock")
        if c.chance(.7):
            boat(c, (at + 8, end + 4), np.pi / 2, c.rng.uniform(16, 22))
    if extra == "shrubs":
        shrubs(c, .1)
    elif extra == "bridge":
        x = c.rng.uniform(-40, 40)
        c.cast(box(26, 120), 6, (x, 0))
        road(c, -x, 24, c.rng.integers(0, 6), turn=np.pi / 2)
    wood(c, c.rng.integers(0, 250), [bank])


def runway(c):
    c.fill(c.pick(["grass", "bare-soil", "grass"]))
    if c.chance(.6):
        patches(c, c.pick(["grass", "bare-soil"]), c.rng.uniform(.05, .3))
    if c.chance(.25):
        parcel(c, (0, -170), 420, 110)
    if c.chance(.3):
        shrubs(c, .08)
    c.slab((0, 0), 440, 74, "pavement")
    for y in c.rng.normal(0, 8, 8):                     # rubber left by tyres
        c.line([(-220, y), (220, y)], 3, (30, 30, 32, 22))
    for x in np.arange(-200, 200, 40):
        c.polygon(box(22, 2.5), WHITE, None, (x, 0))
    for y in (-33, 33):
        c.line([(-220, y), (220, y)], 1.2, WHITE)
    if c.chance(.6):
        c.slab((60, 100), 34, 140, "pavement")
        c.line([(60, 30), (60, 180)], 1, YELLOW)
    if c.chance(.5):
        airplane(c, (c.rng.uniform(-70, 70), c.rng.normal(0, 3)), c.pick([0, np.pi]), c.rng.uniform(38, 90))
    if c.chance(.3):
        building(c, (-60, 105), 70, 50, 0, "flat", height=14)


def storagetanks(c):
    yard = c.pick(["bare-soil", "pavement", "grass"])
    c.fill(yard)
    if c.chance(.6):
        road(c, -88, 24, c.rng.integers(0, 6), yard != "pavement")
    r = c.rng.uniform(16, 40)
    step = r * c.rng.uniform(2.5, 3)
    for x in np.arange(-150, 150, step):
        for y in np.arange(-60 + r, 150, step):
            if c.chance(.75):
                c.line([(x - step / 2, y), (x + step / 2, y)], 1.5, (120, 116, 110))       # pipes
                tank(c, (x, y), r * c.rng.uniform(.85, 1.05))
    for p in c.spots(60, [yard], 22, 60, c.rng.integers(0, 4)):
        building(c, p, 38, 20, 0, "flat")
    for p in c.spots(60, ["pavement"], 9, 25, c.rng.integers(0, 5)):
        car(c, p, 0)
    wood(c, c.rng.integers(0, 40) * (yard != "pavement"), [yard], 5, 10, 8)


def tenniscourt(c):
    lawn = c.pick(["grass", "grass", "bare-soil", "pavement"])
    c.fill(lawn)
    surround, play = c.tone(c.pick(COURTS)), c.tone(c.pick(COURTS))
    rows, columns = c.rng.integers(1, 3), c.rng.integers(1, 4)
    for i in range(rows):
        for j in range(columns):
            court(c, ((i - (rows - 1) / 2) * 104, (j - (columns - 1) / 2) * 56 - 20), surround, play)
    edge, side = 28 * columns - 20, c.pick(["none", "road", "parking"])
    if side == "road":
        road(c, edge + 26, 24, c.rng.integers(0, 6))
    elif side == "parking":
        parking(c, (0, edge + 40), 200, 50, c.rng.uniform(.2, .8))
    for p in c.spots(60, [lawn], 36, 90, 3) if c.chance(.5) else ():
        building(c, p, 60, 36, 0, c.pick(["flat", "hip"]))
    wood(c, c.rng.integers(0, 80), [lawn], clear=8)


SCENES = {recipe.__name__: recipe for recipe in (
    airport, beach, chaparral, farmland, forest, golfcourse, harbor, mobilehomepark, parkinglot, residential,
    river, runway, storagetanks, tenniscourt)}


def draw_scene(kind, rng, size=256):
    """One scene of a kind named in SCENES: an RGB picture of size x size px, and its (17,) uint8 labels.

    KeyError for an unknown kind.
    """
    recipe, canvas = SCENES[kind], Canvas(rng, size)
    recipe(canvas)
    return canvas.finish()


def write_synthetic(root, images_per_scene=80, seed=3050):
    """Write the data set in the UCM layout under `root`, which must not exist yet.

    Numbers are spread over 00..99, so that the usual rule "below 80 is training" leaves a fifth for
    testing.  All is drawn in `root`.partial, renamed at the end: an interrupted run leaves no `root`.
    ValueError unless 1 <= images_per_scene <= 100; FileExistsError if `root` exists.
    """
    root = Path(root)
    if not 1 <= images_per_scene <= 100:
        raise ValueError(f"images_per_scene must lie in 1..100, got {images_per_scene}")
    if root.exists():
        raise FileExistsError(f"{root} exists already")
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    jobs = [(index, kind, int(number)) for index, kind in enumerate(SCENES)
            for number in np.arange(images_per_scene) * 100 // images_per_scene]
    rows = [("IMAGE\\LABEL", *LABELS)]
    for index, kind, number in tqdm(jobs, desc=root.name, unit="image"):
        picture, labels = draw_scene(kind, np.random.default_rng([seed, index, number]))
        file = partial / "UCMerced_LandUse" / "Images" / kind / f"{kind}{number:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=92)
        rows.append((file.stem, *map(str, labels)))
    table = partial / "multilabels" / "LandUse_Multilabeled.txt"
    table.parent.mkdir()
    table.write_bytes("".join("\t".join(row) + "\r\n" for row in rows).encode())
    partial.rename(root)


def contact_sheet(file, rows=4, columns=6, seed=3050, tile=256):
    """Save a PNG of rows x columns scenes, each above the names of its labels."""
    font, kinds, caption = ImageFont.load_default(size=16), list(SCENES), 64
    sheet = Image.new("RGB", (columns * (tile + 8) + 8, rows * (tile + caption) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for cell in range(rows * columns):
        again, index = divmod(cell, len(kinds))
        picture, labels = draw_scene(kinds[index], np.random.default_rng([seed, index, again]), tile)
        x, y = 8 + cell % columns * (tile + 8), 8 + cell // columns * (tile + caption)
        sheet.paste(picture, (x, y))
        text = ""
        for name in (name + ", " for name, seen in zip(LABELS, labels) if seen):
            wraps = pen.textlength((text + name).rpartition("\n")[2], font) > tile + 4
            text += "\n" * wraps + name
        pen.multiline_text((x, y + tile + 2), text[:-2], "black", font, spacing=1)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file, optimize=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Draw the synthetic multilabel data set.")
    parser.add_argument("--data_root", type=Path, help="write the set to DATA_ROOT/Synthetic_Multilabel")
    parser.add_argument("--contact_sheet", type=Path, help="write a contact sheet to this PNG file")
    parser.add_argument("--images_per_scene", type=int, default=80, help="1..100 (default: 80)")
    parser.add_argument("--seed", type=int, default=3050)
    options = parser.parse_args(arguments)
    if not (options.data_root or options.contact_sheet):
        parser.error("give --data_root, --contact_sheet or both")
    if options.contact_sheet:
        contact_sheet(options.contact_sheet, seed=options.seed)
    if options.data_root:
        root = options.data_root / "Synthetic_Multilabel"
        try:
            write_synthetic(root, options.images_per_scene, options.seed)
        except (ValueError, FileExistsError) as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
