"""The objects in a scene: drawn about `at` in the layout, rotated by `angle`, the long side along x."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from .canvas import CARS, GROUND, ID, PALE, ROOFS, SHADE, SOLID, WHITE, Canvas, Colour, box, circle, rotated, scaled


def car(c: Canvas, at: ArrayLike, angle: float) -> None:
    """A car with its front and rear window."""
    if c.sees(at):
        body, front, rear = np.split(c.place([
            (-7, -2.6), (-6, -3.3), (6, -3.3), (7.4, -2), (7.4, 2), (6, 3.3), (-6, 3.3), (-7, 2.6),
            (1.2, -2.6), (3.4, -2.2), (3.4, 2.2), (1.2, 2.6),
            (-5.2, -2.3), (-3.8, -2.5), (-3.8, 2.5), (-5.2, 2.3)], at, angle), (8, 12))
        c.drop(body, 3)
        c.paint(body, c.tone(c.choose(CARS), 6), "cars")
        c.paint(front, (34, 38, 44), "cars")
        c.paint(rear, (40, 44, 50), "cars")


def road(c: Canvas, y: float, width: float, cars: int = 0, marked: bool = True, angle: float = 0.) -> None:
    """A straight paved road across the image at layout height y, with up to `cars` cars in its lanes."""
    c.line([(-220, y), (220, y)], width, c.ground["pavement"], "pavement", angle=angle)
    for x in np.arange(-200, 200, 16) if marked else ():
        c.line([(x, y), (x + 8, y)], .7, WHITE, angle=angle)
    for x in c.rng.permutation(np.arange(-130, 131, 26))[:cars]:
        lane = c.choose([-1, 1])
        car(c, rotated([(x, y + lane * width / 4)], angle)[0], angle + np.pi * (lane < 0))


def parking(c: Canvas, at: ArrayLike, w: float, h: float, full: float) -> None:
    """A paved lot of w x h px with rows of marked stalls, each holding a car with probability `full`."""
    c.slab(at, w, h, "pavement")
    for y in np.arange(at[1] - h / 2 + 12, at[1] + h / 2 - 10, 31):
        way = c.choose([1, -1])
        for x in np.arange(at[0] - w / 2 + 8, at[0] + w / 2 - 10, 9.5):
            if c.sees((x, y)):
                c.line([(x, y - 9), (x, y + 9)], .6, WHITE)
                if c.chance(full):
                    car(c, (x + 4.75, y) + c.rng.normal(0, (.4, 1)), way * np.pi / 2 + c.rng.normal(0, .04))


def building(c: Canvas, at: ArrayLike, w: float, h: float, angle: float = 0., roof: str = "flat",
             label: str = "buildings", height: float | None = None, colour: Colour | None = None) -> None:
    """A w x h px house; roof: "gable", "hip" or "flat"."""
    if h > w:
        w, h, angle = h, w, angle + np.pi / 2
    colour = colour or c.tone(c.choose(ROOFS), 10)
    c.cast(box(w, h), height or .28 * h, at, angle)
    a, b, e, d = corners = c.place(box(w, h), at, angle)
    if roof == "flat":
        c.paint(corners, colour, label)
        c.polygon(box(w - 4, h - 4), scaled(colour, .88), label, at, angle)
        for x, y in c.rng.uniform(-.38, .38, (max(2, int(w * h / 1500)), 2)):      # plant on the roof
            plant = c.place(box(*c.rng.uniform(3, 8, 2)) + (x * w, y * h), at, angle)
            c.paint(plant + c.away * 3 * c.shadow * c.k, SHADE)
            c.paint(plant, c.tone((170, 170, 166), 20), label)
        return
    inset = h / 2 if roof == "hip" else 0
    p, q = ridge = c.place([(-w / 2 + inset, 0), (w / 2 - inset, 0)], at, angle)
    for face, normal in (((a, b, q, p), a - d), ((d, e, q, p), d - a), ((a, d, p), a - b), ((b, e, q), b - a)):
        averted = float(normal @ c.away) / (np.hypot(*normal) + 1e-9)
        c.paint(np.array(face), scaled(colour, 1 - .2 * averted), label)
    c.pen.line(ridge.ravel().tolist(), fill=scaled(colour, 1.15), width=2)


def house(c: Canvas, at: ArrayLike, w: float, h: float) -> None:
    """A house of one or two wings."""
    roof, colour, lean = c.choose(["gable", "hip", "hip"]), c.tone(c.choose(ROOFS), 10), c.rng.normal(0, .03)
    building(c, at, w, h, lean, roof, colour=colour)
    if c.chance(.5):
        wing = (c.choose([-1, 1]) * w * .26, c.choose([-1, 1]) * h * .3)
        building(c, np.add(at, wing), w * .4, h * .9, lean, roof, height=.2 * h, colour=colour)


def mobile_home(c: Canvas, at: ArrayLike, angle: float) -> None:
    """A long pale box with a ribbed roof."""
    if c.sees(at):
        length, colour = c.rng.uniform(40, 50), c.tone(c.choose(PALE), 6)
        building(c, at, length, c.rng.uniform(13, 17), angle, "gable", "mobile-home", 6, colour)
        for x in np.arange(-length / 2 + 5, length / 2, 9):
            c.line([(x, -6), (x, 6)], .5, (70, 70, 70, 60), None, at, angle)


def tank(c: Canvas, at: ArrayLike, r: float) -> None:
    """A storage tank of radius r px: a cone roof, or a floating roof sunk below its rim."""
    paint = c.tone(c.choose(PALE), 6)
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


def court(c: Canvas, at: ArrayLike, around: Colour, within: Colour) -> None:
    """A tennis court: 80 x 37 px of lines on 104 x 56 px of hard surface; colours around and within the lines."""
    c.polygon(box(104, 56), around, "court", at)
    c.polygon(box(80, 37), within, "court", at)
    for line in ([(-40, -18.5), (40, -18.5), (40, 18.5), (-40, 18.5), (-40, -18.5)], [(-40, 14), (40, 14)],
                 [(-40, -14), (40, -14)], [(-21, -14), (-21, 14)], [(21, -14), (21, 14)], [(-21, 0), (21, 0)]):
        c.line(line, .9, WHITE, None, at)
    c.line([(0, -20), (0, 20)], 1, (40, 44, 44, 190), None, at)


def airplane(c: Canvas, at: ArrayLike, angle: float, length: float) -> None:
    """An airliner, or below 60 px a light aircraft; the nose points along x."""
    s, airliner = length / 100, length >= 60
    half = np.array([(-50, .8), (-40, 2.6), (-15, 5), (30, 5), (42, 4), (48, 2.2), (50, .3)]) * s
    swept, straight = [(16, 3), (2, 3), (-18, 46), (-12, 47)], [(18, 3), (2, 3), (4, 55), (14, 56)]
    wing = np.array(swept if airliner else straight) * s
    tail = np.array([(-36, 2), (-44, 2), (-51, 17), (-46, 18)]) * s
    body = np.concatenate([half, half[::-1] * (1, -1)]) * (1, 1 if airliner else 1.3)
    engines = [box(10 * s, 4 * s) + (7 * s, y * s) for y in (-18, 18) if airliner]
    wings = [wing, wing * (1, -1), tail, tail * (1, -1)]
    for shape in (*wings, body):
        c.drop(c.place(shape, at, angle), 12 * s)
    paintwork = c.tone(c.choose([(236, 236, 236), (244, 244, 242), (214, 218, 222)]), 4)
    nose, left = c.place([(0, 0), (0, 1)], at, angle)
    dark = half * (1, 1 if (left - nose) @ c.away > 0 else -1)
    for shape, gain in (*((shape, .88) for shape in engines + wings), (body, 1), (dark, .8)):
        c.polygon(shape, scaled(paintwork, gain), "airplane", at, angle)
    livery = c.choose([(40, 60, 120), (150, 40, 40), (70, 80, 90), (220, 220, 220)])
    c.line([(-48 * s, 0), (-34 * s, 0)], max(1, 1.8 * s), livery, "airplane", at, angle)
    c.line([(44 * s, -2.5 * s), (44 * s, 2.5 * s)], 1, (50, 54, 60), "airplane", at, angle)


def boat(c: Canvas, at: ArrayLike, angle: float, length: float, wake: bool = False) -> None:
    """A motor boat or yacht, bow along x, with a wake if it is moving."""
    if not c.sees(at):
        return
    size = np.array([length, length * .16])
    for points in ([(.3, 0), (-1.9, 2.4), (-1.6, .9)], [(.3, 0), (-1.9, -2.4), (-1.6, -.9)],
                   [(0, .6), (0, -.6), (-1.8, 0)]) if wake else ():
        c.polygon(points * size, (222, 233, 233, 70), None, at, angle)
    hull = np.array([(-.5, -.8), (.15, -1), (.38, -.6), (.5, 0), (.38, .6), (.15, 1), (-.5, .8)])
    c.drop(c.place(hull * size, at, angle), 3)
    paint = c.tone((230, 230, 226), 6)
    deck = c.tone(c.choose([(206, 196, 176), (200, 204, 206), (60, 84, 130), (180, 170, 150)]), 6)
    cabin = [(-.12, -.5), (.1, -.5), (.16, 0), (.1, .5), (-.12, .5)]
    window = [(.08, -.5), (.16, -.3), (.16, .3), (.08, .5)]
    for shape, colour in ((hull * size, paint), (hull * size * (.8, .6), deck), (cabin * size, (238, 238, 236)),
                          (window * size, (50, 58, 66))):
        c.polygon(shape, colour, "ship", at, angle)


def moorings(c: Canvas, y: float) -> None:
    """A pier along x at layout height y, with fingers and boats on both sides."""
    slot, half, full = c.rng.uniform(13, 17), c.rng.uniform(26, 34), c.rng.uniform(.4, .98)
    for x in np.arange(-190, 190, 2 * slot):
        c.line([(x, y - half), (x, y + half)], 2.4, c.ground["dock"], "dock")
    for x in np.arange(-190, 190, slot):
        for side in (-1, 1):
            if c.chance(full):
                length = half * c.rng.uniform(.72, 1.0)
                boat(c, (x + slot / 2, y + side * (6 + length / 2)), c.choose([-1, 1]) * np.pi / 2, length)
    c.line([(-200, y), (200, y)], 6, c.ground["dock"], "dock")


def parcel(c: Canvas, at: ArrayLike, w: float, h: float) -> None:
    """A field of w x h px, with furrows along x or y."""
    colour = c.tone(c.choose(GROUND["field"]))
    c.polygon(box(w, h), colour, "field", at)
    step, dark, along = c.rng.uniform(3.5, 9), scaled(colour, c.rng.uniform(.72, .9)), c.chance(.5)
    half, span = (w / 2, h / 2) if along else (h / 2, w / 2)
    for offset in np.arange(step / 2 - span, span - step / 2, step):
        ends = np.array([(-half, offset), (half, offset)])
        c.line(ends if along else ends[:, ::-1], step * .42, dark, None, at)


def crown(c: Canvas) -> tuple[Image.Image, Image.Image]:
    """A tree from above, n x n px, as (image, mask): a lumpy dome lit from the sun's side."""
    n = 56
    v, u = np.mgrid[-1:1:n * 1j, -1:1:n * 1j]
    lumps = sum(np.asarray(Image.fromarray(c.rng.standard_normal((m, m), dtype=np.float32))
                           .resize((n, n), Image.BICUBIC)) * a for m, a in ((7, .16), (15, .12)))
    dv, du = np.gradient(np.sqrt(np.clip(1.05 - u ** 2 - v ** 2, 0, 1)) + lumps * .9, 2 / n)
    light = np.clip(.95 + .2 * (du * c.away[0] + dv * c.away[1]), .4, 1.7)[..., None]
    rgb = np.clip(light * c.tone(c.ground["trees"], 7), 0, 255).astype(np.uint8)
    mask = np.hypot(u, v) + .7 * lumps < .86
    return Image.fromarray(rgb), Image.fromarray(mask.astype(np.uint8) * 255)


def trees(c: Canvas, points: ArrayLike, low: float = 6, high: float = 13) -> None:
    """Round crowns at points (n, 2), with radii from low to high px; all shadows lie under all crowns."""
    models, fitted = [crown(c) for _ in range(6 if len(points) else 0)], {}
    radii, pixels = c.rng.uniform(low, high, len(points)) * c.scale, c.place(np.reshape(points, (-1, 2)))
    for p, r in zip(pixels, radii):
        c.paint(circle(r * .9, 10) + p + c.away * r * c.shadow * .9, SHADE)
    for (x, y), r in zip(pixels, radii):
        side, which = max(6, int(2.2 * r) // 3 * 3), c.rng.integers(len(models))
        if (which, side) not in fitted:                 # resizing costs more than pasting
            image, mask = (layer.resize((side, side), Image.BILINEAR) for layer in models[which])
            fitted[which, side] = image, mask, mask.point(SOLID, "1")
        image, mask, solid = fitted[which, side]
        x, y = int(x) - side // 2, int(y) - side // 2
        c.image.paste(image, (x, y), mask)
        c.labels.paste(ID["trees"], (x, y, x + side, y + side), solid)


def wood(c: Canvas, count: int, on: Sequence[str], low: float = 6, high: float = 13, clear: float = 3.) -> None:
    """Up to `count` trees, in clumps, on the grounds `on`."""
    points = c.spots(2 * count, on, clear)
    dense = c.at_pixels(c.noise(45), points) + c.rng.normal(0, .4, len(points))
    trees(c, points[np.argsort(-dense)[:len(points) // 2]], low, high)


def shrubs(c: Canvas, share: float) -> None:
    """Low dry bushes, with short shadows, on about `share` of the open soil."""
    level = np.maximum(c.noise(c.rng.uniform(4, 6)), c.noise(10) - .3) + .3 * c.noise(2.5) + .25 * c.noise(60)
    level, soil = level - np.quantile(level, 1 - share), ("bare-soil", "sand")
    shift = np.rint(c.away * c.size / 256 * (1 + 1.5 * c.shadow)).astype(int)
    c.cover(np.roll(level, shift[::-1], (0, 1)), SHADE[:3], None, .3, .45, soil)
    c.cover(level, c.ground["chaparral"], "chaparral", .3, .95, soil)
    sunny = np.minimum(level, np.roll(level, -shift[::-1], (0, 1))) - .15
    c.cover(sunny, scaled(c.ground["chaparral"], 1.4), None, .6, .6, ("chaparral",))


def patches(c: Canvas, label: str, share: float, cell: float = 40) -> None:
    """Ragged patches of a ground over about `share` of the image."""
    level = c.noise(cell) + .3 * c.noise(cell / 4)
    c.cover((level - np.quantile(level, 1 - share)) * 10, c.ground[label], label, 4)


def pond(c: Canvas, label: str, at: ArrayLike, radius: float) -> None:
    """A round, uneven spot of water or sand."""
    x, y = c.grid()
    level = radius - np.hypot(x - at[0], y - at[1]) + radius * .22 * c.noise(radius)
    c.cover(level, c.ground[label], label, 3)


def swell(c: Canvas) -> None:
    """Ripples on the sea."""
    x, y = c.grid()
    wave = np.sin(y / c.rng.uniform(2.2, 4) + 2.5 * c.noise(40) + .02 * x) + .8 * c.noise(6) - .3
    c.cover(wave, scaled(np.add(c.ground["sea"], 55), .8), None, 2, .3, ("sea",))
