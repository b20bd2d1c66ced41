"""Hats, jewellery, scarves and whatever else a clothes shop sells, down to the side table.

Coordinates are centimetres or so, x to the right and y down, around any origin.
"""

from dataclasses import replace

import numpy as np

from pipelines.data.synthetic.pictures.canvas import SHARP as K
from pipelines.data.synthetic.pictures.canvas import (
    Part,
    Point,
    Stroke,
    oval,
    overlay,
    polygon,
    ribbon,
    spline,
    vector,
)
from pipelines.data.synthetic.pictures.tailoring import Build, both, creases, curve, shape

# fmt: off
# One point to a line, as the formatter would have it, could not be read as an outline.


# --- on the head ---


def hat(b: Build) -> list[Part]:
    return {"beanie": beanie, "bucket": bucket_hat}[b.pick("beanie", "beanie", "bucket")](b)


def beanie(b: Build) -> list[Part]:
    tall = b.vary(19, 0.12)
    dome = shape((0, -tall), (6, -tall + 1), (10.6, -tall * 0.55), (12, 0, K), (0, 1.4))
    cuff = shape((0, -5.4), (11.8, -6.4), (12.7, -5.8, K), (12.5, 1.2, K), (11.6, 2.0), (0, 3.2))
    pompom = (
        [Part(oval(0, -tall - 2.4, 4.2, 4.0), "trim", "fleece", 1.02, volume=1.4)] if b.chance(0.4)
        else []
    )
    finish = b.pick("rib", "knit")
    return [
        *pompom, Part(dome, finish=finish, main=True, volume=1.6),
        Part(cuff, "trim", finish, 1.0, shadow=0.6, volume=1.2),
    ]


def bucket_hat(b: Build) -> list[Part]:
    crown = shape((0, -13), (7, -12.6), (8.6, -11.4), (10.4, -1.6, K), (0, 0.6))
    brim = shape((0, -2.2), (10.2, -3.4, K), (17.6, 4.4), (16, 5.8), (0, 7.6))
    rows = [
        Stroke(
            curve(
                (-10.8 - 2.2 * k, -1.4 + 2.2 * k), (0, 0.4 + 2.2 * k),
                (10.8 + 2.2 * k, -1.4 + 2.2 * k),
            ),
            1, 0.35, "stitch",
        )
        for k in range(3)
    ]
    return [
        Part(crown, finish="woven", volume=1.5),
        Part(brim, finish="woven", lines=tuple(rows), main=True, volume=1.2, shadow=0.4),
    ]


def brim_hat(b: Build, finish: str = "felt") -> list[Part]:
    rear = oval(0, 3.4, 24, 7.0)
    crown = shape((0, -12.2), (4, -13.6), (8, -12.4), (10.4, 0), (11.2, 4.4, K), (0, 7.0))
    band = shape((0, 2.0), (10.5, -0.2, K), (11.1, 3.6, K), (0, 6.2))
    dent = Stroke(curve((0, -12), (0.4, -9)), 3.0, -1.4)
    return [
        Part(rear, finish=finish, volume=1.2, main=True),
        Part(crown, finish=finish, volume=1.7, folds=(dent,), shadow=0.7),
        Part(band, "dark" if finish == "straw" else "lining", "satin", 0.8, volume=0.6, shadow=0.2),
    ]


def straw_hat(b: Build) -> list[Part]:
    return brim_hat(b, "straw")


def cap(b: Build) -> list[Part]:
    dome = spline(
        [
            (-12, 2, K), (-11.4, -5), (-6, -11.6), (1, -12.6), (8, -9.6), (11.4, -3),
            (11.8, 2.4, K), (0, 4.2),
        ]
    )
    peak = spline(
        [
            (2.2, 3.2, K), (8, 1.2), (11.6, 1.4), (18, 4.2), (22.4, 8.2), (20, 9.4), (12, 6.6),
            (5, 5.8),
        ]
    )
    seams = [
        Stroke(curve((0, -12.4), (3.4, -6), (4.2, 3.4)), 1, 0.5),
        Stroke(curve((0, -12.4), (-6, -5), (-7, 3)), 1, 0.5),
    ]
    rows = tuple(
        Stroke(curve((4 + k, 4.6), (11 + k, 4 + 0.8 * k), (18 + 0.6 * k, 7.6)), 0.9, 0.3, "stitch")
        for k in range(2)
    )
    return [
        Part(dome, finish="woven", lines=tuple(seams), main=True, volume=1.8),
        Part(peak, "trim", "woven", 0.95, lines=rows, shadow=0.6),
        Part(oval(0.2, -12.6, 1.0, 0.6), "plain", "woven", 0.9),
    ]


def scrunchie(b: Build) -> list[Part]:
    rng = b.rng
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    ripple = 1 + 0.055 * np.sin(15 * angle + rng.uniform(0, 6)) + 0.03 * np.sin(7 * angle)
    outer = np.c_[10 * ripple * np.cos(angle), 10 * ripple * np.sin(angle)].astype(np.float32)
    folds = tuple(
        Stroke(
            curve(
                (4.6 * np.cos(a), 4.6 * np.sin(a)),
                (9.6 * np.cos(a + 0.12), 9.6 * np.sin(a + 0.12)),
            ),
            0.9, w,
        )
        for k, a in enumerate(
            np.linspace(0, 2 * np.pi, 30, endpoint=False) + rng.uniform(0, 0.1, 30)
        )
        for w in ((1.3,) if k % 2 else (-1.3,))
    )
    one = Part(
        outer, finish=b.pick("satin", "woven"), folds=folds, holes=(oval(0, 0, 4.2, 4.0),),
        main=True, volume=1.3,
    )
    if b.chance(0.4):
        return [one.placed((0.85, 0.85), (7.0, -8.0)), one.placed((0.85, 0.85), (-4.0, 7.0))]
    return [one]


def hair_ties(b: Build) -> list[Part]:
    parts = []
    for k in range(4):
        x, y = (-6.5 if k % 2 else 6.5) + b.rng.uniform(-1, 1), (k - 1.5) * 8.2
        turn = b.rng.uniform(-0.5, 0.5)
        parts.append(
            Part(
                oval(x, y, 6.4, 4.6, turn), "shell" if k % 2 else "accent", "rib", 1.0,
                holes=(oval(x, y, 5.1, 3.3, turn),), main=k == 1,
            )
        )
    return parts


def hair_band(b: Build) -> list[Part]:
    band = ribbon(
        [(-8.2, 9), (-8.8, 0), (-6, -8), (0, -11), (6, -8), (8.8, 0), (8.2, 9)], 1.2, 2.8, 4.0, 2.8,
        1.2,
    )
    parts = [
        Part(
            band, finish=b.pick("satin", "woven", "felt"), main=True, volume=1.4,
            folds=creases(b.rng, band, 3),
        )
    ]
    if b.chance(0.5):
        bow = spline(
            [
                (0, -11, K), (-5, -14.6), (-6.4, -10.4), (-4.6, -7.6), (0, -10.6, K), (4.6, -7.6),
                (6.4, -10.4), (5, -14.6),
            ]
        )
        parts += [
            Part(bow, finish="satin", shadow=0.5),
            Part(oval(0, -10.8, 1.2, 1.5), "plain", "satin", 0.94, shadow=0.5),
        ]
    return parts


def hair_clip(b: Build) -> list[Part]:
    one = spline(
        [(-11, 0, K), (-8, -2.6), (0, -3.4), (9, -2.2), (11, 0), (9, 2), (0, 2.8), (-8, 2.2)]
    )
    parts = [Part(one, finish="plastic", main=True, volume=1.5)]
    if b.chance(0.6):
        parts = [
            Part(ribbon([(-11, -6.4), (10, -5.4)], 3.2, 2.0), finish="plastic", main=True),
            Part(ribbon([(-10, 1.4), (11, 0.2)], 3.2, 2.0), finish="plastic"),
            *(Part(oval(float(x), 7, 1.6, 1.6), "shell", "plastic") for x in np.linspace(-9, 9, 6)),
        ]
    return parts


# --- jewellery, glasses, belts and other small things ---


def earrings(b: Build) -> list[Part]:
    kind = b.pick("hoop", "drop", "stud", "tassel")
    if kind == "hoop":
        thick = b.vary(0.9, 0.4)
        one = [
            Part(
                oval(0, 0, 6.0, 6.6), finish="metal",
                holes=(oval(0, -0.2, 6.0 - thick, 6.6 - thick),), main=True,
            ),
            Part(ribbon([(0, -6.2), (-0.6, -8.6), (1.2, -8.8)], 0.5), "plain", "metal"),
        ]
    elif kind == "stud":
        one = [
            Part(oval(0, 0, 3.6, 3.6), finish="metal", main=True, volume=1.6),
            Part(oval(0, 0, 1.9, 1.9), "glass", "plastic", shadow=0.5),
        ]
    elif kind == "drop":
        one = [
            Part(ribbon([(0, -9), (0.8, -10.6), (-0.8, -10.2), (0, -5)], 0.5), "plain", "metal"),
            Part(oval(0, -4, 1.6, 1.6), "plain", "metal"),
            Part(
                shape((0, -2.4), (1.2, 0), (3.4, 4.6), (2.6, 8), (0, 9)), finish="plastic",
                main=True, volume=1.6,
            ),
        ]
    else:
        one = [
            Part(oval(0, -6, 2.2, 2.2), "plain", "metal"),
            Part(
                shape((0, -4), (1.4, -4), (3.2, 8, K), (0, 8.6)), finish="satin", main=True,
                lines=tuple(
                    Stroke(curve((x * 0.3, -3), (x, 8)), 0.9, 0.5) for x in (-2, -1, 0, 1, 2)
                ),
            ),
        ]
    return [*(p.placed((1, 1), (-8.5, 0)) for p in one), *(p.placed((1, 1), (8.5, 0)) for p in one)]


def necklace(b: Build) -> list[Part]:
    w, h = b.vary(9.5, 0.15), b.vary(25, 0.15)
    path = curve(
        (-1.5, -3), (-w, 6), (-w * 0.72, h * 0.66), (0, h), (w * 0.72, h * 0.66), (w, 6), (1.5, -3),
    )
    if b.chance(0.3):
        beads = path[:: max(1, len(path) // 30)]
        return [
            Part(
                oval(float(x), float(y), 1.1, 1.1), "shell", "plastic", volume=1.3,
                main=k == len(beads) // 2,
            )
            for k, (x, y) in enumerate(beads)
        ]
    parts = [Part(ribbon(path, b.vary(0.42, 0.3)), finish="metal", main=True)]
    if b.chance(0.4):
        parts.insert(0, parts[0].placed((0.8, 0.72), (0, -0.6)))
    pendant = b.pick("disc", "drop", "bar")
    if pendant == "disc":
        parts.append(Part(oval(0, h + 2.2, 2.4, 2.4), "shell", "metal"))
    elif pendant == "drop":
        parts.append(Part(shape((0, h), (1.6, h + 3), (0, h + 5.4)), "accent", "plastic"))
    else:
        parts.append(Part(ribbon([(-3, h + 0.4), (3, h + 0.4)], 1.1), "shell", "metal"))
    return parts


def ring(b: Build) -> list[Part]:
    thick = b.vary(1.5, 0.4)
    band = Part(
        oval(0, 0, 8, 8.4), finish="metal", holes=(oval(0.3, 0.2, 8 - thick, 8.4 - thick),),
        main=True,
    )
    stone = b.pick("stone", "plain", "stone")
    if stone == "plain":
        return [band.placed((0.7, 0.7), (5.4, -4.6)), band.placed((0.7, 0.7), (-4.0, 4.0))]
    return [
        band, Part(oval(0, -8.6, 3.0, 2.7), "accent", "plastic", volume=1.6, shadow=0.5),
        *both(Part(ribbon([(2.8, -9.8), (2.0, -7.0)], 0.7), "plain", "metal")),
    ]


def bracelet(b: Build) -> list[Part]:
    thick = b.vary(1.8, 0.4)
    parts = []
    for k in range(1 + int(b.rng.integers(3))):
        y = k * 3.2
        parts.append(
            Part(
                oval(0, y, 13, 7.4), "shell", "metal",
                holes=(oval(0, y - 0.3, 13 - thick, 7.4 - thick * 0.8),), main=k == 0,
            )
        )
    return parts


def watch(b: Build) -> list[Part]:
    strap = shape(
        (0, -24), (3.0, -24), (3.4, -20), (3.8, -6, K), (3.8, 6, K), (3.4, 20), (3.0, 24),
        (0, 24.4),
    )
    hands = (
        Stroke(curve((0, 0.4), (0, -4.0)), 1.6, 0.9, "dark"),
        Stroke(curve((0, 0.3), (2.8, 1.6)), 1.6, 0.9, "dark"),
    )
    return [
        Part(strap, finish="leather", main=True, volume=1.2),
        Part(oval(0, 0, 6.6, 6.6), "metal", "metal", shadow=0.6),
        Part(oval(0, 0, 5.4, 5.4), "white", "flat", lines=hands, shadow=0.2),
    ]


def eyeglasses(b: Build) -> list[Part]:
    return [replace(p, cloth="glass") if p.cloth == "lens" else p for p in sunglasses(b)]


def sunglasses(b: Build) -> list[Part]:
    kind = b.pick("round", "square", "cat")
    if kind == "round":
        frame, lens = oval(7.6, 0, 6.6, 6.2), oval(7.6, 0.1, 5.6, 5.2)
    elif kind == "square":
        frame = spline([(1.4, -4.6), (7, -5.4), (14.2, -4.8), (14, 2), (11.4, 5), (5, 5), (2, 2)])
        lens = (frame - vector(7.8, -0.1)) * vector(0.85, 0.8) + vector(7.8, 0)
    else:
        frame = spline(
            [(1.2, -3.6), (8, -5.2), (16.2, -7.6, K), (14.4, 0), (11, 4.8), (5, 4.6), (1.8, 1)]
        )
        lens = (
            frame - vector(7.8, -0.4)
        ) * vector(0.82, 0.79) + vector(7.6, -0.2)
    temple = ribbon([(14.4, -3.2), (4, 1.2), (-6, 3.4), (-9.6, 6.6)], 1.5, 1.1)
    glare = Stroke(curve((5.0, 2.4), (9.4, -3.4)), 5.0, 0.16, "white")
    return [
        *both(Part(temple, "plain", "plastic", 0.85)),
        Part(ribbon([(-2.2, -1.6), (0, -2.6), (2.2, -1.6)], 1.3), "plain", "plastic"),
        *both(Part(frame, finish="plastic", main=True, volume=0.8)),
        *both(Part(lens, "lens", "plastic", 1.0, lines=(glare,), shadow=0.0, volume=0.8)),
    ]


def scarf(b: Build) -> list[Part]:
    """Laid round in a loop, with both ends hanging and a fringe."""
    finish = b.pick("knit", "woven", "felt", "woven")
    loop = ribbon(
        [(-2, 6), (-11, -2), (-9, -13), (0, -17), (9, -13), (11, -2), (2, 6)], 9.0, 8.0, 7.0, 8.0,
        9.0,
    )
    inside = ribbon([(-7, -8), (0, -12), (7, -8)], 6.0)
    left = spline([(-4.4, 1, K), (5, 2, K), (3.4, 18), (2.4, 42, K), (-10.5, 43, K), (-8, 20)])
    right = spline([(-3.6, 2, K), (6.2, 0, K), (9, 16), (13, 38, K), (1.4, 39.5, K), (0, 18)])
    parts = [
        Part(inside, "plain", finish, 0.68, volume=0.6),
        Part(loop, finish=finish, folds=creases(b.rng, loop, 5, steep=0.8), volume=1.5),
        Part(right, finish=finish, folds=creases(b.rng, right, 6, steep=5), grain=0.12, tone=0.96),
        Part(
            left, finish=finish, folds=creases(b.rng, left, 6, steep=5), grain=-0.1, main=True,
            shadow=0.6,
        ),
    ]
    if b.chance(0.6):
        fringe = [
            Stroke(curve((float(x), 42.8), (float(x) + 0.3, 46.5)), 1.8, 0.95, "plain")
            for x in np.linspace(-10, 2, 13)
        ]
        fringe += [
            Stroke(curve((float(x), 38.9), (float(x) + 0.5, 42.4)), 1.8, 0.95, "plain")
            for x in np.linspace(2, 12.6, 12)
        ]
        parts.append(overlay(*fringe))
    knot = spline([(-5.6, 1.4), (0, -1.8), (5.8, 0.6), (6.2, 6.4), (0, 8.6), (-5.4, 7)])
    parts.append(Part(knot, finish=finish, folds=creases(b.rng, knot, 3), shadow=0.6, volume=1.4))
    return parts


def belt(b: Build) -> list[Part]:
    """A loop that lies on the table, its end through the buckle."""
    wide = b.vary(3.4 if b.men else 2.8, 0.3)
    loop = oval(0, 0, 15.0, 9.4)
    rear, front = ribbon(np.r_[loop[23:], loop[:2]], wide * 0.9), ribbon(loop[:25], wide)
    tail = ribbon([(-2, 9.6), (9, 9.4), (20, 7.2)], wide * 0.96, wide * 0.9, wide * 0.5)
    holes = tuple(
        Stroke(curve((x, y), (x + 0.5, y - 0.1)), 3.0, 0.9, "dark")
        for x, y in ((10, 9.1), (12.4, 8.8), (14.8, 8.4))
    )
    size = wide * 0.78
    buckle = spline(
        [
            (-3.6, 9.4 - size - 0.8), (3.0, 9.4 - size - 0.6), (3.0, 9.4 + size + 0.8),
            (-3.6, 9.4 + size + 0.6),
        ]
    )
    hole = (buckle - buckle.mean(axis=0)) * vector(0.66, 0.7) + buckle.mean(axis=0)
    return [
        Part(rear, "plain", "leather", 0.72),
        Part(
            front, finish="leather", main=True, volume=1.1,
            lines=(Stroke(loop[14:24], 0.9, 0.3, "stitch"),),
        ),
        Part(tail, finish="leather", lines=holes, shadow=0.5),
        Part(buckle, "metal", "metal", holes=(hole,), shadow=0.6),
        Part(ribbon([(-3.2, 9.5), (3.2, 9.3)], 0.7), "metal", "metal"),
    ]


def gloves(b: Build) -> list[Part]:
    mitten = b.child or b.chance(0.25)
    thumb = ribbon([(4, 4), (7.4, -1), (9.0, -5.4)], 3.8, 3.2, 2.6)
    if mitten:
        palm = spline(
            [(-5.4, 11, K), (-6.2, 2), (-5.6, -8), (-1, -13), (4, -10.6), (6, -2), (5, 11, K)]
        )
        hand = [Part(thumb, finish="knit"), Part(palm, finish="knit", main=True, volume=1.4)]
    else:
        fingers = [
            ((-4.4, 0), (-5.8, -7), (-6.2, -11.4)), ((-1.6, -1), (-2.0, -10), (-2.2, -14.8)),
            ((1.4, -1), (1.8, -10), (2.0, -15)), ((4.2, 0), (5.0, -7), (5.6, -12.4)),
        ]
        palm = spline(
            [(-5.2, 12, K), (-6.2, 4), (-6.1, -2), (0, -4.2), (6.2, -2), (6.2, 4), (5, 12, K)]
        )
        finish = b.pick("knit", "leather", "felt")
        hand = [
            *(
                Part(ribbon(list(f), 3.3, 3.3, 3.2, 2.9, 1.0), "plain", finish, 0.98, volume=0.9)
                for f in fingers
            ),
            Part(thumb, "plain", finish, 0.98),
            Part(palm, finish=finish, main=True, volume=0.9, shadow=0.2),
        ]
    cuff = spline([(-5.3, 10.4, K), (5.2, 10.4, K), (5.6, 17, K), (-5.7, 17, K)])
    hand.append(Part(cuff, "trim", "rib", 0.97, shadow=0.4))
    return [
        *(p.placed((1.0, 1.0), (-8.6, 0.0)) for p in hand),
        *(p.placed((-1.0, 1.0), (8.6, 0.6)) for p in hand),
    ]


def tie(b: Build) -> list[Part]:
    if b.chance(0.3):
        wing = spline([(1, -1.4, K), (6, -4.6), (12, -4.2), (12.4, 4.2), (6, 4.4), (1, 1.4, K)])
        return [
            *both(Part(wing, finish="satin", main=True, folds=creases(b.rng, wing, 3, steep=0.4))),
            Part(
                spline([(-2, -2.4), (2, -2.4), (2, 2.4), (-2, 2.4)]), "shell", "satin", 0.95,
                shadow=0.5,
            ),
        ]
    blade = shape((0, 2), (1.8, 2.4, K), (3.4, 30), (4.6, 47, K), (0, 53, K))
    knot = shape((0, -3), (3.4, -2.8, K), (2.0, 3.4, K), (0, 3.8))
    loop = ribbon(
        [(-2.6, -2), (-7.6, -8), (-5, -14), (0, -16), (5, -14), (7.6, -8), (2.6, -2)], 2.6,
    )
    return [
        Part(loop, "plain", "satin", 0.86), Part(blade, finish="satin", main=True, grain=0.7),
        Part(knot, finish="satin", grain=-0.7, shadow=0.6),
    ]


def umbrella(b: Build) -> list[Part]:
    ribs = (-26.0, -13.0, 0.0, 13.0, 26.0)
    half: list[Point] = [
        (0, -20), (12, -17), (22, -9), (26, 2, K), (19.5, 0.2), (13, 3, K), (6.5, 0.6), (0, 3.4, K),
    ]
    dome = shape(*half)
    lines = tuple(Stroke(curve((0, -20), (x * 0.72, -11), (x, 2.6)), 1.1, 0.5) for x in ribs)
    return [
        Part(ribbon([(0, -24), (0, -19)], 0.9), "dark", "plastic"),
        Part(
            ribbon([(0, 0), (0, 24), (1.6, 29), (5.4, 28), (5.6, 24)], 1.2, 1.4, 2.0), "dark",
            "plastic",
        ),
        Part(dome, finish="nylon", lines=lines, main=True, volume=1.5, shadow=0.2),
    ]


def braces(b: Build) -> list[Part]:
    straps = [ribbon([(s * 9, 34), (s * 7.4, 6), (s * 3, -16), (0, -24)], 2.6) for s in (-1, 1)]
    return [
        *(Part(s, finish="rib", main=k == 0) for k, s in enumerate(straps)),
        Part(ribbon([(0, -22), (0, -32)], 2.8), "shell", "rib"),
        *(Part(oval(s * 9, 34, 1.8, 2.6), "metal", "metal") for s in (-1, 1)),
    ]


def dog_wear(b: Build) -> list[Part]:
    """Wear for a dog: a little coat with four legs' worth of room."""
    coat = shape((0, -16), (7, -15), (9.6, -10, K), (14, -4), (14.4, 10), (10, 20), (0, 22))
    neck = shape((0, -21), (7, -20.4, K), (8.4, -13.6, K), (0, -12))
    return [
        Part(coat, finish="fleece", main=True, volume=1.5, folds=creases(b.rng, coat, 5)),
        Part(neck, "trim", "rib", shadow=0.4),
    ]


# --- the home, the bathroom, the desk ---


def _folded(b: Build, high: float, finish: str) -> list[Part]:
    """A folded textile: three layers, the top one with a hem."""
    parts = []
    for k in range(3):
        y = -k * high
        layer = spline(
            [
                (-17, y - high), (17, y - high), (18.2, y - high / 2), (17, y), (-17, y),
                (-17.8, y - high / 2),
            ]
        )
        parts.append(Part(layer, finish=finish, tone=0.94 + 0.03 * k, main=k == 2, shadow=0.4))
    top = spline(
        [
            (-17.4, -3 * high + 1, K), (17.2, -3 * high + 1, K), (13.6, -3 * high - 9, K),
            (-13.8, -3 * high - 9, K),
        ]
    )
    hem = Stroke(curve((-16.8, -3 * high - 0.6), (16.4, -3 * high - 0.6)), 1.2, 0.4, "stitch")
    return [
        *parts, Part(top, finish=finish, lines=(hem,), folds=creases(b.rng, top, 3), shadow=0.3),
    ]


def towel(b: Build) -> list[Part]:
    return _folded(b, 5.0, "fleece")


def blanket(b: Build) -> list[Part]:
    return _folded(b, 6.0, "knit")


def cushion(b: Build) -> list[Part]:
    body = spline(
        [
            (-20, -20, K), (-8, -17.6), (8, -17.6), (20, -20, K), (17.6, -8), (17.6, 8),
            (20, 20, K), (8, 17.6), (-8, 17.6), (-20, 20, K), (-17.6, 8), (-17.6, -8),
        ]
    )
    return [
        Part(
            body, finish=b.pick("woven", "knit", "felt"), folds=creases(b.rng, body, 5), main=True,
            volume=2.0,
        )
    ]


def bottle(b: Build) -> list[Part]:
    w, h = b.vary(6.0, 0.15), b.vary(26, 0.12)
    body = shape(
        (0, 0), (w * 0.46, 0, K), (w * 0.5, 2.4), (w, 6.4), (w, h - 1), (w * 0.9, h), (0, h + 0.2),
    )
    lid = shape((0, -6), (w * 0.56, -6, K), (w * 0.56, 0.6, K), (0, 0.8))
    label = shape((0, h * 0.45), (w * 0.98, h * 0.44, K), (w * 0.98, h * 0.8, K), (0, h * 0.81))
    rows = tuple(
        Stroke(curve((-w * x, h * y), (w * x, h * y)), 1.6, 0.5, "dark")
        for x, y in ((0.5, 0.54), (0.34, 0.61), (0.42, 0.68))
    )
    return [
        Part(body, finish="plastic", main=True, volume=1.8),
        Part(lid, "dark" if b.chance(0.5) else "metal", "metal"),
        Part(label, "white", "flat", 1.0, lines=rows, shadow=0.1, volume=0.8),
    ]


def jar(b: Build) -> list[Part]:
    kind = b.pick("jar", "tube", "stick")
    if kind == "tube":
        return [
            Part(
                shape((0, 0), (5.0, 0, K), (4.0, 24), (2.4, 27, K), (0, 27)), finish="plastic",
                main=True, volume=1.6,
            ),
            Part(shape((0, 26.6), (2.6, 26.6, K), (2.8, 33, K), (0, 33.2)), "dark", "plastic"),
        ]
    if kind == "stick":
        return [
            Part(
                shape((0, -9), (1.6, -8), (2.2, -4, K), (2.2, 4, K), (0, 4.2)), finish="satin",
                main=True,
            ),
            Part(shape((0, 2), (3.0, 2, K), (3.0, 9, K), (0, 9.4)), "metal", "metal"),
            Part(shape((0, 8), (3.6, 8, K), (3.6, 24, K), (0, 24.4)), "dark", "plastic"),
        ]
    return [
        Part(
            shape((0, 0), (8, 0, K), (8.2, 9), (7.4, 11), (0, 11.4)), finish="plastic", main=True,
            volume=1.7,
        ),
        Part(shape((0, -5), (8.4, -5, K), (8.4, 0.8, K), (0, 1.2)), "metal", "metal"),
    ]


def giftbox(b: Build) -> list[Part]:
    box, lid = (
        polygon((-14, -4), (14, -4), (13.6, 18), (-13.6, 18)),
        polygon((-15, -9), (15, -9), (15, -2), (-15, -2)),
    )
    bow = spline(
        [
            (0, -9, K), (6, -15), (10, -13), (8, -9.4), (0, -8.6, K), (-8, -9.4), (-10, -13),
            (-6, -15),
        ]
    )
    return [
        Part(box, finish="flat", main=True, volume=1.6), Part(lid, finish="flat", shadow=0.6),
        Part(polygon((-1.8, -9), (1.8, -9), (1.8, 18), (-1.8, 18)), "accent", "satin"),
        Part(bow, "accent", "satin", shadow=0.4),
    ]


def soft_toy(b: Build) -> list[Part]:
    face = (
        Stroke(curve((-3.4, -14.2), (-3.2, -14.0)), 5.0, 1.0, "dark"),
        Stroke(curve((3.2, -14.2), (3.4, -14.0)), 5.0, 1.0, "dark"),
        Stroke(curve((-0.5, -10.6), (0.5, -10.6)), 6.0, 1.0, "dark"),
        Stroke(curve((-2, -8.8), (0, -7.6), (2, -8.8)), 1.6, 0.9, "dark"),
    )
    return [
        *both(Part(oval(7.2, -19, 3.8, 3.8), "plain", "fleece")),
        *both(Part(oval(11.4, 3.4, 4.2, 8.0, -0.5), "plain", "fleece")),
        Part(oval(0, 6, 10.4, 12.4), finish="fleece", main=True, volume=1.6),
        *both(Part(oval(7.4, 17, 5.4, 6.0), "plain", "fleece", 0.97)),
        Part(oval(0, -12.6, 10.2, 9.2), "plain", "fleece", volume=1.6),
        Part(oval(0, -9.6, 4.4, 3.6), "light", "fleece", lines=face[2:], shadow=0.1),
        overlay(*face[:2]),
    ]


def phone_case(b: Build) -> list[Part]:
    body = spline(
        [(-7, -15), (-6, -16), (6, -16), (7, -15), (7, 15), (6, 16), (-6, 16), (-7, 15)], steps=4,
    )
    return [
        Part(body, finish="plastic", main=True, volume=1.2),
        *(Part(oval(-4.2, y, 1.3, 1.3), "dark", "plastic", shadow=0.3) for y in (-12.6, -9)),
    ]


def pen(b: Build) -> list[Part]:
    return [
        Part(ribbon([(-6, 20), (6, -16)], 3.0), finish="plastic", main=True, volume=1.6),
        Part(ribbon([(6, -16), (8.4, -23)], 3.0, 0.6), "metal", "metal"),
        Part(ribbon([(-7.6, 24.8), (-6, 20)], 3.2), "dark", "plastic"),
    ]


def table(b: Build) -> list[Part]:
    legs_of = [ribbon([(s * 13, 0), (s * 17, 36)], 2.0) for s in (-1, 1)]
    return [
        Part(ribbon([(0, -2), (0, 30)], 2.0), "wood", "leather", 0.7),
        *(Part(leg, "wood", "leather", 0.95) for leg in legs_of),
        Part(oval(0, -1, 21, 4.4), finish="leather", main=True),
    ]


def key_ring(b: Build) -> list[Part]:
    return [
        Part(oval(0, -12, 4.4, 4.6), "metal", "metal", holes=(oval(0, -12, 3.4, 3.6),)),
        Part(ribbon([(0, -8), (0, -3)], 1.2), "metal", "metal"),
        Part(
            shape((0, -4), (5, -2), (7, 5), (3, 12), (0, 14)), finish=b.pick("leather", "fleece"),
            main=True, volume=1.6,
        ),
    ]


def bib(b: Build) -> list[Part]:
    body = spline(
        [
            (4.2, -11, K), (7.6, -9), (11, -3), (11.6, 7), (7, 14), (0, 15.4), (-7, 14), (-11.6, 7),
            (-11, -3), (-7.6, -9), (-4.2, -11, K), (-5.6, -5), (0, -1), (5.6, -5),
        ]
    )
    return [
        *both(Part(ribbon([(5.8, -10), (5, -14), (0.6, -15.4)], 2.6), "trim", "woven", 0.96)),
        Part(
            body, finish="jersey", main=True,
            lines=(Stroke(np.r_[body, body[:1]] * 0.93, 1, 0.3, "stitch"),),
            folds=creases(b.rng, body, 3),
        ),
    ]


def sleeping_bag(b: Build) -> list[Part]:
    body = shape(
        (0, 3), (5, 0.6), (8, -2, K), (13, 0, K), (12, 9), (16, 14, K), (18, 40), (20, 62),
        (16, 70), (0, 71.4),
    )
    back = shape((0, 0), (8, -2, K), (9, 6, K), (0, 8))
    zipped = Stroke(curve((0, 4), (0, 66)), 1.8, 0.8, "metal", 1.4)
    return [
        Part(back, "plain", "jersey", 0.72),
        Part(
            body, finish="fleece", lines=(zipped,), folds=creases(b.rng, body, 7), main=True,
            volume=1.5,
        ),
    ]


def sarong(b: Build) -> list[Part]:
    body = spline(
        [
            (-16, 2, K), (0, 0), (14, 3, K), (18, 20), (26, 60, K), (10, 64), (-6, 58),
            (-22, 63, K), (-18, 24),
        ]
    )
    knot = spline([(8, 2), (13, -2), (17, 2), (22, 12), (17, 14), (12, 8)])
    return [
        Part(body, finish="satin", folds=creases(b.rng, body, 12, steep=3, size=0.5), main=True),
        Part(knot, finish="satin", shadow=0.6),
    ]


def patches(b: Build) -> list[Part]:
    """Two round pads, as inserts and covers are sold."""
    return [*both(Part(oval(7.4, 0, 6.4, 6.6), finish="satin", main=True, volume=1.8))]


def balls(b: Build) -> list[Part]:
    """Cedar balls, as they are laid among woollens."""
    places = ((-6.4, 5.4), (6.2, 5.8), (0.2, -5.0), (13.0, -4.4), (-12.6, -4.8))
    return [
        Part(oval(x, y, 5.8, 5.8), finish="plastic", main=k == 0, volume=1.7)
        for k, (x, y) in enumerate(places)
    ]


def tin(b: Build) -> list[Part]:
    """A flat round tin from above, its lid leaning on it."""
    return [
        Part(oval(5, -8, 11, 11), finish="metal", main=True, volume=1.4),
        Part(oval(-4, 6, 11, 9.4), "metal", "metal", volume=1.2, shadow=0.7),
        Part(oval(-4, 5, 9.8, 8.0), "shell", "satin", shadow=0.3),
    ]


def extender(b: Build) -> list[Part]:
    """A short strap with three rows of hooks."""
    hooks = [
        Stroke(curve((x, y), (x + 2.2, y)), 3.0, 1.0, "metal")
        for x in (-9.0, -2.0, 5.0) for y in (-2.6, 0.0, 2.6)
    ]
    strap = polygon((-13, -5), (13, -5), (13, 5), (-13, 5))
    return [Part(strap, finish="satin", main=True, volume=0.8, lines=tuple(hooks))]


def accessory_set(b: Build) -> list[Part]:
    """A hat with gloves that match."""
    below = [replace(p.placed((0.8, 0.8), (0.0, 22.0)), main=False) for p in gloves(b)]
    return [*below, *beanie(b)]


def parcel(b: Build) -> list[Part]:
    """Anything else: a folded article with its swing tag."""
    body = spline([(-13, -15, K), (13, -15, K), (13.6, 0), (13, 15, K), (-13, 15, K), (-13.6, 0)])
    band = polygon((-13.6, -3.4), (13.6, -3.4), (13.6, 3.4), (-13.6, 3.4))
    tag = spline([(6, 5, K), (10, 7, K), (8.4, 14, K), (4.2, 13, K)], steps=2)
    return [
        Part(body, finish="woven", folds=creases(b.rng, body, 5), main=True, volume=1.5),
        Part(band, "trim", "flat", 0.9, shadow=0.3), Part(tag, "white", "flat", shadow=0.6),
    ]
