"""Trousers, shorts, tights and skirts, seen from the front.

Lengths are in centimetres of a middle size; x runs to the right from the middle of the body and y
down from the waist. A third number, K, marks the points at which an outline turns a corner.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.data.synthetic.pictures.canvas import SHARP as K
from pipelines.data.synthetic.pictures.canvas import (
    Part,
    Point,
    Stroke,
    oval,
    overlay,
    ribbon,
    spline,
    vector,
)
from pipelines.data.synthetic.pictures.tailoring import Build, both, creases, curve, drape, shape
from pipelines.data.synthetic.pictures.tops import button

# fmt: off
# One point to a line, as the formatter would have it, could not be read as an outline.


@dataclass(frozen=True)
class Legs:
    """How trousers are cut; half widths from the middle, lengths from the waist."""

    length: float = 102.0
    waist: float = 17.5
    hip: float = 23.0
    crotch: float = 28.0
    knee: float = 10.5
    hem: float = 9.0
    gap: float = 2.6
    band: float = 3.6
    style: str = "plain"
    finish: str = "woven"
    cuff: float = 0.0
    feet: bool = False


STRAIGHT = Legs()
"""Plain trousers; any others are made by changing some of their measures."""


def legs(b: Build, cut: Legs = STRAIGHT, **changes: Any) -> list[Part]:
    """Trousers of any length, with waistband, pockets and fly."""
    cut = replace(cut, **changes)
    rng = b.rng
    wide, tall = 0.9 * b.broad * rng.uniform(0.97, 1.04), b.long * rng.uniform(0.97, 1.03)
    c = replace(
        cut, length=cut.length * tall, waist=cut.waist * wide, hip=cut.hip * wide,
        crotch=cut.crotch * (0.6 + 0.4 * tall) * rng.uniform(0.96, 1.06), knee=cut.knee * wide,
        hem=cut.hem * wide,
    )
    c = replace(c, crotch=min(c.crotch, 0.72 * c.length))
    foot = c.length
    inner = c.gap
    knee_at = c.crotch + (foot - c.crotch) * 0.46
    long = foot > 70 * tall
    outer_hem, inner_hem = inner + 2 * c.hem, inner
    half: list[Point] = [
        (0, 0.8), (c.waist * 0.6, 0.4), (c.waist, 0, K),
        (c.waist + (c.hip - c.waist) * 0.78, c.crotch * 0.42), (c.hip, c.crotch * 0.8),
    ]
    if long:
        half += [(inner * 0.8 + 2 * c.knee, knee_at)]
    half += [
        (outer_hem, foot - 0.6, K), ((outer_hem + inner_hem) / 2, foot + 0.4), (inner_hem, foot, K),
    ]
    if c.feet:
        half[-3:] = [
            (outer_hem, foot - 6), (outer_hem + 1.8, foot + 1), (outer_hem + 3.4, foot + 5.5),
            (inner_hem + 1.4, foot + 6.5), (inner_hem, foot - 2),
        ]
    if long:
        half += [(inner * 0.8, knee_at)]
    half += [(0.5, c.crotch + 2.4), (0, c.crotch, K)]
    outline = shape(*half)
    folds = [
        Stroke(
            curve(
                (s * 1.2, c.crotch - 1.5), (s * 7, c.crotch + y),
                (s * (13 + y * 0.5), c.crotch + y - 3.5),
            ),
            1.3, w,
        )
        for s in (-1, 1) for y, w in ((2.0, 0.9), (5.5, -0.7), (-3.0, -0.8))
    ]
    for s in (-1, 1):
        middle = s * (inner + c.hem)
        if c.style in ("chino", "suit"):
            crease = curve(
                (s * c.waist * 0.55, 9), (s * (inner * 0.8 + c.knee), knee_at), (middle, foot),
            )
            folds.append(Stroke(crease, 1.4, 1.3))
        for _ in range(4 if long else 1):
            y = c.crotch + (foot - c.crotch) * rng.uniform(0.15, 0.9)
            lean = rng.uniform(-3, 3)
            reach = c.hem * 0.7
            folds.append(
                Stroke(
                    curve(
                        (middle - reach, y), (middle, y + lean * 0.7 + 1),
                        (middle + reach, y + lean),
                    ),
                    1.4, float(rng.choice([-0.7, 0.7])),
                )
            )
    if c.style == "wide":
        folds += drape(
            rng, curve((3, c.crotch), (c.hip * 0.9, c.crotch)),
            curve((inner, foot), (outer_hem, foot)), 3,
        )
        folds += drape(
            rng, curve((-3, c.crotch), (-c.hip * 0.9, c.crotch)),
            curve((-inner, foot), (-outer_hem, foot)), 3,
        )
    lines: list[Stroke] = []
    if not c.feet and not c.cuff:
        for s in (-1, 1):
            lines.append(
                Stroke(
                    curve((s * inner_hem, foot - 1.8), (s * outer_hem, foot - 2.2)), 1, 0.4,
                    "stitch",
                )
            )
    lines += _leg_lines(c)
    back = spline([(-c.waist, 0.2, K), (0, -2.2), (c.waist, 0.2, K), (0, 3.4)])
    parts = [
        Part(back, "plain", c.finish, 0.66, volume=0.3, shadow=0.2, side=True),
        Part(
            outline, finish=c.finish, folds=tuple(folds), lines=tuple(lines), main=True,
            volume=1.15,
        ),
    ]
    if c.band:
        parts += waistband(c)
    if c.cuff:
        cuff = spline(
            [
                (inner_hem + 0.8, foot - 1.2, K), (outer_hem - 0.8, foot - 1.2, K),
                (outer_hem - 1.6, foot + c.cuff, K), (inner_hem + 1.6, foot + c.cuff, K),
            ]
        )
        parts += both(Part(cuff, "trim", "rib", 0.97, volume=0.8, shadow=0.3, side=True))
    if c.style == "cargo":
        y = knee_at - 9
        x = c.hip * 0.72
        box = spline(
            [(x, y, K), (x + 9, y, K), (x + 8.4, y + 13, K), (x - 0.4, y + 13, K)], steps=3,
        )
        flap = spline(
            [(x - 0.6, y, K), (x + 9.4, y, K), (x + 9, y + 4, K), (x - 0.6, y + 4, K)], steps=3,
        )
        parts += both(Part(box, finish=c.finish, volume=0.5, shadow=0.5))
        parts += both(Part(flap, finish=c.finish, tone=0.97, volume=0.5, shadow=0.5))
    return parts


def _leg_lines(c: Legs) -> list[Stroke]:
    lines: list[Stroke] = []
    if c.style in ("jeans", "chino", "suit", "cargo", "wide"):
        deep = c.crotch * 0.36
        for s in (-1, 1):
            pocket = (
                curve(
                    (s * c.waist * 0.62, c.band), (s * c.waist * 0.7, deep * 0.75),
                    (s * (c.hip * 0.9), deep),
                )
                if c.style == "jeans"
                else curve((s * c.waist * 0.72, c.band), (s * c.hip * 0.93, c.crotch * 0.55))
            )
            lines.append(Stroke(pocket, 1.2, 0.65, "stitch"))
            if c.style == "jeans":
                lines.append(Stroke(pocket + vector(0, 0.9), 0.9, 0.5, "stitch", 2.0))
        fly = curve(
            (2.6, c.band), (2.6, c.crotch * 0.55), (1.6, c.crotch * 0.68), (0, c.crotch * 0.74),
        )
        lines.append(Stroke(fly, 1.1, 0.55, "stitch"))
        lines.append(Stroke(curve((0, c.band), (0, c.crotch)), 1.1, 0.55))
    else:
        lines.append(Stroke(curve((0, c.band), (0, c.crotch)), 1.0, 0.3))
    return lines


def waistband(c: Legs) -> list[Part]:
    """The band at the waist with its loops, button or cords."""
    grow = (c.hip - c.waist) * 0.78 * c.band / (c.crotch * 0.42) * 0.8
    x, y = c.waist, c.band
    band = shape(
        (0, 0.8), (x * 0.6, 0.4), (x + 0.2, 0, K), (x + grow + 0.1, y, K), (x * 0.6, y + 0.7),
        (0, y + 1.1),
    )
    elastic = c.style in ("jogger", "elastic", "plain")
    finish = "rib" if elastic and c.finish != "satin" else c.finish
    edge = Stroke(curve((-x - grow, y), (0, y + 1.1), (x + grow, y)), 1.1, 0.55)
    parts = [
        Part(
            band, "plain" if not elastic else "trim", finish, 0.97, volume=0.7, shadow=0.35,
            lines=(edge,),
        )
    ]
    if c.style in ("jeans", "chino", "suit", "cargo"):
        for px in (0.34, 0.8):
            loop = ribbon([(x * px, -0.3), (x * px + 0.3, y + 1.4)], 1.5)
            parts += both(Part(loop, "plain", c.finish, 0.98, volume=0.3, shadow=0.5))
        parts.append(
            Part(
                oval(0.4, y * 0.55 + 0.5, 1.1, 1.1), "metal" if c.style == "jeans" else "button",
                "plastic", volume=0.3, shadow=0.6,
            )
        )
    if c.style == "jogger":
        cords = tuple(
            Stroke(curve((s * 0.8, y), (s * 1.8, y + 7), (s * 1.4, y + 12)), 2.0, 0.95, "white")
            for s in (-1, 1)
        )
        parts.append(overlay(*cords))
    return parts


def trousers(b: Build) -> list[Part]:
    kinds = ("chino", "wide", "jogger", "jeans", "suit", "cargo", "jeans")
    kind = b.pick(*kinds) if not b.child else b.pick("jogger", "jeans", "chino", "jogger")
    if kind == "jeans":
        return jeans(b)
    cut = Legs(style=kind)
    if kind == "wide":
        cut = replace(
            cut, knee=12.5, hem=b.vary(15, 0.15), gap=1.0, hip=22, finish=b.pick("woven", "satin"),
        )
    elif kind == "jogger":
        cut = replace(cut, knee=10.5, hem=7, cuff=5, finish="jersey", hip=23.5, length=95)
    elif kind == "cargo":
        cut = replace(cut, knee=11.5, hem=8.5, cuff=3 if b.chance(0.5) else 0)
    elif kind == "suit":
        cut = replace(cut, knee=9.6, hem=8.4, finish="crisp", length=b.vary(98))
    return legs(b, cut)


def jeans(b: Build) -> list[Part]:
    knee, hem = {"skinny": (7.9, 5.8), "slim": (8.7, 7.2), "straight": (9.8, 9.0), "flare": (8.8, 13.0), "mom": (10.8, 7.6)}[
        b.pick("skinny", "slim", "straight", "flare", "mom") if not b.men
        else b.pick("skinny", "slim", "straight")
    ]
    return legs(b, style="jeans", knee=knee, hem=hem, hip=22, waist=b.vary(17.5))


def leggings(b: Build) -> list[Part]:
    short = b.chance(0.2)
    return legs(
        b, length=b.vary(58 if short else 92), waist=15.5, hip=19.5, crotch=26, knee=7.2,
        hem=5.2 if not short else 6.8, gap=3, band=b.vary(6, 0.4), style="elastic", finish="jersey",
    )


def shorts(b: Build) -> list[Part]:
    kind = b.pick("jeans", "chino", "jogger", "plain")
    return legs(
        b, length=b.vary(48 if b.men else 40, 0.12), waist=17.5, hip=23.5, crotch=27,
        hem=b.vary(13, 0.1), gap=0.8, style=kind,
        finish="jersey" if kind in ("jogger", "plain") else "woven",
    )


def pyjama_bottom(b: Build) -> list[Part]:
    return legs(b, style="jogger", knee=11.5, hem=10.5, hip=23.5, length=96, finish="jersey")


def long_johns(b: Build) -> list[Part]:
    return legs(
        b, length=94, waist=15.5, hip=19.5, crotch=27, knee=7.4, hem=5.4, gap=3, band=3,
        style="elastic", finish="fine rib", cuff=5,
    )


def tights(b: Build) -> list[Part]:
    return legs(
        b, length=100, waist=13, hip=16.5, crotch=26, knee=5.6, hem=3.6, gap=2.2, band=3.4,
        style="elastic", finish="fine rib" if b.chance(0.4) else "satin", feet=True,
    )


def skirt(b: Build) -> list[Part]:
    lengths = {"pencil": 60, "a": 48, "flared": 58, "pleated": 66, "denim": 42, "tiered": 76}
    hems = {"pencil": 18.5, "a": 30, "flared": 38, "pleated": 36, "denim": 25, "tiered": 42}
    kind = b.pick("flared", "tiered", "a") if b.child else b.pick(*lengths, "slip")
    length = b.vary(42 if b.child else lengths.get(kind, 74), 0.12) * b.long
    waist = b.vary(16.5) * b.broad
    hem = min(b.vary(hems.get(kind, 29)) * b.broad, waist + 0.5 * length)
    return skirted(b, length, waist, hem, kind)


def skirted(b: Build, length: float, waist: float, hem: float, kind: str) -> list[Part]:
    """A skirt of that length with half widths at waist and hem, of a kind of `skirt`."""
    rng = b.rng
    hip = max(waist + 4.2, waist + (hem - waist) * 0.34)
    bow = 0.05 * hem + 0.6
    wave: list[Point] = [(hem * 0.55, length + bow * 0.7)]
    if kind in ("flared", "tiered", "a"):
        count = 5
        wave = [
            (
                hem * (1 - (k + 0.5) / count),
                length + bow * (k + 0.5) / count + (0.5 if k % 2 else -0.5),
            )
            for k in range(count)
        ]
    outline = shape(
        (0, 0.8), (waist * 0.6, 0.4), (waist, 0, K), (hip, length * 0.3),
        (hip + (hem - hip) * 0.55, length * 0.66), (hem, length - 0.6, K), *wave, (0, length + bow),
    )
    top_line, bottom = (
        curve((-waist, 1), (0, 1.8), (waist, 1)),
        curve((-hem, length), (0, length + bow), (hem, length)),
    )
    folds: tuple[Stroke, ...] = ()
    lines: list[Stroke] = []
    finish = "woven"
    if kind == "pleated":
        folds = drape(rng, top_line, bottom, 13, 1.1)
        lines += [Stroke(f.points, 0.9, 0.3) for f in folds[1::2]]
        finish = "satin"
    elif kind in ("flared", "tiered", "a"):
        folds = drape(rng, top_line, bottom, 7 if kind != "a" else 4, 1.0)
    elif kind == "slip":
        folds, finish = drape(rng, top_line, bottom, 3, 0.6) + creases(rng, outline, 4), "satin"
    else:
        folds = creases(rng, outline, 6)
    if kind == "tiered":
        for share in (0.4, 0.7):
            x = hip + (hem - hip) * (share - 0.15)
            lines.append(
                Stroke(
                    curve((-x, length * share), (0, length * share + bow), (x, length * share)),
                    1.4, 0.55,
                )
            )
    if kind == "denim":
        for s in (-1, 1):
            lines.append(
                Stroke(
                    curve((s * waist * 0.6, 4), (s * waist * 0.75, 9), (s * hip * 0.86, 11)), 1.2,
                    0.6, "stitch",
                )
            )
        lines.append(Stroke(curve((0, 4), (0, length)), 1.2, 0.6, "stitch"))
    if kind != "tiered":
        lines.append(Stroke(bottom + vector(0, -1.8), 1, 0.3, "stitch"))
    back = spline([(-waist, 0.2, K), (0, -1.9), (waist, 0.2, K), (0, 3.4)])
    band = Legs(
        waist=waist, hip=hip, crotch=length * 0.6, band=3.4,
        style={
            "denim": "jeans", "slip": "elastic", "tiered": "elastic", "flared": "plain",
        }.get(kind, "suit"),
        finish=finish,
    )
    parts = [
        Part(back, "plain", finish, 0.66, volume=0.3, shadow=0.2, side=True),
        Part(outline, finish=finish, folds=folds, lines=tuple(lines), main=True),
        *waistband(band)[: 1 if kind != "denim" else None],
    ]
    if kind == "denim":
        parts += [button(0.0, float(y), 0.7) for y in np.linspace(9, length - 6, 4)]
    return parts
