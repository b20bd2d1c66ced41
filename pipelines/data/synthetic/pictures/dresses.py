"""Dresses, overalls and sets: what covers the whole body, seen from the front.

Lengths as in tops.py.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.data.synthetic.pictures.bottoms import legs, pyjama_bottom
from pipelines.data.synthetic.pictures.canvas import SHARP as K
from pipelines.data.synthetic.pictures.canvas import (
    Part,
    Point,
    Stroke,
    oval,
    ribbon,
    spline,
    vector,
)
from pipelines.data.synthetic.pictures.tailoring import Build, both, creases, curve, drape, shape
from pipelines.data.synthetic.pictures.tops import (
    PLAIN,
    Cut,
    button,
    collar,
    front_lines,
    hem_line,
    hoodie,
    level,
    neckline,
    sized,
    sleeve,
    t_shirt,
    torso,
    upper,
)

# fmt: off
# One point to a line, as the formatter would have it, could not be read as an outline.


def dress(b: Build) -> list[Part]:
    kinds = (
        "shift", "flared", "slip", "shirt", "maxi", "bodycon", "wrap", "tiered", "jersey", "knit",
    )
    kind = (
        b.pick(*kinds) if not b.child
        else b.pick("flared", "flared", "tiered", "jersey", "pinafore")
    )
    cut = Cut(
        length=b.vary(88, 0.06), waist_at=39, chest=21.5, waist=18.5, hem=28, drop=9.5,
        finish="woven", sleeve=b.vary(16, 0.3), cuff=13, spread=24,
    )
    if kind == "shift":
        cut = replace(cut, waist=21, hem=25, neckline=b.pick("round", "v", "boat"))
    elif kind == "flared":
        cut = replace(
            cut, hem=b.vary(36, 0.1), waist=17.5, seam=True, ease=0.7, sleeve=b.vary(16, 0.5),
        )
        if b.child:
            cut = replace(cut, waist=20.5, length=78, hem=37, waist_at=34, puff=b.vary(1.6, 0.6))
    elif kind == "slip":
        return slip_dress(b)
    elif kind == "shirt":
        cut = replace(
            cut, collar="shirt", neckline="v", front="placket", buttons=9, sleeve=46, spread=9,
            cuff=9.5, tie=b.chance(0.6), waist=20, hem=28, ease=0.3, finish="crisp", length=98,
        )
    elif kind == "maxi":
        cut = replace(
            cut, length=122, hem=38, waist=17.5, seam=True, ease=0.7, neckline="v", drop=16,
            sleeve=b.vary(22, 0.4),
        )
    elif kind == "bodycon":
        cut = replace(
            cut, waist=17, hem=19.5, chest=20, sleeve=46 if b.chance(0.5) else 0, spread=9,
            cuff=7.4, finish="fine rib", length=86,
        )
        if cut.sleeve == 0:
            cut = replace(cut, shoulder=14, slope=1, neck=10, drop=13)
    elif kind == "wrap":
        cut = replace(
            cut, neckline="v", drop=20, neck=10, tie=True, ease=0.55, hem=31, waist=18, sleeve=30,
            spread=15, cuff=13, puff=1,
        )
    elif kind == "tiered":
        cut = replace(
            cut, tiers=2, hem=36, waist=23, waist_at=32, ease=0.8, puff=2.6,
            neckline=b.pick("square", "round", "v"), seam=True,
        )
        if b.child:
            cut = replace(cut, length=76)
    elif kind == "knit":
        cut = replace(
            cut, collar="turtle", finish="knit", sleeve=46, spread=9, cuff=8.6, rib=0, waist=21.5,
            hem=23.5, length=92,
        )
    elif kind == "pinafore":
        cut = replace(
            cut, sleeve=0, shoulder=14.5, slope=1, neck=10, drop=10, waist=20, hem=32, length=74,
            seam=True, ease=0.5, waist_at=34,
        )
    else:
        cut = replace(
            cut, finish="jersey", collar="rib", waist=22, hem=26, sleeve=17, spread=28, cuff=17,
            length=84,
        )
    return upper(b, cut)


def strappy(b: Build, cut: Cut = PLAIN, **changes: Any) -> list[Part]:
    """A garment that hangs from two thin straps: the front with a straight or heart-shaped top."""
    c = sized(replace(cut, **changes), b)
    rng = b.rng
    top = 15.0 * b.long
    x = c.chest * 0.62
    straps = [
        ribbon([(x, top + 1), (x * 0.93, 6), (x * 0.72, -1.0)], 1.1),
        ribbon([(x * 0.8, top + 5), (x * 0.78, 6), (x * 0.72, -1.0)], 1.1),
    ]
    below = min(c.waist_at, c.length * 0.75)
    neck: list[Point] = (
        [(0, top + 5, K), (x * 0.55, top + 1.4), (x, top, K)] if c.neckline == "v"
        else [(0, top + 1.2), (x, top, K)]
    )
    half: list[Point] = [
        *neck, (x + (c.chest - x) * 0.45, c.armpit - 2.6), (c.chest, c.armpit + 1, K),
        (c.waist, below),
    ]
    if c.length - below > 30:
        half.append((c.waist + (c.hem - c.waist) * 0.45 + 1.2, below + (c.length - below) * 0.36))
    half += [(c.hem, c.length - c.dip, K), (c.hem * 0.5, c.length + 0.2), (0, c.length + c.dip)]
    front = shape(*half)
    back = shape(
        (0, top + 6), (c.chest * 0.9, c.armpit - 1, K), (c.chest * 0.98, c.armpit + 2, K),
        (0, c.armpit + 4),
    )
    folds = creases(rng, front, 7) + drape(
        rng, level(c, below), hem_line(c, 0), round(3 + 7 * c.ease), 0.6 + c.ease,
    )
    lines = [*front_lines(c), Stroke(hem_line(c, -1.8), 1, 0.3, "stitch")]
    lines.append(Stroke(curve(*[(p[0], p[1] + 1.4) for p in neck]), 1, 0.4))
    lines.append(Stroke(curve(*[(-p[0], p[1] + 1.4) for p in neck]), 1, 0.4))
    return [
        *both(Part(straps[1], "plain", c.finish, 0.72, shadow=0.0, side=True)),
        Part(back, "plain", c.finish, 0.72, volume=0.4, shadow=0.2, side=True),
        Part(front, finish=c.finish, folds=folds, lines=tuple(lines), main=True),
        *both(Part(straps[0], "plain", c.finish, 0.96, shadow=0.3, side=True)),
    ]


def slip_dress(b: Build) -> list[Part]:
    cut = Cut(
        length=b.vary(104, 0.12), chest=19.5, waist=17.5, waist_at=40, hem=b.vary(28, 0.15),
        neckline=b.pick("v", "straight"), ease=0.35, finish=b.pick("satin", "woven"),
    )
    return strappy(b, cut)


def night_gown(b: Build) -> list[Part]:
    if b.lady and b.chance(0.6):
        return strappy(
            b, length=82, chest=20, waist=19.5, waist_at=36, hem=27, neckline="v", ease=0.5,
            finish="satin",
        )
    return upper(
        b, length=86, sleeve=18, spread=28, cuff=17, waist=23, hem=26, waist_at=44, ease=0.2,
    )


def camisole(b: Build) -> list[Part]:
    return strappy(
        b, length=54, chest=19.5, waist=18.5, hem=20.5, neckline=b.pick("v", "straight"), ease=0.2,
        finish="satin",
    )


def jumpsuit(b: Build) -> list[Part]:
    if b.baby:
        return overall(b)
    short = b.chance(0.35)
    waist_at = 40.0
    down = legs(
        replace(b, broad=1.0, long=1.0), length=b.vary(38 if short else 96), waist=17.5, hip=22.5,
        crotch=29, knee=11.5, hem=b.vary(13 if short else 12), gap=1.0, style="wide", band=0,
    )[1:]
    body = upper(
        replace(b, broad=1.0, long=1.0), length=waist_at, waist=18, hem=18, waist_at=34, chest=21,
        sleeve=b.vary(15, 0.3), cuff=13, spread=22, neckline="v", drop=15, dip=0.2, finish="woven",
    )
    low = [part.placed((1.02, 1.0), (0.0, waist_at - 1.0)) for part in down]
    belt = Part(
        shape(
            (0, waist_at - 1.6), (18.4, waist_at - 2, K), (18.6, waist_at + 2, K),
            (0, waist_at + 2.4),
        ),
        "plain", "woven", 0.95, shadow=0.5,
    )
    return stretched([*(replace(p, main=False) for p in low), *body, belt], b)


def dungarees(b: Build) -> list[Part]:
    plain = replace(b, broad=1.0, long=1.0)
    low = [
        p.placed((1.0, 1.0), (0.0, 34.0))
        for p in legs(plain, length=92, style="jeans", knee=10.5, hem=8.8, hip=23)
    ]
    bib = shape((0, 12), (10, 12, K), (11.5, 24), (16, 35, K), (0, 37))
    strap = ribbon([(9, 14), (10.4, 4), (7, -4)], 3.2)
    pocket = spline([(-6, 18, K), (6, 18, K), (6, 27, K), (0, 29, K), (-6, 27, K)], steps=3)
    return stretched(
        [
            *both(Part(strap, "plain", "woven", 0.96, side=True)), *low,
            Part(
                bib, finish="woven",
                lines=(Stroke(curve((-9.8, 13.4), (9.8, 13.4)), 1, 0.6, "stitch"),),
            ),
            Part(pocket, finish="woven", volume=0.5, shadow=0.5),
            *(Part(oval(s * 9, 14.5, 1.3, 1.3), "metal", "metal", shadow=0.5) for s in (-1, 1)),
        ],
        b,
    )


def overall(b: Build) -> list[Part]:
    """A baby's overall: sleeves, legs and a zip or snaps from neck to foot."""
    plain = replace(b, broad=1.0, long=1.0)
    body = upper(
        plain, length=44, sleeve=36, spread=24, cuff=9, chest=23, waist=22.5, hem=22,
        collar=b.pick("band", "hood"), drop=6, front="buttons", buttons=5,
        finish=b.pick("jersey", "fleece"), rib=0,
    )
    low = legs(
        plain, length=44, waist=21.5, hip=22.5, crotch=16, hem=7.4, gap=3.5, band=0, style="plain",
        finish="jersey", cuff=3,
    )[1:]
    return [*(replace(p.placed((1.0, 1.0), (0.0, 42.0)), main=False) for p in low), *body]


def stretched(parts: list[Part], b: Build) -> list[Part]:
    """What was drawn for a middle size, in the proportions of a build."""
    return [part.placed((b.broad, b.long), (0.0, 0.0)) for part in parts]


def bodysuit(b: Build) -> list[Part]:
    kind = b.pick("vest", "short", "long")
    sleeve_length = {"vest": 0.0, "short": 13.0, "long": 46.0}[kind]
    if b.child and kind == "long":
        sleeve_length = 32.0
    c = sized(
        Cut(
            length=52, sleeve=sleeve_length, cuff=14 if kind == "short" else 7.6,
            spread=26 if kind == "short" else 12, chest=20, waist=18, hem=18, drop=10,
            finish=b.pick("jersey", "fine rib"),
        ),
        b,
    )
    if kind == "vest":
        c = replace(c, shoulder=13.5 * b.broad, slope=0.8, neck=9.8, drop=13)
    bottom = c.length + 20 * b.long
    hip = c.waist * 1.14
    outline = torso(c, c.drop)
    half: list[Point] = [
        p for p in outline[: next(i for i, p in enumerate(outline) if p[0] == 0)]
        if p[1] <= c.waist_at + 0.1
    ]
    half += [
        (hip, c.length - 1), (hip * 0.97, c.length + 3, K), (hip * 0.5, c.length + 9),
        (5.4, bottom - 2, K), (5.2, bottom, K),
    ]
    left: list[Point] = [(-p[0], *p[1:]) for p in half[::-1]]
    front = spline([*half, (0, bottom + 0.4), *left, *neckline(c, c.drop)])
    inside = spline(
        torso(
            replace(c, length=c.armpit + 6, hem=c.chest * 0.96, waist=c.chest * 0.97),
            c.drop * 0.45 if kind == "vest" else 1.6,
        )
    )
    leg = curve((hip * 0.97 - 1, c.length + 4.2), (hip * 0.5, c.length + 10.2), (6, bottom - 1.4))
    lines = [Stroke(leg * vector(s, 1), 1, 0.4, "stitch") for s in (-1, 1)]
    parts: list[Part] = []
    if c.sleeve:
        for part in sleeve(c, b):
            parts += both(part)
    parts.append(Part(inside, "plain", c.finish, 0.74, volume=0.4, shadow=0.2, side=True))
    parts.append(
        Part(front, finish=c.finish, folds=creases(b.rng, front, 7), lines=tuple(lines), main=True)
    )
    parts += collar(replace(c, collar="band"))
    if b.child:
        parts += [button(x, bottom - 1.6, 0.7) for x in (-3.0, 0.0, 3.0)]
    return parts


def beside(above: list[Part], below: list[Part], shift: float, b: Build) -> list[Part]:
    """A set: the top laid over the trousers that belong to it."""
    return [
        *(replace(p.placed((0.98, 0.9), (7.0, shift)), main=False) for p in below),
        *(p.placed((1.0, 1.0), (-5.0, 0.0)) for p in above),
    ]


def pyjama_set(b: Build) -> list[Part]:
    plain = replace(b, broad=1.0, long=1.0)
    if b.lady and b.chance(0.35):
        above, below = (
            camisole(plain),
            legs(plain, length=34, hem=13.5, gap=0.8, style="plain", finish="satin"),
        )
    elif b.chance(0.5):
        above = upper(
            plain, length=64, sleeve=44, spread=11, cuff=9.6, collar="pyjama", neckline="v",
            drop=12, front="placket", buttons=5, pockets="chest", finish="crisp", hem=24,
            waist=23.5,
        )
        below = pyjama_bottom(plain)
    else:
        above, below = (
            upper(plain, length=60, sleeve=40, spread=12, cuff=8, rib=3.5, collar="rib"),
            pyjama_bottom(plain),
        )
    return stretched(beside(above, below, 44.0, b), b)


def garment_set(b: Build) -> list[Part]:
    plain = replace(b, broad=1.0, long=1.0)
    return stretched(
        beside(
            hoodie(plain) if b.chance(0.4) else t_shirt(plain),
            legs(plain, style="jogger", length=84, cuff=4, hem=7.5, finish="jersey"), 42.0, b,
        ),
        b,
    )


def robe(b: Build) -> list[Part]:
    return upper(
        b, length=100, sleeve=44, spread=12, cuff=14, shoulder=22, chest=26, waist=24, hem=29,
        drop=34, neckline="v", collar="rib", tie=True, pockets="patch", finish="fleece",
    )


def costume(b: Build) -> list[Part]:
    """A fancy dress: a flared dress with a star's points round its collar."""
    parts = dress(b)
    ruff = [oval(x, 6 + 3.4 * np.cos(x / 5.5), 3.6, 4.2) for x in np.linspace(-11, 11, 7)]
    return [*parts, *(Part(leaf, "accent", "satin", shadow=0.4) for leaf in ruff)]
