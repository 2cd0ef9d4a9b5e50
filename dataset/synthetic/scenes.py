"""The scenes: a recipe fills the ground, lays things out, and chooses at random what to leave out."""

import numpy as np
from PIL import Image

from .canvas import COURTS, WHITE, YELLOW, Canvas, box, circle, scaled
from .things import (
    airplane,
    boat,
    building,
    car,
    court,
    house,
    mobile_home,
    moorings,
    parcel,
    parking,
    patches,
    pond,
    road,
    shrubs,
    swell,
    tank,
    trees,
    wood,
)


def airport(c: Canvas) -> None:
    c.fill("pavement")
    if c.chance(.5):
        c.slab((0, -150), 420, 100, c.choose(["grass", "grass", "bare-soil"]))
    for y in (-76, -72):
        c.line([(-200, y), (200, y)], 1, YELLOW)
    for x in np.arange(-200, 200, 52):                  # joints of the concrete
        c.line([(x, -97), (x, 200)], .6, (60, 60, 60, 90))
    if c.chance(.55):
        building(c, (0, 125), 380, 66, height=16, colour=c.tone((186, 182, 174)))
        for x in c.rng.uniform(-120, 120, 4):
            building(c, (x, 83), 5, 26, height=6, colour=(168, 168, 166))
    airliners = c.chance(.65)
    step, ys, lengths = (105, (15,), (85, 108)) if airliners else (58, (-30, 35), (40, 50))
    for x in (np.arange(-step, step * 1.6, step) + c.rng.uniform(-20, 20)) if c.chance(.95) else ():
        for y in ys:
            if c.chance(.85):
                at, angle = (x, y + c.rng.normal(0, 3)), np.pi / 2 + c.rng.normal(0, .05)
                airplane(c, at, angle, c.rng.uniform(*lengths))
    for at in c.spots(c.rng.integers(10, 50), ["pavement"], 9, 20) if c.chance(.6) else ():
        car(c, at, c.choose([0, np.pi / 2]))


def beach(c: Canvas) -> None:
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
    inland = c.choose(["none", "scrub", "road", "town"])
    if inland == "scrub":
        c.cover(shore - 80 + 14 * c.noise(20), c.ground["grass"], "grass", 6)
    elif inland != "none":
        c.slab((0, 130), 420, 90, c.choose(["bare-soil", "grass"]))
        road(c, 92, 24, c.rng.integers(0, 6))
        for x in np.arange(-150, 170, 62) if inland == "town" else ():
            house(c, (x, 135), c.rng.uniform(40, 54), c.rng.uniform(32, 40))
    wood(c, c.rng.integers(0, 60), ["grass", "bare-soil"])


def chaparral(c: Canvas) -> None:
    soil = c.fill("bare-soil", "bare-soil", "sand")
    if c.chance(.3):
        c.line([(-200, -60), (-20, c.rng.uniform(-40, 40)), (200, 60)], 9, scaled(c.ground[soil], 1.15), soil)
    if c.chance(.15):
        road(c, 40, 20, c.rng.integers(0, 4))
    for at in c.spots(5, [soil], 28, 60, c.rng.integers(0, 3)) if c.chance(.2) else ():
        mobile_home(c, at, c.rng.uniform(0, 3))
    shrubs(c, c.rng.uniform(.08, .32))
    wood(c, 14 * c.chance(.3), [soil], 5, 9)


def farmland(c: Canvas) -> None:
    c.fill("grass", "bare-soil")
    xs, ys = ([-200, *np.sort(c.rng.uniform(-90, 90, c.rng.integers(0, 3))), 200] for _ in range(2))
    gap, extra = c.rng.uniform(1, 8), c.choose(["none", "farm", "farm", "pond", "road"])
    for x, x2 in zip(xs, xs[1:]):
        for y, y2 in zip(ys, ys[1:]):
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


def forest(c: Canvas) -> None:
    floor = c.fill("grass", "bare-soil")
    if c.chance(.2):
        c.cover(9 - np.abs(c.grid()[1] - 50 + 14 * c.noise(60)), c.ground["water"], "water", 3)
    if c.chance(.3):
        road(c, c.rng.uniform(-40, 40), 14, c.rng.integers(0, 3), False)
    for at in c.spots(9, [floor], 30, 80, c.rng.integers(1, 3)) if c.chance(.3) else ():
        house(c, at, 48, 34)
    points = c.spots(c.rng.integers(450, 700), [floor], 5)
    clearing = .9 if c.chance(.4) else 9
    trees(c, points[c.at_pixels(c.noise(90), points) < clearing], 7, 16)


def golfcourse(c: Canvas) -> None:
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
    for at in c.spots(9, ["grass"], 60, most=1) if c.chance(.5) else ():
        court(c, at, c.tone(c.choose(COURTS)), c.tone(c.choose(COURTS)))
    wood(c, c.rng.integers(0, 150), ["grass"], clear=6)


def harbor(c: Canvas) -> None:
    c.fill("water", "sea")
    swell(c)
    quay, pitch, first = c.chance(.5), c.rng.uniform(88, 110), c.rng.uniform(-120, -80)
    for y in np.arange(first, 50 if quay else 150, pitch):
        moorings(c, y)
    if c.chance(.3):
        boat(c, (c.rng.uniform(-60, 60), first + pitch / 2), c.choose([0, np.pi]), 26, True)
    if quay:
        c.slab((0, 165), 420, 130, "pavement")
        c.line([(-210, 100), (210, 100)], 5, c.tone((150, 144, 132)), "pavement")
        side = c.choose(["parking", "sheds", "tanks", "lawn"])
        if side == "parking":
            parking(c, (0, 124), 300, 34, c.rng.uniform(.2, .8))
        elif side == "lawn":
            c.slab((0, 170), 420, 110, "grass")
            wood(c, 30, ["grass"])
        for x in np.arange(-140, 160, 70):
            if side == "sheds":
                building(c, (x, 130), 56, 32, height=10)
            elif side == "tanks":
                tank(c, (x, 130), 18)


def mobilehomepark(c: Canvas) -> None:
    yard, pitch = c.fill("grass", "bare-soil", "pavement"), c.rng.uniform(23, 29)
    lean, parked = c.rng.uniform(-.12, .12), c.choose([0, .2, .4])
    for y in (-180, -60, 60, 180):
        road(c, y, 20, c.rng.integers(0, 4) if parked else 0, False)
        for x in np.arange(-190, 190, pitch):
            for side in (-1, 1):
                if c.chance(.93):
                    mobile_home(c, (x, y + side * 34), np.pi / 2 + side * lean)
                if c.chance(parked):
                    c.slab((x + pitch / 2, y + side * 18), 8, 22, "pavement")
                    car(c, (x + pitch / 2, y + side * 19), np.pi / 2)
    wood(c, c.choose([0, 60, 140]), [yard], 4, 9)


def parkinglot(c: Canvas) -> None:
    c.fill("pavement")
    parking(c, (0, -40), 440, 300, c.rng.uniform(.2, .95))
    edge = c.choose(["none", "grass", "bare-soil", "shop", "shop"])
    if edge == "shop":
        building(c, (c.rng.uniform(-40, 40), 148), 240, 74, height=18)
    elif edge != "none":
        c.slab((0, 128), 440, 64, edge)
        wood(c, c.rng.integers(0, 70), [edge])


def residential(c: Canvas) -> None:
    yard = c.fill("grass", "grass", "bare-soil")
    if c.chance(.4):
        patches(c, "bare-soil" if yard == "grass" else "grass", .2, 30)
    plot, street, cars = c.rng.uniform(52, 72), c.rng.uniform(22, 28), c.chance(.8)
    for y in (-152, 0, 152):
        c.line([(-220, y), (220, y)], street + 8, c.tone((172, 168, 160), 4), "pavement")
        road(c, y, street, cars * c.rng.integers(0, 5), False)
        for x in np.arange(-180, 180, plot):
            for side in (-1, 1):
                w, h = c.rng.uniform(.58, .78) * plot, c.rng.uniform(30, 38)
                drive = x + c.choose([-1, 1]) * w * .3
                c.slab((drive, y + side * 26), 9, 28, "pavement")
                house(c, (x, y + side * (36 + h / 2)), w, h)
                if cars and c.chance(.3):
                    car(c, (drive, y + side * 24), np.pi / 2)
    for at in c.spots(300, [yard], 10, 70, 4) if c.chance(.3) else ():      # swimming pools
        c.polygon(circle(1) * (13, 8) * 1.1, (206, 200, 190), "pavement", at)
        c.polygon(circle(1) * (12, 7), c.tone((70, 160, 176)), "water", at)
    wood(c, c.rng.integers(0, 130), [yard])


def river(c: Canvas) -> None:
    bank = c.fill("grass", "bare-soil", "grass")
    extra = c.choose(["none", "fields", "bridge", "jetties", "shrubs"])
    for y in (-150, 150) if extra == "fields" else ():
        parcel(c, (0, y), 420, 130)
    x, y = c.grid()
    middle = 22 * np.sin(x / c.rng.uniform(50, 80) + c.rng.uniform(0, 6)) + 6 * c.noise(40)
    half = c.rng.uniform(22, 44)
    outside = np.abs(y - middle) - half - 3 * c.noise(18)
    if c.chance(.6):
        shoal = c.choose(["sand", "bare-soil"])
        c.cover(14 + 16 * c.noise(50) - outside, c.ground[shoal], shoal, 5)
    c.cover(-outside, c.ground["water"], "water", 3)
    for x in c.rng.uniform(-90, 90, c.rng.integers(1, 4)) if extra == "jetties" else ():
        end = c.at_pixels(middle, [(x, 0)])[0] + half - 22
        c.line([(x, end), (x, end + 40)], 5, c.ground["dock"], "dock")
        if c.chance(.7):
            boat(c, (x + 8, end + 4), np.pi / 2, c.rng.uniform(16, 22))
    if extra == "shrubs":
        shrubs(c, .1)
    elif extra == "bridge":
        x = c.rng.uniform(-40, 40)
        c.cast(box(26, 120), 6, (x, 0))
        road(c, -x, 24, c.rng.integers(0, 6), angle=np.pi / 2)
    wood(c, c.rng.integers(0, 250), [bank])


def runway(c: Canvas) -> None:
    c.fill("grass", "bare-soil", "grass")
    if c.chance(.6):
        patches(c, c.choose(["grass", "bare-soil"]), c.rng.uniform(.05, .3))
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
        airplane(c, (c.rng.uniform(-70, 70), c.rng.normal(0, 3)), c.choose([0, np.pi]), c.rng.uniform(38, 90))
    if c.chance(.3):
        building(c, (-60, 105), 70, 50, height=14)


def storagetanks(c: Canvas) -> None:
    yard = c.fill("bare-soil", "pavement", "grass")
    if c.chance(.6):
        road(c, -88, 24, c.rng.integers(0, 6), yard != "pavement")
    r = c.rng.uniform(16, 40)
    step = r * c.rng.uniform(2.5, 3)
    for x in np.arange(-150, 150, step):
        for y in np.arange(-60 + r, 150, step):
            if c.chance(.75):
                c.line([(x - step / 2, y), (x + step / 2, y)], 1.5, (120, 116, 110))       # pipes
                tank(c, (x, y), r * c.rng.uniform(.85, 1.05))
    for at in c.spots(60, [yard], 22, 60, c.rng.integers(0, 4)):
        building(c, at, 38, 20)
    for at in c.spots(60, ["pavement"], 9, 25, c.rng.integers(0, 5)):
        car(c, at, 0)
    wood(c, c.rng.integers(0, 40) * (yard != "pavement"), [yard], 5, 10, 8)


def tenniscourt(c: Canvas) -> None:
    lawn = c.fill("grass", "grass", "bare-soil", "pavement")
    around, within = c.tone(c.choose(COURTS)), c.tone(c.choose(COURTS))
    rows, columns = c.rng.integers(1, 3), c.rng.integers(1, 4)
    for i, j in np.ndindex(rows, columns):
        court(c, ((i - (rows - 1) / 2) * 104, (j - (columns - 1) / 2) * 56 - 20), around, within)
    edge, side = 28 * columns - 20, c.choose(["none", "road", "parking"])
    if side == "road":
        road(c, edge + 26, 24, c.rng.integers(0, 6))
    elif side == "parking":
        parking(c, (0, edge + 40), 200, 50, c.rng.uniform(.2, .8))
    for at in c.spots(60, [lawn], 36, 90, 3) if c.chance(.5) else ():
        building(c, at, 60, 36, 0, c.choose(["flat", "hip"]))
    wood(c, c.rng.integers(0, 80), [lawn], clear=8)


SCENES = {recipe.__name__: recipe for recipe in (
    airport, beach, chaparral, farmland, forest, golfcourse, harbor, mobilehomepark, parkinglot, residential, river,
    runway, storagetanks, tenniscourt)}


def draw_scene(kind: str, rng: np.random.Generator, size: int = 256) -> tuple[Image.Image, np.ndarray]:
    """One scene of a kind named in SCENES: an RGB image of size x size px, and its (17,) uint8 labels.

    Raises:
        KeyError: for an unknown kind.
    """
    recipe, canvas = SCENES[kind], Canvas(rng, size)
    recipe(canvas)
    return canvas.finish()
