"""Bags and wallets from the front; centimetres or so, x to the right and y down."""

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


def bag(b: Build) -> list[Part]:
    return {"tote": tote, "cross": cross_body, "hand": handbag, "backpack": backpack}[
        b.pick("tote", "cross", "hand", "backpack") if not b.child else "backpack"
    ](b)


def tote(b: Build) -> list[Part]:
    w, h = b.vary(18, 0.1), b.vary(34, 0.12)
    body = shape((0, 0.6), (w * 0.96, 0, K), (w * 0.97, h * 0.5), (w * 0.9, h, K), (0, h + 0.8))
    rear = ribbon([(-w * 0.44, 2), (-w * 0.36, -14), (0, -20), (w * 0.36, -14), (w * 0.44, 2)], 2.0)
    near = ribbon([(-w * 0.5, 6), (-w * 0.44, -11), (0, -17), (w * 0.44, -11), (w * 0.5, 6)], 2.2)
    finish = b.pick("leather", "woven", "straw")
    hem = Stroke(curve((-w * 0.96, 2.4), (w * 0.96, 2.4)), 1, 0.4, "stitch")
    return [
        Part(rear, "plain", finish, 0.76),
        Part(
            body, finish=finish, folds=creases(b.rng, body, 5), lines=(hem,), main=True, volume=1.3,
        ),
        Part(near, "plain", finish, 0.95, shadow=0.6),
    ]


def cross_body(b: Build) -> list[Part]:
    w, h = b.vary(13, 0.1), b.vary(17, 0.1)
    body = shape((0, 0), (w * 0.9, 0.2), (w, 2), (w * 1.02, h * 0.7), (w * 0.94, h), (0, h + 0.6))
    flap = shape(
        (0, -0.6), (w * 0.92, -0.3), (w * 1.03, 1.6), (w * 0.98, h * 0.44), (w * 0.5, h * 0.62),
        (0, h * 0.68),
    )
    edge = flap * vector(0.94, 0.94) + vector(0, 0.3)
    path: list[Point] = [(-w * 0.96, 3), (-w * 0.86, -16), (-2, -29), (w * 0.6, -20), (w * 0.96, 3)]
    if b.chance(0.5):
        chain = [
            overlay(
                Stroke(curve(*path), 3.2, 1.0, "metal", 3.0),
                Stroke(curve(*path), 1.4, 0.9, "metal"),
            )
        ]
    else:
        chain = [Part(ribbon(path, 1.3), "plain", "leather", 0.93)]
    return [
        *chain, Part(body, finish="leather", volume=1.4),
        Part(
            flap, finish="leather", shadow=0.6, main=True,
            lines=(Stroke(np.r_[edge, edge[:1]], 0.9, 0.35, "stitch"),),
        ),
        Part(
            spline(
                [(-1.8, h * 0.54, K), (1.8, h * 0.54, K), (1.8, h * 0.74, K), (-1.8, h * 0.74, K)],
                steps=2,
            ),
            "metal", "metal", shadow=0.6,
        ),
        *(Part(oval(s * w * 0.96, 3, 1.1, 1.1), "metal", "metal", shadow=0.4) for s in (-1, 1)),
    ]


def handbag(b: Build) -> list[Part]:
    w, h = b.vary(17, 0.08), b.vary(21, 0.1)
    body = shape(
        (0, 0), (w * 0.78, 0.2, K), (w * 0.95, h * 0.5), (w * 1.04, h - 1), (w * 0.9, h + 0.3),
        (0, h + 0.9),
    )
    handle = ribbon(
        [(-w * 0.46, 2.4), (-w * 0.44, -8), (0, -14), (w * 0.44, -8), (w * 0.46, 2.4)], 1.9,
    )
    zipped = Stroke(curve((-w * 0.78, 1.2), (w * 0.78, 1.2)), 1.6, 0.7, "metal", 1.2)
    seam = Stroke(
        curve((-w * 0.98, h * 0.66), (0, h * 0.7), (w * 0.98, h * 0.66)), 1, 0.4, "stitch",
    )
    return [
        Part(handle, "plain", "leather", 0.8).placed((0.94, 0.94), (0.0, -1.0)),
        Part(
            body, finish="leather", main=True, volume=1.6, lines=(zipped, seam),
            folds=creases(b.rng, body, 4),
        ),
        Part(handle, "plain", "leather", 0.95, shadow=0.6),
        *(Part(oval(s * w * 0.46, 3, 1.2, 1.5), "metal", "metal", shadow=0.5) for s in (-1, 1)),
    ]


def backpack(b: Build) -> list[Part]:
    w, h = b.vary(15, 0.06), b.vary(40, 0.06)
    body = shape(
        (0, 0), (w * 0.6, 0.8), (w * 0.96, 8), (w * 1.03, h * 0.6), (w, h - 3), (w * 0.86, h),
        (0, h + 0.6),
    )
    pocket = shape(
        (0, h * 0.5), (w * 0.66, h * 0.51), (w * 0.78, h * 0.6), (w * 0.78, h * 0.9),
        (w * 0.66, h * 0.95), (0, h * 0.96),
    )
    zip_top = Stroke(
        curve((-w * 0.86, h * 0.34), (-w * 0.7, 7), (0, 3), (w * 0.7, 7), (w * 0.86, h * 0.34)),
        1.8, 0.85, "metal", 1.4,
    )
    zip_low = Stroke(
        curve((-w * 0.66, h * 0.58), (0, h * 0.56), (w * 0.66, h * 0.58)), 1.8, 0.85, "metal", 1.4,
    )
    loop = ribbon([(-3, 1), (-2.6, -4), (2.6, -4), (3, 1)], 1.4)
    strap = ribbon(
        [(w * 0.5, 3), (w * 1.22, h * 0.3), (w * 1.2, h * 0.7), (w * 0.9, h * 0.94)], 3.0, 2.0,
    )
    return [
        *both(Part(strap, "plain", "nylon", 0.8)), Part(loop, "plain", "nylon", 0.85),
        Part(
            body, finish="nylon", lines=(zip_top,), main=True, volume=1.6,
            folds=creases(b.rng, body, 5),
        ),
        Part(pocket, finish="nylon", lines=(zip_low,), tone=1.02, shadow=0.5, volume=1.2),
    ]


def bum_bag(b: Build) -> list[Part]:
    belt = ribbon([(-22, -6), (-24, -13), (0, -18), (24, -13), (22, -6)], 2.4)
    body = shape((0, -6), (12, -7), (17, -4), (15, 4), (8, 8), (0, 8.8))
    zipped = Stroke(curve((-14, -3.6), (0, -2.6), (14, -3.6)), 1.8, 0.85, "metal", 1.4)
    ends = ribbon([(15.5, -3), (22, -6)], 6, 2.6)
    return [
        Part(belt, "plain", "nylon", 0.85), *both(Part(ends, "plain", "nylon", 0.93)),
        Part(body, finish="nylon", lines=(zipped,), main=True, volume=1.6),
    ]


def weekend_bag(b: Build) -> list[Part]:
    body = shape((0, 0), (19, 0.4), (24, 4), (25, 18), (23, 24), (0, 24.6))
    handle = ribbon([(-9, 12), (-8, -6), (0, -11), (8, -6), (9, 12)], 2.2)
    zipped = Stroke(curve((-21, 2.4), (0, 1.8), (21, 2.4)), 1.8, 0.8, "metal", 1.4)
    return [
        Part(handle, "plain", "leather", 0.75).placed((0.9, 0.9), (0.0, -1.5)),
        Part(
            body, finish=b.pick("leather", "nylon"), lines=(zipped,), main=True, volume=1.6,
            folds=creases(b.rng, body, 5),
        ),
        Part(handle, "plain", "leather", 0.93, shadow=0.6),
    ]


def wallet(b: Build) -> list[Part]:
    body = polygon((-11, -7), (11, -7), (11, 7), (-11, 7))
    flap = spline([(-11.2, -7.2, K), (11.2, -7.2, K), (11.2, 0.4, K), (0, 2.4), (-11.2, 0.4, K)])
    return [
        Part(body, finish="leather", volume=1.2, main=True),
        Part(flap, finish="leather", shadow=0.6),
        Part(oval(0, 1.2, 1.2, 1.2), "metal", "metal", shadow=0.6),
    ]


def pouch(b: Build) -> list[Part]:
    """A soft bag with a drawstring."""
    body = shape((0, 0), (7, 0.4, K), (12, 8), (14.5, 24), (12, 31), (0, 32.4))
    mouth = shape((0, -5.4), (8.6, -6, K), (7.2, 0.6, K), (0, 1.6))
    cord = Stroke(curve((-7, 0.4), (0, 1.4), (7, 0.4), (11, 6), (10, 13)), 2.4, 1.0, "white")
    return [
        Part(mouth, "plain", "woven", 0.88, folds=creases(b.rng, mouth, 5)),
        Part(body, finish="woven", main=True, folds=creases(b.rng, body, 7), volume=1.5),
        overlay(cord),
    ]
