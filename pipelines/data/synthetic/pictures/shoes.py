"""Shoes from the side: heel at x = 0, toe at x = 27, ground at y = 0, in centimetres."""

from dataclasses import replace

import numpy as np

from pipelines.data.synthetic.pictures.canvas import SHARP as K
from pipelines.data.synthetic.pictures.canvas import (
    Floats,
    Part,
    Stroke,
    oval,
    overlay,
    ribbon,
    spline,
)
from pipelines.data.synthetic.pictures.tailoring import Build, creases, curve

# fmt: off
# One point to a line, as the formatter would have it, could not be read as an outline.


def _pair(one: list[Part], shift: tuple[float, float] = (3.5, -9.0)) -> list[Part]:
    """The second shoe behind the first."""
    rear = [replace(p.placed((0.97, 0.97), shift), main=False, tone=p.tone * 0.95) for p in one]
    return [*rear, *one]


def sneakers(b: Build) -> list[Part]:
    high = b.chance(0.25)
    thick = b.vary(3.2, 0.25)
    top = -16.5 if high else -10.0
    body = spline(
        [
            (0.2, -2, K), (-0.8, -6), (0.6, top, K), (4, top + 1.6), (8.6, top + 0.4),
            (11.2, top - 1.4, K), (13.0, top * 0.78), (17.2, -7.2), (22.4, -5.6), (26.4, -4.2),
            (27.6, -2, K),
        ]
    )
    sole = spline(
        [
            (-0.8, -thick + 0.2, K), (10, -thick + 0.7), (20, -thick + 0.5),
            (27.8, -thick - 0.6, K), (28.4, -1.4), (26.6, 0), (14, 0.3), (0.6, 0), (-1.0, -1.2),
        ]
    )
    tongue = spline(
        [(9, top + 0.6, K), (10.6, top - 2.4), (13, top - 1.6, K), (15.4, -8, K), (12, -7, K)]
    )
    toe = spline(
        [(21.2, -5.8, K), (20.4, -3.6), (21.4, -1.6, K), (28, -1.6, K), (27.2, -3.8), (25, -5.0)]
    )
    counter = spline(
        [(-0.4, -7.2, K), (3.4, -7.6), (6.6, -4.6), (6.8, -1.6, K), (0, -1.6, K), (-0.6, -4)]
    )
    stripe = spline([(9.6, -7.6, K), (12.2, -7.8, K), (12.4, -3, K), (9.0, -3, K)])
    rows = np.linspace(0.06, 0.94, 6 if high else 4)
    laces = tuple(
        Stroke(
            curve(
                (10.4 + 5.8 * s, top + 1.4 + (-8.0 - top) * s),
                (13.6 + 4.6 * s, top + 0.2 + (-7.2 - top) * s),
            ),
            3.2, 1.0, "white",
        )
        for s in rows
    )
    lip = Stroke(
        curve((-0.6, -thick + 0.7), (14, -thick + 1.2), (28, -thick + 0.2)), 1.2, 0.4, "seam",
    )
    mouth = spline(
        [(0.8, top + 0.1, K), (4, top - 0.8), (9, top - 0.6, K), (8.6, top + 0.8), (4, top + 2)]
    )
    return _pair(
        [
            Part(tongue, "plain", "jersey", 0.9, side=True),
            Part(mouth, "lining", "jersey", 0.55, shadow=0.1),
            Part(body, finish=b.pick("leather", "woven"), main=True, volume=1.3, shadow=0.4),
            Part(counter, "plain", "leather", 0.94, volume=0.5, shadow=0.3, side=True),
            Part(toe, "plain", "leather", 0.98, volume=0.6, shadow=0.3, side=True),
            *([Part(stripe, "accent", "leather", volume=0.4, shadow=0.2)] if b.chance(0.5) else []),
            overlay(*laces),
            Part(sole, "sole", "plastic", 1.0, lines=(lip,), shadow=0.5, side=True),
        ]
    )


def boots(b: Build) -> list[Part]:
    tall = b.pick("ankle", "ankle", "calf", "knee") if not b.child else "calf"
    top = {"ankle": -16.0, "calf": -24.0, "knee": -38.0}[tall]
    heel = b.vary(5.0, 0.5) if b.lady else 2.8
    chunky = b.chance(0.5) or not b.lady
    shaft = 5.4 if tall == "ankle" else 6.2
    lift = -heel
    half = (top + lift) / 2
    body = spline(
        [
            (0.8, lift + 0.2, K), (0.0, lift - 4), (1.0, half), (0.2, top + lift, K),
            (5, top + lift - 0.5), (0.2 + 2 * shaft, top + lift + 0.2, K), (11.4, half),
            (12.2, lift - 7), (16.5, -6.6), (23.4, -5.0), (27.4, -2.6), (27.4, -1.2, K),
            (18, -1.4, K), (11, lift * 0.75, K),
        ]
    )
    sole = spline(
        [
            (0.6, lift - 0.2, K), (11, lift * 0.8 - 0.6), (18, -1.9), (27.8, -1.9, K), (27.8, -0.2),
            (26, 0, K), (17.5, 0, K), (10.5, lift * 0.72 + 0.9), (0.4, lift + 1, K),
        ]
    )
    block = spline(
        [
            (0.4, lift, K), (8.6 if chunky else 5.0, lift + 0.6, K), (7.6 if chunky else 2.6, 0, K),
            (0.9 if chunky else 1.2, 0, K),
        ]
    )
    parts = [
        Part(
            spline(
                [
                    (0.3, top + lift + 0.2, K), (5, top + lift - 1.4),
                    (2 * shaft + 0.1, top + lift + 0.3, K), (5, top + lift + 1.4),
                ]
            ),
            "lining", "leather", 0.5, volume=0.2, shadow=0.0,
        ),
        Part(block, "dark", "leather", shadow=0.1),
        Part(
            body, finish=b.pick("leather", "felt", "leather"),
            folds=creases(b.rng, body, 4, steep=0.5, size=0.1), main=True, volume=1.4,
            lines=(Stroke(curve((7.2, top + lift + 1), (7.6, half), (8.4, lift - 3)), 1, 0.3),),
        ),
        Part(sole, "dark", "plastic", shadow=0.3),
    ]
    style = b.pick("chelsea", "laces", "zip")
    if style == "chelsea":
        gore = spline(
            [
                (4.0, top + lift + 0.8, K), (9.6, top + lift + 0.8, K), (8.4, top + lift + 10),
                (6.6, top + lift + 11), (5, top + lift + 10),
            ]
        )
        parts.append(Part(gore, "dark", "fine rib", shadow=0.2, volume=0.4))
    elif style == "laces":
        rows = np.linspace(top + lift + 2.5, lift - 5, 6 if tall != "knee" else 9)
        cords = [
            Stroke(
                curve((9.2 + 0.12 * k, float(y)), (12.4 + 0.12 * k, float(y) + 1.3)), 2.6, 1.0,
                "dark",
            )
            for k, y in enumerate(rows)
        ]
        parts.append(overlay(*cords))
    return _pair(parts, (4.0, -7.0))


def _flat_sole(heel: float) -> Floats:
    """A thin sole over a heel of that height."""
    return spline(
        [
            (0, -heel - 1.2, K), (6, -heel - 1.0), (13, -heel * 0.5 - 1.4), (19, -1.8),
            (27, -1.8, K), (27.6, -0.6), (26, 0, K), (18, 0), (12, -heel * 0.45), (6, -heel),
            (0.2, -heel, K),
        ]
    )


def _heel(heel: float, kind: str) -> list[Part]:
    if heel < 1.5:
        return []
    if kind == "wedge":
        return [
            Part(
                spline([(0.2, -heel, K), (8, -heel + 0.4), (18, -0.8), (26, 0, K), (0.8, 0, K)]),
                "straw" if heel > 5 else "sole", "straw", shadow=0.2,
            )
        ]
    wide = {"stiletto": (4.6, 1.7), "block": (6.6, 6.0)}[kind]
    return [
        Part(
            spline(
                [(0.1, -heel - 0.4, K), (wide[0], -heel - 0.3, K), (wide[1], 0, K), (0.7, 0, K)]
            ),
            "plain", "leather", 0.86, shadow=0.2,
        )
    ]


def sandals(b: Build, heel: float | None = None, kind: str = "block") -> list[Part]:
    h = heel if heel is not None else (b.vary(2.2, 0.2) if b.chance(0.6) else b.vary(7.0, 0.2))
    if b.child or b.men:
        h = 2.0
    width = b.vary(3.0, 0.3)
    style = b.pick("two", "cross", "thin")
    toe = [ribbon([(19.2, -1.2), (21, -5.4), (24.6, -4.4), (25.2, -1.2)], width)]
    if style == "two":
        toe.append(
            ribbon(
                [(13.6, -h * 0.4 - 1), (15.6, -h * 0.4 - 7.4), (19.4, -6.6), (20.0, -1.4)], width,
            )
        )
    elif style == "cross":
        toe.append(ribbon([(13, -h * 0.5), (17, -6.4), (22.5, -5.6), (25, -2)], width * 0.9))
    ankle_y = -h - 7.8
    strap = ribbon([(2.2, -h - 0.8), (0.2, -h - 3.6), (0.4, ankle_y - 0.6)], 4.4, 2.2, 2.0)
    ring = ribbon(
        [(0.4, ankle_y + 0.6), (5, ankle_y - 0.6), (9.2, ankle_y + 1.2), (10, ankle_y + 3.4)], 1.7,
    )
    far = ribbon([(0.8, ankle_y + 1.2), (5, ankle_y + 2.8), (9.8, ankle_y + 3.2)], 1.5)
    finish = b.pick("leather", "felt", "leather")
    return _pair(
        [
            *_heel(h, kind), Part(far, "plain", finish, 0.72, volume=0.5),
            Part(_flat_sole(h), "sole" if kind == "wedge" else "wood", "leather", shadow=0.3),
            Part(strap, "plain", finish, 0.95, side=True),
            *(Part(t, finish=finish, main=k == 0, volume=1.3) for k, t in enumerate(toe)),
            Part(ring, finish=finish, volume=0.9),
            Part(
                oval(7.4, ankle_y + 0.2, 0.95, 1.1), "metal", "metal", shadow=0.5,
                holes=(oval(7.4, ankle_y + 0.2, 0.45, 0.55),),
            ),
        ]
    )


def wedges(b: Build) -> list[Part]:
    return sandals(b, b.vary(7.0, 0.15), "wedge")


def heeled_sandals(b: Build) -> list[Part]:
    return sandals(b, b.vary(8.5, 0.12), b.pick("stiletto", "block"))


def _court(b: Build, heel: float, kind: str, pointed: float) -> list[Part]:
    """A closed low shoe: pumps, ballerinas, loafers."""
    h = heel
    tip = 27.0 + pointed
    body = spline(
        [
            (0, -h - 0.9, K), (-0.5, -h - 4), (1.2, -h - 6.4, K), (4.6, -h - 4.2),
            (10, -h * 0.7 - 3.4), (16, -4.4), (19.6, -5.4, K), (23.4, -4.4), (tip, -1.7, K),
            (19, -1.3), (12, -h * 0.5 - 0.9),
        ]
    )
    inside = spline(
        [
            (1.3, -h - 6.3, K), (5, -h - 5.4), (12, -h * 0.65 - 5), (19.6, -5.5, K), (15, -4.2),
            (9, -h * 0.72 - 3.2), (4, -h - 4),
        ]
    )
    finish = b.pick("leather", "felt", "plastic")
    edge = Stroke(
        curve((1.3, -h - 5.6), (4.8, -h - 3.4), (10, -h * 0.7 - 2.6), (16, -3.6), (19.4, -4.5)), 1,
        0.4, "stitch",
    )
    return [
        *_heel(h, kind), Part(inside, "wood", "leather", 0.86, volume=0.3, shadow=0.1),
        Part(_flat_sole(h), "dark", "leather", shadow=0.2),
        Part(body, finish=finish, main=True, volume=1.5, lines=(edge,)),
    ]


def pumps(b: Build) -> list[Part]:
    return _pair(_court(b, b.vary(8.0, 0.2), b.pick("stiletto", "block"), 1.6))


def flats(b: Build) -> list[Part]:
    parts = _court(b, 1.2, "block", b.rng.uniform(-0.4, 1.6))
    bow = spline(
        [
            (20.6, -5.2, K), (18.4, -7.2), (17.8, -5.4), (18.6, -4.4), (20.6, -5.0, K),
            (22.6, -6.2), (23.2, -4.6), (22.2, -3.8),
        ]
    )
    if b.chance(0.5):
        parts.append(Part(bow, "plain", "satin", 1.0, shadow=0.5))
    return _pair(parts, (3.5, -8.0))


def loafers(b: Build) -> list[Part]:
    parts = _court(b, 1.8, "block", 0.0)
    vamp = spline([(13.4, -4.8, K), (18, -6.8), (20.6, -6.0, K), (20.2, -2.6, K), (15, -2.4, K)])
    tassel = ribbon([(14.4, -4.0), (20.4, -4.6)], 1.8)
    return _pair(
        [
            *parts, Part(vamp, "plain", "leather", 0.97, shadow=0.4),
            Part(tassel, "plain", "leather", 0.9, shadow=0.5),
        ],
        (3.5, -8.5),
    )


def slippers(b: Build) -> list[Part]:
    sole = spline(
        [(0, -2.2, K), (13, -2.0), (27, -2.2, K), (28, -0.8), (26, 0), (2, 0), (-0.6, -1)]
    )
    body = spline(
        [(10.6, -2.0, K), (13, -7.0), (17.4, -8.2), (23.6, -6.6), (27.6, -3), (27.2, -1.6, K)]
    )
    bed = spline([(0.2, -2.0, K), (0.6, -3.0), (12, -3.2, K), (12, -1.8, K)])
    cuff = ribbon([(10.4, -2.4), (12.6, -6.8), (17.4, -8.2)], 2.8)
    return _pair(
        [
            Part(bed, "lining", "fleece", 1.0, shadow=0.1),
            Part(body, finish="fleece", main=True, volume=1.5),
            Part(cuff, "light", "fleece", 1.0, shadow=0.4), Part(sole, "sole", "felt", shadow=0.4),
        ],
        (3.0, -9.5),
    )


def flip_flops(b: Build) -> list[Part]:
    """A pair from above."""
    sole = spline(
        [
            (-4.2, 12), (-3.4, 0), (-5, -8), (-2.6, -13.4), (2.6, -13), (4.8, -7), (3.4, 2),
            (3.8, 12), (0, 15),
        ]
    )
    straps = [
        ribbon([(0.2, -8.6), (s * 3.2 - 0.4, -5.0), (s * 3.9 - 0.2, 1.4)], 1.2, 2.0)
        for s in (-1, 1)
    ]
    one = [
        Part(
            sole, "sole" if b.chance(0.3) else "plain", "felt", 0.97,
            lines=(Stroke(np.r_[sole * 0.93, sole[:1] * 0.93], 1, 0.3),),
        ),
        *(Part(strap, "plain", "plastic", 1.04, shadow=0.7, main=True) for strap in straps),
    ]
    return [
        *(p.placed((-1.0, 1.0), (-5.6, 0.0)) for p in one),
        *(p.placed((1.0, 1.0), (5.6, 0.6)) for p in one),
    ]


def baby_shoes(b: Build) -> list[Part]:
    body = spline(
        [
            (0, -1, K), (-0.8, -6), (0.8, -12.6, K), (6, -13.4), (11, -12.4, K), (13, -8.6),
            (19, -7.6), (22.6, -4), (22, -0.4, K),
        ]
    )
    strap = ribbon([(2, -9.4), (8, -9.8), (13.6, -8.2)], 3.0)
    sole = spline([(-0.6, -1.6, K), (11, -1.2), (22.6, -1.8, K), (22.4, 0), (0, 0)])
    return _pair(
        [
            Part(body, finish="felt", main=True, volume=1.6),
            Part(strap, "plain", "felt", 0.94, shadow=0.5),
            Part(oval(12, -8.8, 0.9, 0.9), "button", "plastic", shadow=0.5),
            Part(sole, "sole", "felt"),
        ]
    )
