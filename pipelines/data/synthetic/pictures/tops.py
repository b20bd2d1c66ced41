"""What is worn on the upper body, seen from the front.

Lengths are in centimetres of a middle size; x runs to the right from the middle of the body and y
down from the neck. A third number, K, marks the points at which an outline turns a corner. From
`t_shirt` on, each function draws one of H&M's product types for a build.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.data.synthetic.pictures.canvas import SHARP as K
from pipelines.data.synthetic.pictures.canvas import (
    Floats,
    Part,
    Point,
    Stroke,
    oval,
    overlay,
    ribbon,
    spline,
    vector,
)
from pipelines.data.synthetic.pictures.tailoring import (
    Build,
    both,
    creases,
    curve,
    drape,
    shape,
)

# fmt: off
# One point to a line, as the formatter would have it, could not be read as an outline.


@dataclass(frozen=True)
class Cut:
    """How a top, a coat or a dress is cut.

    `neck`, `shoulder`, `chest`, `waist`, `hem` are half widths; `drop` is the depth of the
    neckline, `slope`, `armpit`, `waist_at` and `length` are heights below the neck, and a hem
    with a `dip` hangs lower in the middle (below 0: shaped as a shirt's tail). A sleeve is
    `sleeve` long, leans out by `spread` degrees and is `cuff` wide at its end; `puff` rounds it.
    `rib` is the height of ribbed bands, `ease` how richly it falls in folds, `tiers` the number
    of frills; `seam` and `tie` mark the waist. The other words name a kind each.
    """

    length: float = 64.0
    neck: float = 9.0
    drop: float = 8.5
    neckline: str = "round"
    shoulder: float = 19.5
    slope: float = 4.5
    armpit: float = 22.0
    chest: float = 23.0
    waist: float = 21.5
    waist_at: float = 42.0
    hem: float = 22.5
    dip: float = 0.8
    sleeve: float = 18.0
    spread: float = 24.0
    cuff: float = 8.0
    puff: float = 0.0
    collar: str = "band"
    front: str = "plain"
    buttons: int = 6
    pockets: str = "none"
    rib: float = 0.0
    seam: bool = False
    ease: float = 0.0
    tiers: int = 0
    quilted: bool = False
    tie: bool = False
    finish: str = "jersey"


PLAIN = Cut()
"""A T-shirt; any other cut is made by changing some of its measures."""


def sized(cut: Cut, b: Build) -> Cut:
    """The cut for a build, with a little variation."""
    wide = 0.94 * b.broad * b.rng.uniform(0.97, 1.05)
    tall = b.long
    long = cut.sleeve > 40
    return replace(
        cut, length=cut.length * 1.06 * tall * b.rng.uniform(0.96, 1.05),
        neck=cut.neck * (0.55 + 0.45 * wide), drop=cut.drop * tall * b.rng.uniform(0.9, 1.12),
        shoulder=cut.shoulder * wide, armpit=cut.armpit * tall * b.rng.uniform(0.96, 1.05),
        chest=cut.chest * wide, waist=cut.waist * wide * b.rng.uniform(0.96, 1.03),
        waist_at=cut.waist_at * tall * b.rng.uniform(0.96, 1.04),
        hem=cut.hem * wide * b.rng.uniform(0.95, 1.06),
        sleeve=cut.sleeve * (1.14 if long else 1.0) * tall * b.rng.uniform(0.96, 1.04),
        spread=cut.spread * (0.9 if long else 1.0) * b.rng.uniform(0.8, 1.15) * (
            1.6 if b.baby else 1.0
        ),
        cuff=cut.cuff * wide,
    )


def neckline(cut: Cut, drop: float, grow: float = 0.0) -> list[Point]:
    """From the left shoulder down and up to the right one; `grow` widens it all round."""
    n, d = cut.neck + grow, drop + grow
    if cut.neckline == "v":
        half: list[Point] = [(0, d, K), (n * 0.52, d * 0.46), (n, 0, K)]
    elif cut.neckline == "square":
        half = [(0, d, K), (n * 0.86, d, K), (n, 0, K)]
    elif cut.neckline == "sweetheart":
        half = [(0, d, K), (n * 0.45, d * 0.82), (n * 0.86, d * 0.75, K), (n, 0, K)]
    elif cut.neckline == "boat":
        half = [(0, d * 0.55), (n * 0.6, d * 0.42), (n, 0, K)]
    else:
        half = [(0, d), (n * 0.5, d * 0.88), (n * 0.86, d * 0.5), (n, 0, K)]
    left: list[Point] = [(-p[0], *p[1:]) for p in half[:0:-1]]
    return [*left, *half]


def torso(cut: Cut, drop: float) -> list[Point]:
    """The outline of front or back, from the right shoulder around the hem to the neckline."""
    c = cut
    reach = c.armpit - c.slope
    below = min(c.waist_at, c.length * 0.8)
    side: list[Point] = [
        (c.shoulder, c.slope, K), (c.shoulder - 0.055 * c.shoulder, c.slope + reach * 0.45),
        (c.shoulder + (c.chest - c.shoulder) * 0.25, c.slope + reach * 0.83),
        (c.chest, c.armpit, K), (c.waist, below),
    ]
    if c.length - below > 30:
        hip = c.waist + (c.hem - c.waist) * 0.42 + (1.6 if c.hem < c.waist + 8 else 0)
        side.append((hip, below + (c.length - below) * 0.36))
    side += [(c.hem, c.length - c.dip, K), (c.hem * 0.5, c.length - c.dip * 0.1)]
    if c.dip < 0:
        side[-1] = (c.hem * 0.55, c.length - c.dip * 0.6)
    bottom: list[Point] = [(0, c.length)]
    left: list[Point] = [(-p[0], *p[1:]) for p in side[::-1]]
    return [*side, *bottom, *left, *neckline(c, drop)]


def sleeve(cut: Cut, b: Build) -> list[Part]:
    """The right sleeve, with its cuff."""
    c = cut
    angle = np.radians(c.spread)
    down, out = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    top, pit = np.array([c.shoulder, c.slope]), np.array([c.chest, c.armpit])
    start = (top + pit) / 2
    end = start + down * c.sleeve
    half = c.cuff * 0.5
    long = c.sleeve > 30
    outer, inner = end + out * half, end - out * half
    elbow_out = top + (outer - top) * 0.5 + out * (1.1 + c.puff) + (0.8 if long else 0)
    elbow_in = pit + (inner - pit) * 0.5 - out * (0.25 * c.puff - (0.9 if long else 0))
    lead = -np.array([c.shoulder - c.neck, c.slope]) * 0.3

    def p(at: np.ndarray, *corner: int) -> Point:
        return (float(at[0]), float(at[1]), *corner)  # type: ignore[return-value]

    bulge = top + np.array([0.25, -0.15])
    if c.puff > 1:
        bulge = top + down * 2.0 + np.array([0.4, -1.0]) * c.puff
    outline = spline(
        [
            p(top + lead, K), p(bulge), p(elbow_out), p(outer, K), p(end + down * 0.5), p(inner, K),
            p(elbow_in), p(pit + np.array([-0.3, 0.4]), K), p(pit + np.array([-4.5, -2.0]), K),
        ]
    )
    folds = creases(b.rng, outline, 3 + 4 * long, steep=1.6, size=0.26 if long else 0.4)
    across = curve(p(outer - down * 1.9), p(end - down * 1.5), p(inner - down * 1.9))
    lines: tuple[Stroke, ...] = ()
    if c.finish in ("jersey", "woven", "crisp", "nylon", "leather") and not c.rib:
        lines = (Stroke(across, 1.0, 0.32, "stitch"),)
    if c.quilted:
        rows = np.linspace(0.18, 0.86, 6)
        rings = [
            curve(
                p(top + (outer - top) * s + out * 2.2),
                p((top + pit) / 2 + (end - (top + pit) / 2) * s + down * 1.2),
                p(pit + (inner - pit) * s - out * 1.5),
            )
            for s in rows
        ]
        folds = tuple(Stroke(ring, 2.2, -1.6) for ring in rings)
        lines += tuple(Stroke(ring, 1.0, 0.35) for ring in rings)
    grain = float(angle)
    parts = [
        Part(
            outline, finish=c.finish, grain=grain, folds=folds, lines=lines, side=True, shadow=0.2,
        )
    ]
    if c.rib or (c.collar in ("shirt", "pyjama") and long):
        deep = c.rib or 5.0
        narrow = 0.92 if c.rib else 1.04
        a, z = end - down * 0.3, end + down * (deep - 0.4)
        if not c.rib:
            a, z = a - down * deep, z - down * deep
        cuff = spline(
            [
                p(a + out * half * 1.02, K), p(z + out * half * narrow, K), p(z + down * 0.4),
                p(z - out * half * narrow, K), p(a - out * half * 1.02, K), p(a + down * 0.4),
            ]
        )
        ink = Stroke(curve(p(a + out * half), p(a + down * 0.4), p(a - out * half)), 1, 0.5)
        finish = "rib" if c.rib else c.finish
        parts.append(Part(cuff, "trim", finish, 0.98, grain, 0.8, 0.3, lines=(ink,), side=True))
    return parts


def upper(b: Build, cut: Cut = PLAIN, **changes: Any) -> list[Part]:
    """A top, jacket or dress: sleeves, back, front, collar, closure and pockets."""
    c = sized(replace(cut, **changes), b)
    rng = b.rng
    parts: list[Part] = []
    if c.collar == "turtle":
        c = replace(c, drop=4.0)
    front = spline(torso(c, c.drop))
    if c.sleeve:
        for part in sleeve(c, b):
            parts += both(part)
    back_drop = c.drop * 0.42 if c.sleeve == 0 and c.collar == "band" else 1.6
    if c.collar != "turtle":
        tag: tuple[Stroke, ...] = ()
        if c.sleeve and c.collar in ("band", "rib", "none", "shirt", "stand", "polo", "lapel"):
            label = curve((-1.6, back_drop + 2.6, K), (1.6, back_drop + 2.6, K))
            tag = (
                Stroke(curve((-c.neck, 1.4), (0, back_drop + 1.2), (c.neck, 1.4)), 1.2, 0.6),
                Stroke(label, 6.0, 0.9, "white"),
            )
        behind = replace(c, length=c.armpit + 6, hem=c.chest * 0.96, waist=c.chest * 0.97)
        inside = spline(torso(behind, back_drop))
        parts.append(
            Part(inside, "plain", c.finish, 0.74, volume=0.4, shadow=0.3, lines=tag, side=True)
        )
    if c.collar == "hood":
        parts += _hood(c)

    bottom = hem_line(c, 0.0)
    folds = creases(rng, front, 7, steep=2.0, size=0.24)
    pull = [
        Stroke(
            curve(
                (s * (c.chest - 1.5), c.armpit + 0.5), (s * (c.chest - 6), c.armpit + 5),
                (s * (c.chest - 10), c.armpit + rng.uniform(9, 15)),
            ),
            1.6, -0.8,
        )
        for s in (-1, 1)
    ]
    if c.sleeve:
        folds += tuple(pull)
    if c.ease:
        waist = level(c, min(c.waist_at, c.length * 0.8), 0.96)
        folds += drape(rng, waist, bottom, round(5 + c.ease * 5), 0.8 + 0.7 * c.ease)
    lines = list(front_lines(c))
    if c.quilted:
        rows = np.linspace(0.14, 0.94, 7)
        rings = [
            curve((-c.chest, y), (0, y + 1.2), (c.chest, y))
            for y in (c.slope + (c.length - c.slope) * rows)
        ]
        folds = tuple(Stroke(ring, 2.6, -1.8) for ring in rings)
        lines += [Stroke(ring, 1.0, 0.35) for ring in rings]
    if c.rib == 0 and not c.quilted:
        lines.append(Stroke(hem_line(c, -2.2), 1.0, 0.3, "stitch"))
    parts.append(
        Part(front, finish=c.finish, folds=folds, lines=tuple(lines), main=True, shadow=0.45,
            spot=(0.5, 0.42 if c.length < 75 else 0.3))
    )
    if c.rib:
        parts.append(hem_rib(c))
    parts += collar(c)
    parts += _closure(c)
    parts += _pockets(c, b)
    if c.tie:
        parts += _tie_belt(c, rng)
    return parts


def level(cut: Cut, y: float, share: float = 1.0) -> Floats:
    """A line around the waist at the height `y`."""
    x = cut.waist * share
    return curve((-x, y), (0, y + 0.6), (x, y))


def hem_line(cut: Cut, shift: float) -> Floats:
    """The lower edge, moved down by `shift`."""
    c = cut
    edge = c.length - c.dip + shift
    bow = (c.dip * 0.9) if c.dip >= 0 else -c.dip * 1.2
    if c.dip < 0:
        middle: list[Point] = [(-c.hem * 0.55, c.length - c.dip * 0.6 + shift)]
        middle += [(0, c.length + shift), (c.hem * 0.55, c.length - c.dip * 0.6 + shift)]
        return curve((-c.hem, edge), *middle, (c.hem, edge))
    return curve((-c.hem, edge), (0, edge + bow), (c.hem, edge))


def front_lines(c: Cut) -> list[Stroke]:
    """The seams at the waist and between tiers."""
    lines = []
    if c.seam:
        lines.append(Stroke(level(c, c.waist_at), 1.2, 0.5))
    for k in range(c.tiers):
        y = c.waist_at + (c.length - c.waist_at) * (k + 1) / (c.tiers + 1)
        x = c.waist + (c.hem - c.waist) * (k + 1.3) / (c.tiers + 1)
        lines.append(Stroke(curve((-x, y), (0, y + 1.4), (x, y)), 1.4, 0.5))
    return lines


def hem_rib(c: Cut) -> Part:
    """The ribbed band along the lower edge."""
    y, deep = c.length - c.dip, c.rib
    x = c.hem * 0.985
    band = shape(
        (0, y - 0.4 + c.dip), (x * 0.6, y - 0.5), (x, y - 1.2, K), (x * 0.955, y + deep, K),
        (0, y + deep + c.dip),
    )
    join = Stroke(curve((-x, y - 1.0), (0, y - 0.2 + c.dip), (x, y - 1.0)), 1.0, 0.5)
    return Part(band, "trim", "rib", 0.98, volume=0.8, shadow=0.3, lines=(join,))


def _band(c: Cut, inner: float, outer: float, drop: float) -> Floats:
    """A band along the neckline between two offsets."""
    a = spline(neckline(c, drop, inner), closed=False)
    z = spline(neckline(c, drop, outer), closed=False)
    lift = vector(0, c.slope * outer / max(c.shoulder - c.neck, 1))
    z[0] += lift
    z[-1] += lift
    return np.r_[a, z[::-1]]


def collar(c: Cut) -> list[Part]:
    """What finishes the neckline, by the kind of `c.collar`."""
    n = c.neck
    if c.collar == "band":
        return [Part(_band(c, 0, 1.5, c.drop), "trim", c.finish, 0.97, volume=0.5, shadow=0.35)]
    if c.collar == "rib":
        back = spline(
            [
                (-n - 0.4, 0.6, K), (0, -1.4), (n + 0.4, 0.6, K), (n - 1.5, 2.0), (0, 2.2),
                (-n + 1.5, 2.0),
            ]
        )
        ring = Part(_band(c, 0, 2.8, c.drop), "trim", "rib", 0.98, volume=0.8, shadow=0.4)
        return [Part(back, "trim", "rib", 0.84, volume=0.6, shadow=0.2), ring]
    if c.collar == "turtle":
        x = n * 0.92
        tube = shape(
            (0, -6.6), (x * 0.9, -6.2), (x, -5.2, K), (x * 1.04, 0), (n + 1.5, 3.2, K),
            (n * 0.6, 5.4), (0, 6.2),
        )
        fold = Stroke(curve((-x, 1.2), (0, 2.6), (x, 1.2)), 1.2, 0.5)
        mouth = Part(
            spline([(-x * 0.9, -6.0), (0, -7.0), (x * 0.9, -6.0), (0, -5.0)]), "plain", "rib", 0.6,
            shadow=0.0, volume=0.2,
        )
        return [Part(tube, "trim", "rib", 0.99, lines=(fold,), shadow=0.45), mouth]
    if c.collar in ("shirt", "polo", "pyjama"):
        return _shirt_collar(c, 8.0 if c.collar != "polo" else 6.6)
    if c.collar == "stand":
        x = n * 0.98
        wall = shape(
            (0, c.drop), (x * 0.75, c.drop * 0.62), (x + 0.8, 1.0, K), (x * 0.98, -4.6, K),
            (x * 0.5, -2.4), (0, -1.4),
        )
        inner = spline([(-x * 0.96, -4.4, K), (0, -6.0), (x * 0.96, -4.4, K), (0, -0.6)])
        return [
            Part(inner, "plain", c.finish, 0.66, volume=0.3, shadow=0.2),
            Part(wall, "trim", c.finish if c.finish != "nylon" else "nylon", 0.98, shadow=0.35),
        ]
    if c.collar == "lapel":
        return _lapels(c)
    if c.collar == "bow":
        band = Part(_band(c, 0, 1.5, c.drop), "trim", c.finish, 0.97, volume=0.5, shadow=0.35)
        tail = ribbon([(0.8, c.drop), (3.4, c.drop + 9), (2.6, c.drop + 19)], 2.0, 3.6)
        loop = spline(
            [
                (0, c.drop, K), (4, c.drop - 3), (8.6, c.drop - 1.6), (8, c.drop + 2.6),
                (4, c.drop + 2),
            ]
        )
        knot = Part(oval(0, c.drop + 0.2, 1.7, 1.9), "trim", c.finish, 0.95, shadow=0.4)
        made = [Part(tail, "trim", c.finish, shadow=0.4)]
        return [band, *both(made[0]), *both(Part(loop, "trim", c.finish, shadow=0.4)), knot]
    return []


def _shirt_collar(c: Cut, deep: float) -> list[Part]:
    n = c.neck
    stand = spline(
        [(-n, 0.8, K), (-n * 0.9, -3.2), (0, -4.2), (n * 0.9, -3.2), (n, 0.8, K), (0, 3.0)]
    )
    leaf = spline(
        [
            (n * 0.9, -3.6, K), (n + 1.4, 0.6), (n + 0.6, c.drop * 0.55 + deep * 0.35, K),
            (n * 0.62, c.drop * 0.8 + deep * 0.55, K), (0.4, c.drop + 0.4, K),
            (n * 0.55, c.drop * 0.42),
        ]
    )
    edge = curve(
        (n + 0.0, c.drop * 0.5 + deep * 0.3), (n * 0.62, c.drop * 0.8 + deep * 0.42, K),
        (1.6, c.drop + 0.5),
    )
    lines = (Stroke(edge, 0.9, 0.35, "stitch"),)
    return [
        Part(stand, "trim", c.finish, 0.8, volume=0.3, shadow=0.2),
        *both(Part(leaf, "trim", c.finish, 1.01, 0.5, 0.7, 0.55, lines=lines)),
    ]


def _lapels(c: Cut) -> list[Part]:
    n, d = c.neck, c.drop
    wide = n + 5.2
    lapel = spline(
        [
            (n * 0.98, -1.2, K), (n + 2.4, 3.4), (n + 3.0, d * 0.30, K), (wide + 1.2, d * 0.34, K),
            (wide * 0.86, d * 0.62), (0.2, d + 1.0, K), (n * 0.62, d * 0.5),
        ]
    )
    collar = spline(
        [
            (n * 0.92, -2.6, K), (n + 2.8, 1.2), (n + 4.6, d * 0.25, K), (n + 2.6, d * 0.31, K),
            (n * 0.86, d * 0.2), (n * 0.72, 1.0),
        ]
    )
    back = spline(
        [(-n, 0.8, K), (-n * 0.9, -2.8), (0, -3.8), (n * 0.9, -2.8), (n, 0.8, K), (0, 2.0)]
    )
    return [
        Part(back, "trim", c.finish, 0.84, volume=0.3, shadow=0.2),
        *both(Part(lapel, "trim", c.finish, 1.0, 0.3, 0.7, 0.6)),
        *both(Part(collar, "trim", c.finish, 0.98, 0.3, 0.6, 0.5)),
    ]


def _hood(c: Cut) -> list[Part]:
    n = c.neck
    outside = shape(
        (0, -17), (n * 0.75, -15.6), (n * 1.28, -8), (n * 1.3, -1), (n + 2.6, 3.4, K), (0, 9),
    )
    opening = shape(
        (0, -12.6), (n * 0.55, -11.4), (n * 0.86, -5), (n * 0.8, 2), (n * 0.35, c.drop - 0.5),
        (0, c.drop + 0.5),
    )
    return [
        Part(outside, "shell", c.finish, 0.97, side=True, shadow=0.2),
        Part(opening, "plain", c.finish, 0.66, volume=0.7, shadow=0.0, side=True),
    ]


def _closure(c: Cut) -> list[Part]:
    """Buttons, zips and plackets down the middle of the front."""
    top, bottom = c.drop + 0.6, c.length + c.rib - 0.4
    if c.front == "plain":
        if c.collar == "hood":
            n = c.neck
            flap = _band(replace(c, neckline="v"), -0.2, 3.0, c.drop + 1.5)
            cord = Stroke(
                curve((n * 0.3, c.drop + 0.5), (n * 0.36, c.drop + 8), (n * 0.3, c.drop + 17)), 2.2,
                0.95, "white",
            )
            cord_left = replace(cord, points=cord.points * vector(-1, 1))
            return [
                Part(flap, "shell", c.finish, 1.0, side=True, shadow=0.5), overlay(cord, cord_left),
            ]
        return []
    if c.front in ("zip", "half zip"):
        end = bottom if c.front == "zip" else c.drop + 17
        start = -3.6 if c.collar == "stand" else top - 1
        tape = Part(
            ribbon([(0, start), (0, end)], 2.0), "lining", "flat", 0.9, volume=0.4, shadow=0.3,
            lines=(Stroke(curve((0, start), (0, end)), 1.7, 1.0, "metal", 1.2),),
        )
        pull = Part(
            oval(0, start + 5 if c.front == "zip" else end - 1, 0.7, 1.9), "metal", "metal",
            shadow=0.5,
        )
        return [tape, pull]
    if c.front == "double":
        y = np.linspace(c.drop + 2.5, c.drop + 6 + 8 * (c.buttons / 3), max(c.buttons // 2, 2))
        x = 4.6
        edge = Stroke(curve((-x - 3, c.drop * 0.8), (-x - 2.6, bottom)), 1.1, 0.5)
        return [overlay(edge), *(button(s * x, float(v), 1.15) for v in y for s in (-1, 1))]
    wide = 3.2 if c.front == "placket" else 2.0
    end = c.drop + 14 if c.front == "half placket" else bottom
    if c.front == "half placket":
        wide = 3.2
    seams = tuple(
        Stroke(curve((s * wide / 2, top - 1), (s * wide / 2, end)), 1.0, 0.45, "stitch")
        for s in (-1, 1)
    )
    count = 3 if c.front == "half placket" else c.buttons
    gap = 3.2 if c.collar == "lapel" else 1.8
    first = top + gap
    last = end - 2 if c.front == "half placket" else min(bottom - 4.5, first + 9.5 * (count - 1))
    if c.collar == "lapel":
        last = min(last, first + 10.0 * (count - 1))
    spots = np.linspace(first, last, count) if count > 1 else np.array([first])
    size = 1.25 if c.collar == "lapel" or c.finish in ("knit", "felt") else 0.8
    return [
        overlay(*seams[: 2 if wide > 2.5 else 1]),
        *(button(0.0 if wide > 2.5 else -1.0, float(y), size) for y in spots),
    ]


def button(x: float, y: float, size: float) -> Part:
    """A button of that radius."""
    return Part(oval(x, y, size, size), "button", "plastic", 1.0, volume=0.3, shadow=0.7)


def _pockets(c: Cut, b: Build) -> list[Part]:
    if c.pockets == "kangaroo":
        y = c.length - 2.5
        x = c.hem * 0.56
        pouch = shape(
            (0, y - 17), (x * 0.62, y - 17, K), (x, y - 6, K), (x, y + 1.2, K), (0, y + 2),
        )
        edge = Stroke(curve((x * 0.64, y - 16.4), (x * 0.97, y - 6)), 1.1, 0.45, "stitch")
        lines = (edge, replace(edge, points=edge.points * vector(-1, 1)))
        return [Part(pouch, "shell", c.finish, 1.0, volume=0.6, shadow=0.45, lines=lines)]
    if c.pockets == "chest":
        x, y = c.chest * 0.5, c.armpit * 0.92
        pocket = spline(
            [
                (x - 4.6, y, K), (x + 4.6, y, K), (x + 4.6, y + 8.4, K), (x, y + 10.8, K),
                (x - 4.6, y + 8.4, K),
            ],
            steps=3,
        )
        line = Stroke(curve((x - 4.6, y + 1.6), (x + 4.6, y + 1.6)), 1, 0.4, "stitch")
        return [Part(pocket, "shell", c.finish, 1.0, volume=0.35, shadow=0.45, lines=(line,))]
    if c.pockets in ("flap", "patch"):
        x, y = c.hem * 0.55, c.length - max(c.length * 0.24, 15)
        w = 6.6 * b.broad
        parts: list[Part] = []
        if c.pockets == "patch":
            y = c.length - max(c.length * 0.3, 22)
            patch = spline(
                [
                    (x - w, y, K), (x + w, y, K), (x + w, y + 14), (x + w - 2, y + 16),
                    (x - w + 2, y + 16), (x - w, y + 14),
                ]
            )
            parts += both(Part(patch, "shell", c.finish, 1.0, volume=0.5, shadow=0.45))
        flap = spline(
            [
                (x - w, y, K), (x + w, y - 0.4, K), (x + w, y + 4.4), (x + w - 1, y + 5),
                (x - w + 1, y + 5.4), (x - w, y + 4.4),
            ]
        )
        return parts + both(Part(flap, "shell", c.finish, 0.99, volume=0.5, shadow=0.6))
    if c.pockets == "welt":
        x, y = c.hem * 0.62, c.length * 0.62
        slit = ribbon([(x - 1.4, y + 6.5), (x + 2.4, y - 6.5)], 2.0)
        return both(Part(slit, "shell", c.finish, 0.93, volume=0.5, shadow=0.6))
    if c.pockets == "trucker":
        x, y = c.chest * 0.5, c.armpit * 0.82
        flap = spline(
            [
                (x - 5.4, y, K), (x + 5.4, y, K), (x + 5.4, y + 3.6, K), (x, y + 5.6, K),
                (x - 5.4, y + 3.6, K),
            ],
            steps=3,
        )
        seam = Stroke(curve((-c.shoulder * 0.98, y), (c.shoulder * 0.98, y)), 1.1, 0.6, "stitch")
        down = [
            Stroke(
                curve((s * (x + k), y + 5), (s * (x * 0.62 + k * 0.6), c.length)), 1.0, 0.55,
                "stitch",
            )
            for s in (-1, 1) for k in (-3, 3)
        ]
        return [
            overlay(seam, *down),
            *both(Part(flap, "shell", c.finish, 0.98, volume=0.4, shadow=0.5)),
            *(button(s * x, y + 3.6, 0.7) for s in (-1, 1)),
        ]
    return []


def _tie_belt(c: Cut, rng: np.random.Generator) -> list[Part]:
    y, x = c.waist_at, c.waist * 1.0
    belt = spline(
        [
            (-x - 0.2, y - 1.8, K), (0, y - 1.2), (x + 0.2, y - 1.8, K), (x + 0.2, y + 1.8, K),
            (0, y + 2.4), (-x - 0.2, y + 1.8, K),
        ]
    )
    tails = [
        ribbon(
            [(0.6 * s, y + 1), (3.0 * s, y + 10), (2.2 * s + 1, y + rng.uniform(19, 25))], 3.0, 3.4,
        )
        for s in (-1, 1)
    ]
    knot = Part(oval(0, y + 0.4, 2.2, 2.5), "plain", c.finish, 0.96, shadow=0.5)
    return [
        Part(belt, "plain", c.finish, 0.95, shadow=0.5),
        *(Part(tail, "plain", c.finish, 0.97, shadow=0.5) for tail in tails), knot,
    ]


# --- what a top can be ---


def t_shirt(b: Build) -> list[Part]:
    cropped = b.divided and b.chance(0.5)
    cut = Cut(
        length=46 if cropped else 65, neckline="v" if b.chance(0.18) else "round",
        collar="rib" if b.chance(0.6) else "band", sleeve=b.vary(15, 0.2), cuff=18,
        spread=b.vary(33, 0.2), waist=22 if b.lady else 23,
        pockets="chest" if b.chance(0.12) else "none",
    )
    if b.chance(0.25):
        cut = replace(cut, shoulder=22.5, chest=26, waist=25.5, hem=25.5)
    return upper(b, cut)


def vest_top(b: Build) -> list[Part]:
    thin = b.lady and b.chance(0.35)
    cut = Cut(
        length=b.vary(48 if b.divided else 58), neck=11.6 if thin else 9.4, drop=13,
        shoulder=13.2 if thin else 14.2, slope=0.8, armpit=22, chest=20, waist=19, hem=20.5,
        sleeve=0, neckline=b.pick("round", "round", "v", "square"),
        finish=b.pick("jersey", "fine rib"),
    )
    return upper(b, cut)


def top(b: Build) -> list[Part]:
    kind = b.pick("long", "crop", "puff", "turtle", "wide", "sport", "sweat")
    if b.child or b.men:
        kind = b.pick("long", "sweat", "long", "sport")
    if kind == "crop":
        return upper(
            b, length=42, neckline=b.pick("square", "v", "round"), drop=12, sleeve=b.vary(20, 0.3),
            cuff=11, spread=22, waist=19, hem=19.5, chest=21, finish="fine rib",
        )
    if kind == "puff":
        return upper(
            b, length=55, neckline="square", drop=11, sleeve=18, cuff=11, puff=3.2, spread=26,
            chest=21, waist=19, hem=21, ease=0.3, finish="woven",
        )
    if kind == "turtle":
        return upper(
            b, length=60, collar="turtle", sleeve=50, spread=9, cuff=7.4, chest=21, waist=19,
            hem=20.5, finish="fine rib",
        )
    if kind == "wide":
        return upper(
            b, length=60, neckline="boat", neck=12, sleeve=26, spread=20, cuff=14, shoulder=22,
            chest=26, waist=26, hem=27, ease=0.3,
        )
    if kind == "sweat":
        return upper(
            b, length=60, collar="rib", sleeve=45, spread=10, cuff=9, rib=4.5, shoulder=21.5,
            chest=25, waist=25, hem=24,
        )
    return upper(
        b, length=62, neckline=b.pick("round", "v", "boat"), sleeve=49, spread=9.5, cuff=8,
        chest=21.5, waist=20, hem=21.5, collar=b.pick("band", "rib"),
    )


def sweater(b: Build) -> list[Part]:
    kind = b.pick("rib", "rib", "turtle", "v")
    cut = Cut(
        length=b.vary(56, 0.1), sleeve=45, spread=10, cuff=b.vary(9.5, 0.15), rib=b.vary(4.5, 0.3),
        shoulder=b.vary(21.5), chest=25, waist=24.5, hem=24, drop=7.5,
        collar="turtle" if kind == "turtle" else "rib", neckline="v" if kind == "v" else "round",
        finish=b.pick("knit", "knit", "fine rib", "fleece"),
    )
    if kind == "v":
        cut = replace(cut, drop=15)
    return upper(b, cut)


def cardigan(b: Build) -> list[Part]:
    long = b.lady and b.chance(0.3)
    cut = Cut(
        length=b.vary(78 if long else 54), sleeve=46, spread=10, cuff=8.8, rib=4, shoulder=20.5,
        chest=24, waist=23.5, hem=23, drop=b.vary(20, 0.15) if b.chance(0.7) else 8, neckline="v",
        collar="rib", front="placket", buttons=5 + 2 * long, pockets="patch" if long else "none",
        finish=b.pick("knit", "fine rib", "knit"),
    )
    if cut.drop < 10:
        cut = replace(cut, neckline="round")
    return upper(b, cut)


def hoodie(b: Build) -> list[Part]:
    zipped = b.chance(0.4)
    cut = Cut(
        length=b.vary(50 if b.divided and b.lady and b.chance(0.4) else 60), sleeve=44, spread=11,
        cuff=10, rib=5, shoulder=22, chest=26, waist=26, hem=24.5, drop=9, collar="hood",
        front="zip" if zipped else "plain", pockets="none" if zipped else "kangaroo",
        finish=b.pick("jersey", "fleece"),
    )
    return upper(b, cut)


def blouse(b: Build) -> list[Part]:
    kind = b.pick("bow", "shirt", "v", "puff", "smock")
    cut = Cut(
        length=b.vary(63), sleeve=48, spread=11, cuff=9, chest=23, waist=22.5, hem=24, ease=0.35,
        finish=b.pick("woven", "satin", "woven"), puff=1.2,
    )
    if kind == "bow":
        return upper(b, cut, collar="bow", drop=6)
    if kind == "shirt":
        return upper(b, cut, collar="shirt", front="placket", drop=11, neckline="v", dip=3)
    if kind == "puff":
        return upper(b, cut, sleeve=24, cuff=12, puff=3.4, spread=20, neckline="square", drop=9)
    if kind == "smock":
        return upper(
            b, cut, sleeve=34, cuff=13, puff=2.4, hem=28, ease=0.7, seam=True, waist_at=30,
            neckline="v", drop=12,
        )
    return upper(b, cut, neckline="v", drop=17, front="buttons")


def shirt(b: Build) -> list[Part]:
    short = b.chance(0.25)
    cut = Cut(
        length=b.vary(70), sleeve=22 if short else 50, spread=26 if short else 9.5,
        cuff=17 if short else 9.6, shoulder=20.5, chest=24, waist=23 if b.men else 22, hem=23.5,
        drop=8.5, neckline="v", collar="shirt", front="placket", buttons=7, dip=4.5,
        pockets="chest" if b.chance(0.55) else "none", finish="crisp",
    )
    return upper(b, cut)


def polo(b: Build) -> list[Part]:
    return upper(
        b, length=66, sleeve=17, spread=30, cuff=16, drop=8, neckline="v", collar="polo",
        front="half placket", finish="jersey",
    )


def jacket(b: Build) -> list[Part]:
    kind = b.pick("puffer", "bomber", "biker", "trucker", "parka", "fleece")
    cut = Cut(
        length=58, sleeve=46, spread=11, cuff=11, shoulder=21.5, chest=25.5, waist=25, hem=24.5,
        drop=6, finish="nylon", front="zip",
    )
    if kind == "puffer":
        return upper(b, cut, quilted=True, collar=b.pick("stand", "hood"), hem=25, rib=0)
    if kind == "bomber":
        return upper(b, cut, rib=5, collar="rib", pockets="welt")
    if kind == "biker":
        return upper(
            b, cut, finish="leather", collar="lapel", drop=18, neckline="v", waist=22.5, hem=22.5,
            pockets="welt", length=52,
        )
    if kind == "trucker":
        return upper(
            b, cut, finish="woven", collar="shirt", neckline="v", drop=9, front="placket",
            buttons=6, pockets="trucker", length=54,
        )
    if kind == "parka":
        return upper(
            b, cut, length=76, collar="hood", drop=8, pockets="patch", finish="woven", hem=26,
        )
    return upper(b, cut, finish="fleece", collar="stand", pockets="welt")


def coat(b: Build) -> list[Part]:
    kind = b.pick("wool", "trench", "puffer", "double", "wool")
    cut = Cut(
        length=b.vary(96, 0.08), sleeve=51, spread=8.5, cuff=12, shoulder=21.5, chest=25, waist=24,
        hem=28, drop=27, neckline="v", collar="lapel", front="buttons", buttons=3, pockets="flap",
        finish="felt",
    )
    if kind == "trench":
        return upper(
            b, cut, finish="crisp", front="double", buttons=8, tie=True, waist=22, hem=30, drop=22,
            pockets="welt",
        )
    if kind == "puffer":
        return upper(
            b, cut, quilted=True, collar="hood", drop=7, front="zip", pockets="none",
            finish="nylon", neckline="round",
        )
    if kind == "double":
        return upper(b, cut, front="double", buttons=6)
    return upper(b, cut)


def blazer(b: Build) -> list[Part]:
    double = b.chance(0.35)
    cut = Cut(
        length=b.vary(72), sleeve=50, spread=8.5, cuff=10.5, shoulder=21.2, chest=23.5, waist=21.5,
        hem=24, drop=30, neckline="v", collar="lapel", front="double" if double else "buttons",
        buttons=4 if double else (1 if b.lady else 2), pockets="flap", finish="crisp", dip=-0.8,
    )
    return upper(b, cut)


def waistcoat(b: Build) -> list[Part]:
    return upper(
        b, length=56, sleeve=0, shoulder=14.5, slope=3, neck=8.5, drop=27, neckline="v", chest=21.5,
        waist=20, hem=21.5, collar="none", front="buttons", buttons=4, pockets="flap",
        finish="crisp", dip=-2.5,
    )


def padded_vest(b: Build) -> list[Part]:
    return upper(
        b, length=60, sleeve=0, shoulder=18, slope=4, drop=6, collar="stand", chest=24, waist=24,
        hem=24, front="zip", quilted=True, finish="nylon", pockets="none",
    )
