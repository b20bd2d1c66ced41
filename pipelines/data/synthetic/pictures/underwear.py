"""Underwear, swimwear and socks, seen from the front.

Lengths are in centimetres of a middle size, x to the right from the middle and y down.
"""

from dataclasses import replace

from pipelines.data.synthetic.pictures.bottoms import legs
from pipelines.data.synthetic.pictures.canvas import SHARP as K
from pipelines.data.synthetic.pictures.canvas import (
    Part,
    Point,
    Stroke,
    oval,
    polygon,
    ribbon,
    spline,
    vector,
)
from pipelines.data.synthetic.pictures.tailoring import Build, both, creases, curve, shape

# fmt: off
# One point to a line, as the formatter would have it, could not be read as an outline.


def _cups(kind: str, b: Build) -> list[Part]:
    """Bra or bikini top."""
    rng = b.rng
    w = 15.0
    strap = ribbon([(9.2, -6), (10.2, -15), (8.2, -25)], 1.3, 1.0)
    rear = ribbon([(8.2, -25), (6.4, -14), (6.0, 4)], 1.0, 1.2)
    finish = "satin" if kind != "sport" else "jersey"
    parts = both(Part(rear, "plain", finish, 0.7, shadow=0.0, side=True))
    rear_band = shape((0, 5.0), (w + 1.2, 2.5, K), (w + 1.0, 6.4, K), (0, 8.4))
    parts.append(Part(rear_band, "plain", finish, 0.7, volume=0.4, shadow=0.1, side=True))
    if kind == "triangle":
        cup = spline(
            [(9.0, -11.5, K), (14.4, -2), (16.2, 6.2, K), (9, 7.4), (1.2, 6.6, K), (4.6, -1.5)]
        )
        cord = ribbon([(9.0, -11.2), (9.4, -18), (6.0, -26)], 0.7)
        tie = ribbon([(16.4, 6.4), (22, 4.4), (26, 8)], 0.8)
        string = ribbon([(-16, 6.8), (0, 7.4), (16, 6.8)], 1.0)
        return [
            *both(Part(tie, "plain", finish, shadow=0.2)), Part(string, "plain", finish, 0.95),
            *both(Part(cord, "plain", finish, shadow=0.2)),
            *both(
                Part(
                    cup, finish=finish, folds=creases(rng, cup, 3), main=True, volume=1.3,
                    lines=(Stroke(curve((9, -10), (5.6, -1.4), (2.4, 6)), 1, 0.35),),
                )
            ),
        ]
    if kind == "sport" or kind == "bandeau":
        top_y = -9.0 if kind == "sport" else -2.0
        body = (
            shape(
                (0, top_y + 5), (4, top_y + 3.8), (7.4, -16, K), (11, -16, K), (12.6, -6),
                (17, 0, K), (16.6, 11, K), (0, 12.4),
            )
            if kind == "sport" else shape((0, -4), (8, -6.4), (17, -4, K), (16.8, 8, K), (0, 9))
        )
        band = (
            shape((0, 9.2), (16.8, 8, K), (16.5, 12.4, K), (0, 13.8)) if kind == "sport" else None
        )
        made = [
            Part(rear_band.copy() + vector(0, -4), "plain", finish, 0.7, shadow=0.1),
            Part(
                body, finish=finish, folds=creases(rng, body, 5), main=True, volume=1.2,
                lines=(Stroke(curve((0, top_y + 5), (0, 9)), 1, 0.2),),
            ),
        ]
        if band is not None:
            made.append(Part(band, "trim", "rib", 0.97, shadow=0.3))
        return made
    cup = spline(
        [
            (9.6, -8.4, K), (14.6, -3), (17, 3.6), (13.4, 8.4), (7.4, 9.2), (1.8, 6.4),
            (0.6, 2.2, K), (4.6, -1.4),
        ]
    )
    wing = spline([(15.6, 0.2, K), (21, 2.4, K), (21.2, 6.2, K), (14.2, 8.6, K)])
    under = Stroke(curve((17, 4), (12.8, 8.0), (7.4, 8.6), (2.0, 6.0)), 1.2, 0.45)
    mid = Stroke(curve((16.6, 2.6), (9, 1.2), (1.4, 3.4)), 1, 0.3)
    bow = Part(
        oval(0, 4.4, 1.1, 0.8), "accent" if kind == "lace" else "plain", "satin", 0.9, shadow=0.5,
    )
    return [
        *parts, *both(Part(wing, "shell", finish, 0.94, side=True)),
        *both(Part(strap, "plain", finish, 0.97, shadow=0.3)),
        *both(Part(cup, finish=finish, main=True, volume=1.6, lines=(under, mid))),
        Part(
            polygon((-1.4, 2.4), (1.4, 2.4), (1.8, 6.6), (-1.8, 6.6)), "plain", finish, 0.95,
            shadow=0.2,
        ),
        bow, *(Part(oval(s * 9.9, -9.2, 0.8, 0.8), "metal", "metal", shadow=0.4) for s in (-1, 1)),
    ]


def bra(b: Build) -> list[Part]:
    return _cups("sport" if b.index_group == "Sport" or b.child or b.chance(0.15) else "cup", b)


def bikini_top(b: Build) -> list[Part]:
    return _cups("sport" if b.child else b.pick("triangle", "cup", "bandeau", "triangle"), b)


def bottom(b: Build, kind: str) -> list[Part]:
    """Briefs, boxer shorts or bikini bottoms."""
    if kind == "boxer":
        return legs(
            b, length=34, waist=16.5, hip=19.5, crotch=23, hem=9.6, gap=0.5, band=4.5,
            style="elastic", finish="jersey",
        )
    w = 16.5 * b.broad
    high = {"brief": 6.0, "thong": 2.4, "high": 9.0}[kind]
    deep = 21.0 * b.rng.uniform(0.94, 1.06) + high * 0.35
    x = w * 1.12
    outline = shape(
        (0, 1.4), (w * 0.6, 0.9), (w, -0.4, K), (x, high, K), (x * 0.62, high + 4.6),
        (w * 0.34, deep - 4), (3.9, deep, K), (0, deep + 0.5),
    )
    back = shape(
        (0, -1.8), (w, -0.4, K), (x, high, K), (x * 0.86, high + 7), (w * 0.5, deep - 1.5),
        (3.8, deep - 0.6, K),
    )
    leg = curve(
        (x - 0.6, high + 1.0), (x * 0.6, high + 5.8), (w * 0.32, deep - 3.6), (3.2, deep - 0.3),
    )
    lines = [Stroke(leg * vector(s, 1), 1.0, 0.45, "stitch") for s in (-1, 1)]
    lines.append(Stroke(curve((-w, 1.8), (0, 3.6), (w, 1.8)), 1.0, 0.45, "stitch"))
    return [
        Part(back, "plain", "jersey", 0.7, volume=0.5, shadow=0.2, side=True),
        Part(
            outline, finish="jersey", folds=creases(b.rng, outline, 5), lines=tuple(lines),
            main=True,
        ),
        *(
            [Part(oval(0, 3.0, 1.2, 0.8), "accent", "satin", 0.95, shadow=0.5)] if b.lady
            and kind == "brief" else []
        ),
    ]


def underwear_bottom(b: Build) -> list[Part]:
    if b.men or (b.child and b.chance(0.4)):
        return bottom(b, "boxer")
    return bottom(b, b.pick("brief", "thong", "high", "brief"))


def swimwear_bottom(b: Build) -> list[Part]:
    if b.men or (b.child and b.chance(0.5)):
        return legs(
            b, length=42, waist=17.5, hip=23, crotch=26, hem=13, gap=0.8, style="jogger",
            finish="nylon",
        )
    if b.chance(0.35):
        return [
            *bottom(b, "thong"),
            *both(
                Part(
                    ribbon([(18.4 * b.broad, 1.5), (22, 8), (20.5, 15)], 0.9), "plain", "satin",
                    shadow=0.3,
                )
            ),
        ]
    return bottom(b, b.pick("brief", "high"))


def swimsuit(b: Build) -> list[Part]:
    w, t = b.broad, b.long
    strap = ribbon([(10.6 * w, 15 * t), (11 * w, 7), (8.4 * w, -2)], 2.0, 1.6)
    rear = ribbon([(8.4 * w, -2), (6.8 * w, 10), (6 * w, 20)], 1.6)
    deep = 70 * t
    v = b.chance(0.5)
    neck: list[Point] = [(0, 24 * t, K), (6 * w, 17 * t)] if v else [(0, 19 * t), (6 * w, 17.6 * t)]
    outline = shape(
        *neck, (10.6 * w, 13.4 * t, K), (14 * w, 20 * t), (18 * w, 25 * t, K), (15.6 * w, 39 * t),
        (18.4 * w, 51 * t), (18.6 * w, 54 * t, K), (11 * w, 58 * t), (5 * w, 66 * t),
        (3.6 * w, deep, K), (0, deep + 0.5),
    )
    back = shape((0, 26 * t), (15 * w, 22 * t, K), (17 * w, 28 * t, K), (0, 32 * t))
    seat = shape(
        (0, 52 * t), (18.4 * w, 52 * t, K), (15 * w, 61 * t), (8 * w, 67 * t),
        (3.4 * w, deep - 0.5, K),
    )
    leg = curve((18 * w, 55.2 * t), (11 * w, 59.2 * t), (5.2 * w, 67 * t))
    lines = [Stroke(leg * vector(s, 1), 1, 0.4, "stitch") for s in (-1, 1)]
    return [
        *both(Part(rear, "plain", "satin", 0.7, shadow=0.0, side=True)),
        Part(back, "plain", "jersey", 0.68, volume=0.4, shadow=0.2, side=True),
        Part(seat, "plain", "jersey", 0.68, volume=0.4, shadow=0.1, side=True),
        *both(Part(strap, "plain", "jersey", 0.97, side=True, shadow=0.3)),
        Part(
            outline, finish="jersey", folds=creases(b.rng, outline, 6), lines=tuple(lines),
            main=True, volume=1.2,
        ),
    ]


def swim_set(b: Build) -> list[Part]:
    return [
        *_cups(b.pick("triangle", "bandeau"), b),
        *(replace(p.placed((1.0, 1.0), (0.0, 21.0)), main=False) for p in bottom(b, "brief")),
    ]


def underwear_set(b: Build) -> list[Part]:
    return [
        *bra(b),
        *(replace(p.placed((1.0, 1.0), (0.0, 21.0)), main=False) for p in bottom(b, "brief")),
    ]


def corset(b: Build) -> list[Part]:
    outline = shape(
        (0, 12), (4, 9), (9.5, 6.5), (15, 9, K), (14, 24), (13.2, 30), (15.4, 42, K), (8, 45),
        (0, 49),
    )
    bones = [
        Stroke(curve((x, 9.5), (x * 0.86, 29), (x, 45)), 1.1, 0.5) for x in (-10, -5, 0, 5, 10)
    ]
    strap = ribbon([(11, 8.5), (11, 0), (8, -7)], 1.2)
    return [
        *both(Part(strap, "plain", "satin", 0.95)),
        Part(outline, finish="satin", lines=tuple(bones), main=True, volume=1.4),
    ]


def socks(b: Build) -> list[Part]:
    """A pair from the side, one before the other."""
    high = b.vary(24 if b.chance(0.6) else 12, 0.15) * (0.8 if b.child else 1.0)
    low = b.chance(0.2)
    if low:
        high = 4.0
    w = 4.8
    foot = 20.0 * (0.86 if b.child else 1.0)
    outline = spline(
        [
            (-w, -high, K), (w, -high + 0.3, K), (w * 0.96, -high * 0.4), (w * 1.05, -1.5),
            (foot * 0.62, 3.2), (foot * 0.92, 6), (foot * 0.98, 9.6), (foot * 0.8, 11.6),
            (foot * 0.3, 11.3), (-w * 0.4, 12), (-w * 1.25, 9), (-w * 1.1, 3),
        ]
    )
    cuff_deep = 3.4 if not low else 1.6
    cuff = spline(
        [
            (-w * 1.03, -high - 0.4, K), (w * 1.03, -high - 0.1, K),
            (w * 1.02, -high + cuff_deep, K), (-w * 1.02, -high + cuff_deep, K),
        ]
    )
    heel = spline(
        [(-w * 1.18, 4.2, K), (-w * 0.2, 6), (-w * 0.1, 11.8, K), (-w * 0.6, 11.9), (-w * 1.25, 9)]
    )
    toe = spline(
        [
            (foot * 0.74, 4.6, K), (foot * 0.66, 8), (foot * 0.74, 11.6, K), (foot * 0.86, 11.5),
            (foot * 0.985, 9.6), (foot * 0.92, 6),
        ]
    )
    one = [
        Part(
            outline, finish="fine rib", folds=creases(b.rng, outline, 4, steep=1.0, size=0.12),
            main=True, volume=1.2,
        ),
        Part(heel, "trim", "jersey", 0.88, volume=0.5, shadow=0.1),
        Part(toe, "trim", "jersey", 0.88, volume=0.5, shadow=0.1),
        Part(cuff, "trim", "rib", 0.96, shadow=0.3),
    ]
    other = [
        replace(
            p.placed((1.0, 1.0), (w * 1.5, -high * 0.14 - 3.0)), main=False, tone=p.tone * 0.93,
        )
        for p in one
    ]
    return [*other, *one]


def leg_warmers(b: Build) -> list[Part]:
    outline = spline(
        [
            (-6, -20, K), (6, -20, K), (5, -6), (5.8, 10), (7, 20, K), (-7, 20, K), (-5.8, 10),
            (-5, -6),
        ]
    )
    one = Part(outline, finish="knit", folds=creases(b.rng, outline, 6, steep=0.6), main=True)
    return [one.placed((1, 1), (-8.5, 0)), one.placed((1, 1), (8.5, 1.5))]
