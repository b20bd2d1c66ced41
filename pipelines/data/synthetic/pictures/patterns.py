"""Cloth: what each of H&M's graphical appearances looks like in a given colour.

Every weave keeps the article's colour on most of its area, so that the colour can be learnt.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.data.synthetic.pictures.canvas import (
    HEIGHT,
    WIDTH,
    Box,
    Floats,
    Part,
    bounds,
    grid,
    polygon,
    texture,
)
from pipelines.data.synthetic.pictures.motifs import (
    RADII,
    TILE,
    Colour,
    Pen,
    heart,
    ink,
    motif,
    ring,
    scattered,
)

WHITE, BLACK = ink(244, 242, 236), ink(34, 34, 38)
# fmt: off
ACCENTS = np.array([
    [246, 243, 236], [34, 34, 38], [36, 48, 84], [228, 204, 168],
    [176, 74, 48], [214, 164, 62], [148, 168, 140], [222, 168, 172], [150, 188, 220],
    [120, 34, 52], [40, 84, 66], [232, 112, 96], [182, 160, 206], [86, 142, 152], [240, 214, 120],
], dtype=np.float32)[..., None, None]
# fmt: on
NEUTRAL = 4
"""So many of the accents, the first ones, go with everything."""


@dataclass(frozen=True)
class Dye:
    """What a weave may use: the colour, two more that go with it, chance, and where prints go."""

    base: Colour
    first: Colour
    second: Colour
    rng: np.random.Generator
    field: Box
    """The box of the main piece."""
    spot: tuple[float, float]
    """Where a print belongs, as shares of the width and height of that box."""

    def mix(self, other: Colour, share: float) -> Colour:
        return self.base + (other - self.base) * share

    @property
    def behind(self) -> Colour:
        """What shines through thin cloth: paper, or the shade inside where the cloth is light."""
        light = float(self.base.mean()) > 165
        return self.mix(ink(128, 128, 128), 0.35) if light else self.mix(ink(222, 222, 222), 0.6)

    @property
    def tonal(self) -> Colour:
        """The same colour, visibly lighter or darker."""
        dark = float(self.base.mean()) > 110
        return self.mix(BLACK, 0.22) if dark else self.mix(WHITE, 0.2)


Weave = Callable[[Part, Box], Floats]
"""Gives the colour of a part over a box of the picture: 3 x h x w, or 3 x 1 x 1 for all of it."""


def dyed(base: Colour, rng: np.random.Generator, field: Box, spot: tuple[float, float]) -> Dye:
    """A dye with two accents that can be told from the base: quiet ones rather than loud ones."""
    distance = np.abs(ACCENTS - base).sum(axis=(1, 2, 3))
    far = np.flatnonzero(distance > 170)
    neutral = far[far < NEUTRAL]
    first = rng.choice(neutral) if len(neutral) and rng.random() < 0.6 else rng.choice(far)
    second = rng.choice(far[far != first])
    return Dye(base, ACCENTS[first], ACCENTS[second], rng, field, spot)


def cut_out(box: Box) -> tuple[slice, slice]:
    left, top, right, bottom = box
    return slice(top, bottom), slice(left, right)


def turned(part: Part, box: Box) -> tuple[Floats, Floats]:
    """Coordinates across and along the grain of a part, in pixels; h x w each."""
    x, y = (axis[cut_out(box)] for axis in grid())
    if abs(part.grain) < 0.01:
        return x, y
    c, s = float(np.cos(part.grain)), float(np.sin(part.grain))
    return x * c - y * s, x * s + y * c


def blend(base: Colour, other: Colour, share: Floats) -> Floats:
    """Between two colours by a share per pixel (h x w); 3 x h x w."""
    return base + (other - base) * share


def _edge(distance: Floats) -> Floats:
    """1 where positive, 0 where negative, soft over one pixel."""
    return np.clip(distance + 0.5, 0, 1)


def solid(dye: Dye) -> Weave:
    return lambda part, box: dye.base


def _textured(name: str, strength: float) -> Callable[[Dye], Weave]:
    def weave(dye: Dye) -> Weave:
        def paint(part: Part, box: Box) -> Floats:
            surface = texture(name)[cut_out(box)] * strength
            return blend(dye.base, dye.tonal, np.clip(0.4 + surface, 0, 1) * 0.8)

        return paint

    return weave


@dataclass(frozen=True)
class _Noise:
    """Smooth chance over the picture, of mean 0 and size about 1."""

    values: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, across: float, along: float) -> "_Noise":
        """With blobs of about `across` x `along` pixels."""
        step = max(1, round(min(across, along) / 1.5))
        rough = rng.standard_normal((HEIGHT // step + 2, WIDTH // step + 2), dtype=np.float32)
        smooth = gaussian_filter(rough, (along / step / 2.4, across / step / 2.4))
        smooth /= smooth.std() + 1e-6
        if step > 1:
            large = Image.fromarray(smooth).resize(
                ((WIDTH // step + 2) * step, (HEIGHT // step + 2) * step),
                Image.Resampling.BILINEAR,
            )
            smooth = np.asarray(large, dtype=np.float32)
        return cls(smooth[:HEIGHT, :WIDTH])

    def at(self, box: Box) -> Floats:
        return self.values[cut_out(box)]


def melange(dye: Dye) -> Weave:
    noise = _Noise.drawn(dye.rng, 1.4, 2.6)
    other = WHITE if dye.base.mean() < 150 else dye.tonal

    def paint(part: Part, box: Box) -> Floats:
        return blend(dye.base, other, np.clip(0.13 + 0.13 * noise.at(box), 0, 0.5))

    return paint


def slub(dye: Dye) -> Weave:
    noise = _Noise.drawn(dye.rng, 26, 1.6)

    def paint(part: Part, box: Box) -> Floats:
        return blend(dye.base, dye.tonal, np.clip(noise.at(box) - 0.7, 0, 1) * 0.8)

    return paint


def neps(dye: Dye) -> Weave:
    noise = _Noise.drawn(dye.rng, 2.2, 2.2)

    def paint(part: Part, box: Box) -> Floats:
        value = noise.at(box)
        colour = blend(dye.base, dye.first, np.clip((value - 1.9) * 3, 0, 0.9))
        colour += (dye.second - colour) * np.clip((-value - 2.0) * 3, 0, 0.9)
        return colour

    return paint


def chambray(dye: Dye) -> Weave:
    noise = _Noise.drawn(dye.rng, 2, 2)

    def paint(part: Part, box: Box) -> Floats:
        x, y = (axis[cut_out(box)] for axis in grid())
        threads = 0.5 + 0.25 * np.sin(x * 2.4) + 0.25 * np.sin(y * 2.4)
        return blend(dye.base, WHITE, 0.3 * threads + 0.05 * noise.at(box))

    return paint


def denim(dye: Dye) -> Weave:
    """Twill, faded along the middle of each leg or of the front."""
    fade = dye.rng.uniform(0.1, 0.42) if dye.base.mean() > 45 else dye.rng.uniform(0.03, 0.14)
    noise = _Noise.drawn(dye.rng, 3, 7)
    left, top, right, bottom = dye.field
    middle, legs = (left + right) / 2, bottom - top > 1.5 * (right - left)
    wide = max((right - left) / 4, 1)

    def paint(part: Part, box: Box) -> Floats:
        x, y = (axis[cut_out(box)] for axis in grid())
        twill = 0.07 * np.sin(x * 1.2 + y * 1.2) + 0.035 * noise.at(box)
        across = (np.abs(x - middle) - wide * legs) / (wide * (0.55 if legs else 1.3))
        down = (y - top - 0.38 * (bottom - top)) / (0.3 * (bottom - top) + 1)
        worn = np.exp(-across * across - down * down) * fade
        return blend(dye.base, WHITE, np.clip(worn + 0.08 + twill, 0, 0.7))

    return paint


def stripe(dye: Dye) -> Weave:
    kind = dye.rng.choice(
        ["breton", "even", "pin", "multi", "upright"], p=[0.3, 0.22, 0.14, 0.2, 0.14]
    )
    period = float(dye.rng.uniform(9, 26)) if kind != "pin" else float(dye.rng.uniform(8, 13))
    share = {"breton": 0.32, "even": 0.42, "pin": 0.14, "multi": 0.26, "upright": 0.34}[kind]
    upright = kind in ("pin", "upright")

    def paint(part: Part, box: Box) -> Floats:
        u, v = turned(part, box)
        along = u if upright else v
        phase = np.abs((along / period) % 1 - 0.5) * period
        colour = blend(dye.base, dye.first, _edge(period * share / 2 - phase))
        if kind == "multi":
            phase = np.abs((along / period / 2 + 0.25) % 1 - 0.5) * 2 * period
            colour += (dye.second - colour) * _edge(period * 0.12 - phase)
        return colour

    return paint


def check(dye: Dye) -> Weave:
    kind = dye.rng.choice(["gingham", "tartan", "window"], p=[0.35, 0.4, 0.25])
    period = float(dye.rng.uniform(14, 40))
    light = dye.first if kind != "gingham" else (WHITE if dye.base.mean() < 170 else dye.first)

    def bars(axis: Floats, wide: float, shift: float = 0.0) -> Floats:
        return _edge(wide / 2 - np.abs((axis / period + shift) % 1 - 0.5) * period)

    def paint(part: Part, box: Box) -> Floats:
        u, v = turned(part, box)
        if kind == "gingham":
            share = (bars(u, period * 0.5) + bars(v, period * 0.5)) * 0.42
            return blend(dye.base, light, share)
        if kind == "window":
            share = np.maximum(bars(u, 1.8), bars(v, 1.8)) * 0.8
            return blend(dye.base, light, share)
        share = (bars(u, period * 0.42) + bars(v, period * 0.42)) * 0.3
        colour = blend(dye.base, dye.tonal if dye.base.mean() > 60 else dye.first, share)
        thin = np.maximum(bars(u, 2.0, 0.5), bars(v, 2.0, 0.5)) * 0.75
        colour += (light - colour) * thin
        finer = np.maximum(bars(u, 1.4, 0.12), bars(v, 1.4, 0.12)) * 0.55
        colour += (dye.second - colour) * finer
        return colour

    return paint


def argyle(dye: Dye) -> Weave:
    wide = float(dye.rng.uniform(34, 50))
    high = wide * 1.5

    def paint(part: Part, box: Box) -> Floats:
        u, v = turned(part, box)
        cell = np.abs((u / wide) % 1 - 0.5) + np.abs((v / high) % 1 - 0.5)
        colour = blend(dye.base, dye.tonal, _edge((cell - 0.5) * wide))
        row = np.floor(v / high + 0.5) % 2
        colour += (dye.first - colour) * (_edge((0.5 - cell) * wide) * row * 0.75)
        one, two = (u / wide + v / high) % 1, (u / wide - v / high) % 1
        thin = np.minimum(np.abs(one - 0.5), np.abs(two - 0.5)) * wide
        return colour + (dye.second - colour) * (_edge(0.8 - thin) * 0.8)

    return paint


def zigzag(dye: Dye) -> Weave:
    period = float(dye.rng.uniform(14, 26))
    steep = float(dye.rng.uniform(0.6, 1.2))

    def paint(part: Part, box: Box) -> Floats:
        u, v = turned(part, box)
        bent = v + steep * np.abs(u % (period * 1.4) - period * 0.7)
        phase = np.abs((bent / period) % 1 - 0.5) * period
        colour = blend(dye.base, dye.first, _edge(period * 0.17 - phase))
        return colour + (dye.second - colour) * _edge(phase - period * 0.43)

    return paint


# --- repeats of motifs ---


def _repeat(tile: Floats) -> Weave:
    sheet = np.tile(tile, (1, HEIGHT // TILE, WIDTH // TILE))

    def paint(part: Part, box: Box) -> Floats:
        return sheet[:, *cut_out(box)]

    return paint


def dots(dye: Dye) -> Weave:
    size = float(dye.rng.uniform(2.2, 7))
    pen = Pen(dye.base, TILE, TILE, wrap=True)
    loose = 0.25 if dye.rng.random() < 0.25 else 0.0
    for x, y in scattered(dye.rng, size * dye.rng.uniform(3.4, 4.6), loose).tolist():
        pen.shape(motif("dot", x, y, size, 0), dye.first)
    return _repeat(pen.made())


def all_over(dye: Dye) -> Weave:
    """Flowers, leaves, an animal's coat, hearts, stars, brush strokes or little shapes."""
    rng = dye.rng
    kind = rng.choice(["floral", "ditsy", "leaves", "animal", "shapes", "brush", "small"])
    pen = Pen(dye.base, TILE, TILE, wrap=True)
    leafy = dye.mix(ink(70, 110, 78), 0.6)
    if kind == "floral":
        for x, y in scattered(rng, rng.uniform(34, 48), 0.28).tolist():
            turn, size = rng.uniform(0, 6.3), rng.uniform(8, 14)
            for side in (0.0, 2.4):
                angle = turn + side
                at = x + 1.25 * size * np.cos(angle), y + 1.25 * size * np.sin(angle)
                pen.shape(motif("leaf", *at, size * 0.7, angle), leafy)
            petals, heart_of = (
                (dye.first, dye.second) if rng.random() < 0.65 else (dye.second, dye.first)
            )
            pen.shape(motif("flower", x, y, size, turn), petals)
            pen.shape(motif("flower", x, y, size * 0.62, turn + 0.5), petals * 0.88)
            pen.shape(motif("dot", x, y, size * 0.22, 0), heart_of)
    elif kind == "ditsy":
        for x, y in scattered(rng, rng.uniform(15, 22), 0.3).tolist():
            turn, size = rng.uniform(0, 6.3), rng.uniform(2.8, 4.6)
            pen.shape(motif("leaf", x + size, y + size, size, turn), leafy)
            pen.shape(motif("daisy", x, y, size, turn), dye.first)
            pen.shape(motif("dot", x, y, size * 0.35, 0), dye.second)
    elif kind == "leaves":
        for x, y in scattered(rng, rng.uniform(26, 38), 0.3).tolist():
            turn, size = rng.uniform(0, 6.3), rng.uniform(9, 16)
            colour = (dye.first, dye.tonal, dye.second)[rng.choice(3, p=[0.5, 0.3, 0.2])]
            for side in (-0.75, 0.0, 0.75):
                angle = turn + side
                at = x + 0.8 * size * np.cos(angle), y + 0.8 * size * np.sin(angle)
                pen.shape(motif("leaf", *at, size * 0.75, angle), colour)
    elif kind == "animal":
        dark = BLACK if dye.base.mean() > 90 else dye.first
        for x, y in scattered(rng, rng.uniform(17, 24), 0.3).tolist():
            size, turn = rng.uniform(4.5, 7.5), rng.uniform(0, 6.3)
            radii = RADII["blob"] * rng.uniform(0.8, 1.15, 40).astype(np.float32) * size
            pen.shape(ring(radii, x, y, turn), dark)
            pen.shape(ring(radii * 0.55, x + 1, y + 1, turn), dye.mix(dark, 0.28))
            bite = x + size * np.cos(turn), y + size * np.sin(turn)
            pen.shape(motif("dot", *bite, size * 0.45, 0), dye.base)
    elif kind == "brush":
        for x, y in scattered(rng, rng.uniform(20, 30), 0.35).tolist():
            turn = 0.6 + rng.normal(0, 0.25)
            colour = dye.first if rng.random() < 0.7 else dye.second
            pen.shape(motif("leaf", x, y, rng.uniform(8, 15), turn), colour)
    else:
        name = str(rng.choice(["heart", "star", "square", "drop", "dot"]))
        step = rng.uniform(26, 36) if kind == "shapes" else rng.uniform(13, 18)
        size = step * (0.26 if kind == "shapes" else 0.22)
        for x, y in scattered(rng, step, 0.08).tolist():
            colour = dye.first if rng.random() < 0.75 else dye.second
            pen.shape(motif(name, x, y, size, 0.78 if name == "square" else -1.57), colour)
    return _repeat(pen.made())


def jacquard(dye: Dye) -> Weave:
    """Tone on tone: a figure woven in."""
    pen = Pen(dye.base, TILE, TILE, wrap=True)
    name = str(dye.rng.choice(["flower", "daisy", "leaf", "square"]))
    step = dye.rng.uniform(22, 32)
    for x, y in scattered(dye.rng, step, 0.0).tolist():
        pen.shape(motif(name, x, y, step * 0.42, 0.78), dye.tonal)
        pen.shape(motif("daisy", x, y, step * 0.16, 0), dye.base)
    return _repeat(pen.made())


def embroidery(dye: Dye) -> Weave:
    pen = Pen(dye.base, TILE, TILE, wrap=True)
    for x, y in scattered(dye.rng, dye.rng.uniform(34, 48), 0.1).tolist():
        turn = dye.rng.uniform(0, 6.3)
        for k in range(6):
            angle = turn + k * np.pi / 3
            at = x + 5.5 * np.cos(angle), y + 5.5 * np.sin(angle)
            pen.shape(
                motif("leaf", *at, 4.2, angle), dye.first if k % 2 else dye.mix(dye.first, 0.75)
            )
        pen.shape(motif("dot", x, y, 1.8, 0), dye.second)
    return _repeat(pen.made())


def sequins(dye: Dye) -> Weave:
    pen = Pen(dye.base * 0.75, TILE, TILE, wrap=True)
    for x, y in scattered(dye.rng, 7.2, 0.03).tolist():
        light = float(dye.rng.beta(1.1, 2.4))
        colour = dye.base * (0.72 + 0.45 * light) + (90 * max(light - 0.6, 0))
        pen.shape(motif("dot", x, y, 3.7, 0), colour)
        pen.shape(motif("dot", x - 0.7, y - 0.9, 1.1, 0), colour + (26 + 60 * light))
    return _repeat(pen.made())


# --- light that is woven in ---


def glitter(dye: Dye) -> Weave:
    spark = dye.rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    fine = gaussian_filter(spark, 0.55) * 1.9

    def paint(part: Part, box: Box) -> Floats:
        value = fine[cut_out(box)]
        colour = dye.base * (0.95 + 0.09 * value)
        return colour + (np.clip(value - 1.6, 0, 2) * 110)

    return paint


def metallic(dye: Dye) -> Weave:
    bands = _Noise.drawn(dye.rng, 46, 22)

    def paint(part: Part, box: Box) -> Floats:
        value = np.sin(bands.at(box) * 2.6)
        return dye.base * (0.94 + 0.2 * value) + (np.clip(value - 0.55, 0, 1) * 120)

    return paint


def hologram(dye: Dye) -> Weave:
    bands = _Noise.drawn(dye.rng, 60, 40)
    _, down = grid()

    def paint(part: Part, box: Box) -> Floats:
        angle = bands.at(box) * 2.2 + down[cut_out(box)] / 40
        wheel = np.stack([np.cos(angle), np.cos(angle - 2.1), np.cos(angle + 2.1)])
        return dye.base * 0.92 + 34 * wheel + 14

    return paint


# --- cloth that one can see through ---


def transparent(dye: Dye) -> Weave:
    noise = _Noise.drawn(dye.rng, 30, 60)

    def paint(part: Part, box: Box) -> Floats:
        return blend(dye.base, dye.behind, np.clip(0.34 + 0.16 * noise.at(box), 0, 1))

    return paint


def mesh(dye: Dye) -> Weave:
    def paint(part: Part, box: Box) -> Floats:
        x, y = (axis[cut_out(box)] for axis in grid())
        row = np.floor(y / 5)
        hole = np.hypot((x + 2.5 * (row % 2)) % 5 - 2.5, y % 5 - 2.5)
        return blend(dye.base, dye.behind, 0.75 * _edge(1.6 - hole))

    return paint


def lace(dye: Dye) -> Weave:
    """A net with flowers: the net lets the paper through."""
    pen = Pen(ink(80, 80, 80), TILE, TILE, wrap=True)
    white = ink(255, 255, 255)
    step = dye.rng.uniform(24, 32)
    for x, y in scattered(dye.rng, step, 0.04).tolist():
        turn = dye.rng.uniform(0, 6.3)
        pen.shape(motif("flower", x, y, step * 0.44, turn), white)
        pen.shape(motif("flower", x, y, step * 0.3, turn), white * 0.6)
        pen.shape(motif("daisy", x, y, step * 0.22, turn), white)
        pen.shape(motif("leaf", x + step / 2, y, step * 0.28, turn), white)
    thick = np.tile(pen.made()[0] / 255, (HEIGHT // TILE, WIDTH // TILE))

    def paint(part: Part, box: Box) -> Floats:
        x, y = (axis[cut_out(box)] for axis in grid())
        net = np.maximum(np.abs(np.sin((x + y) * 0.62)), np.abs(np.sin((x - y) * 0.62)))
        share = np.maximum(thick[cut_out(box)], 0.45 * (net > 0.9))
        return blend(dye.behind, dye.base, 0.3 + 0.7 * share)

    return paint


# --- prints ---


def _print(dye: Dye, at: tuple[float, float], share: float) -> Weave:
    """One picture on the main piece, centred at a share of its width and height."""
    rng = dye.rng
    left, top, right, bottom = dye.field
    wide, high = right - left, bottom - top
    side = int(np.clip(min(wide * share * (0.6 if dye.spot[0] < 0.4 else 1), high * 0.55), 18, 150))
    pen = Pen(dye.base, side, side, wrap=False)
    middle = side / 2
    kind = rng.choice(["badge", "sun", "heart", "flower", "letters", "mountain", "star", "face"])
    if kind == "badge":
        pen.shape(motif("dot", middle, middle, side * 0.46, 0), dye.first)
        pen.shape(motif("dot", middle, middle, side * 0.39, 0), dye.base)
        pen.shape(motif("star", middle, middle, side * 0.33, -1.57), dye.second)
    elif kind == "sun":
        for k in range(12):
            angle = k * np.pi / 6
            at_ray = middle + side * 0.38 * np.cos(angle), middle + side * 0.38 * np.sin(angle)
            pen.shape(motif("leaf", *at_ray, side * 0.1, angle), dye.first)
        pen.shape(motif("dot", middle, middle, side * 0.24, 0), dye.first)
    elif kind == "heart":
        pen.shape(heart(middle, middle, side * 0.46), dye.first)
    elif kind == "flower":
        pen.shape(motif("leaf", middle + side * 0.24, side * 0.72, side * 0.18, 0.9), dye.second)
        for k in range(6):
            angle = k * np.pi / 3
            spot = middle + side * 0.2 * np.cos(angle), side * 0.42 + side * 0.2 * np.sin(angle)
            pen.shape(motif("dot", *spot, side * 0.15, 0), dye.first)
        pen.shape(motif("dot", middle, side * 0.42, side * 0.12, 0), dye.second)
    elif kind == "letters":
        for row, (start, end) in enumerate(((0.05, 0.95), (0.14, 0.86))):
            y = side * (0.26 + 0.27 * row)
            for x in np.arange(side * start, side * end - side * 0.08, side * 0.155):
                _letter(pen, float(x), y, side * 0.12, side * 0.19, dye.first, rng)
    elif kind == "mountain":
        pen.shape(motif("dot", side * 0.66, side * 0.34, side * 0.14, 0), dye.second)
        for peak, colour in ((0.36, dye.first), (0.64, dye.mix(dye.first, 0.7))):
            points = [[peak - 0.32, 0.82], [peak, 0.3 + 0.14 * (peak > 0.5)], [peak + 0.32, 0.82]]
            pen.shape(np.array(points, dtype=np.float32) * side, colour)
    elif kind == "star":
        for size, colour in ((0.47, dye.first), (0.3, dye.base), (0.2, dye.second)):
            pen.shape(motif("star", middle, middle, side * size, -1.57), colour)
    else:
        for x in (0.25, 0.75):
            pen.shape(motif("dot", side * x, side * 0.24, side * 0.15, 0), dye.first)
        pen.shape(motif("dot", middle, side * 0.54, side * 0.37, 0), dye.first)
        for x in (0.38, 0.62):
            pen.shape(motif("dot", side * x, side * 0.48, side * 0.045, 0), dye.base)
        pen.shape(motif("blob", middle, side * 0.65, side * 0.1, 0), dye.second)
    x, y = left + wide * at[0] - side / 2, top + high * at[1] - side / 2
    return _pasted(dye, pen.made(), round(x), round(y))


def _pasted(dye: Dye, made: Floats, x: int, y: int) -> Weave:
    """The base, on the main piece with a print (3 x h x w) whose corner is at x and y."""
    _, high, wide = made.shape
    sheet = np.empty((3, HEIGHT, WIDTH), dtype=np.float32)
    sheet[:] = dye.base
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + wide, WIDTH), min(y + high, HEIGHT)
    sheet[:, top:bottom, left:right] = made[:, top - y : bottom - y, left - x : right - x]

    def paint(part: Part, box: Box) -> Floats:
        return sheet[:, *cut_out(box)] if part.main else dye.base

    return paint


def _letter(
    pen: Pen,
    x: float,
    y: float,
    wide: float,
    high: float,
    colour: Colour,
    rng: np.random.Generator,
) -> None:
    """An invented letter: strokes of a block alphabet."""
    thick = wide * 0.3
    upright = rng.random(2) < 0.7
    upright[0] |= not upright.any()
    bars = rng.random(3) < 0.55
    for on, start in zip(upright, (0.0, wide - thick), strict=True):
        if on:
            pen.shape(_block(x + start, y, thick, high), colour)
    for on, start in zip(bars, (0.0, (high - thick) / 2, high - thick), strict=True):
        if on:
            pen.shape(_block(x, y + start, wide, thick), colour)


def _block(x: float, y: float, wide: float, high: float) -> Floats:
    return polygon((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))


def front_print(dye: Dye) -> Weave:
    return _print(dye, dye.spot, dye.rng.uniform(0.45, 0.62))


def placement_print(dye: Dye) -> Weave:
    at = ((0.68, 0.32), (0.34, 0.72), (0.66, 0.7))[dye.rng.integers(3)]
    return _print(dye, at, dye.rng.uniform(0.16, 0.36))


def application(dye: Dye) -> Weave:
    """Beads and flowers sewn on around the middle of the main piece."""
    left, top, right, bottom = dye.field
    wide, high = right - left, bottom - top
    if wide < 20 or high < 20:
        return solid(dye)
    pen = Pen(dye.base, wide, high, wrap=False)
    colour = dye.first
    for _ in range(16):
        x = wide * dye.rng.uniform(0.2, 0.8)
        y = high * np.clip(dye.rng.normal(0.34, 0.12), 0.12, 0.8)
        size = dye.rng.uniform(3, 7.5)
        pen.shape(motif("flower", x + 1.2, y + 1.8, size, size), dye.base * 0.7)
        pen.shape(motif("flower", x, y, size, size), colour)
        pen.shape(motif("flower", x - 0.5, y - 0.7, size * 0.6, size), colour * 1.06)
        pen.shape(motif("dot", x, y, size * 0.22, 0), dye.second)
    return _pasted(dye, pen.made(), left, top)


# --- pieces of different colours ---


def colour_blocking(dye: Dye) -> Weave:
    left, top, right, bottom = dye.field
    kind = dye.rng.choice(["sleeves", "band", "split", "diagonal"])
    other = dye.first

    def paint(part: Part, box: Box) -> Floats:
        if part.side:
            return other if kind in ("sleeves", "split") else dye.base
        x, y = (axis[cut_out(box)] for axis in grid())
        if kind == "band":
            middle = top + 0.44 * (bottom - top)
            share = _edge(0.09 * (bottom - top) - np.abs(y - middle))
            colour = blend(dye.base, other, share)
            below = _edge(np.abs(y - middle - 0.125 * (bottom - top)) * -1 + 0.035 * (bottom - top))
            return colour + (dye.second - colour) * below
        if kind == "sleeves":
            return blend(dye.base, other, _edge(top + 0.2 * (bottom - top) - y))
        if kind == "split":
            return blend(dye.base, other, _edge(y - top - 0.68 * (bottom - top)))
        tilt = (y - top) / (bottom - top + 1) + (x - left) / (right - left + 1)
        return blend(dye.base, other, _edge((0.72 - tilt) * 120))

    return paint


def mixed(dye: Dye) -> Weave:
    """Plain pieces beside patterned ones."""
    patterned = (stripe, all_over, check, dots)[dye.rng.integers(4)](dye)
    on_side = dye.rng.random() < 0.4

    def paint(part: Part, box: Box) -> Floats:
        if part.side == on_side:
            return patterned(part, box)
        return dye.base

    return paint


def treatment(dye: Dye) -> Weave:
    """Washed, tie-dyed or dipped."""
    left, top, right, bottom = dye.field
    kind = dye.rng.choice(["clouds", "dip", "rings"])
    noise = _Noise.drawn(dye.rng, 22, 22)
    other = WHITE if dye.base.mean() < 185 else dye.mix(dye.first, 0.55)
    middle = (left + right) / 2, top + 0.42 * (bottom - top)

    def paint(part: Part, box: Box) -> Floats:
        x, y = (axis[cut_out(box)] for axis in grid())
        cloud = noise.at(box)
        if kind == "clouds":
            share = np.clip(0.16 + 0.2 * cloud, 0, 0.65)
        elif kind == "dip":
            down = (y - top) / (bottom - top + 1) + 0.03 * cloud
            share = np.clip((down - 0.55) * 2.4, 0, 0.75)
        else:
            ring = np.hypot(x - middle[0], y - middle[1]) / 13 + 0.5 * cloud
            share = np.clip(0.22 + 0.42 * np.sin(ring), 0, 0.65)
        return blend(dye.base, other, share)

    return paint


WEAVES: dict[str, Callable[[Dye], Weave]] = {
    "Solid": solid,
    "All over pattern": all_over,
    "Melange": melange,
    "Stripe": stripe,
    "Denim": denim,
    "Front print": front_print,
    "Check": check,
    "Placement print": placement_print,
    "Dot": dots,
    "Lace": lace,
    "Embroidery": embroidery,
    "Application/3D": application,
    "Mixed solid/pattern": mixed,
    "Colour blocking": colour_blocking,
    "Glittering/Metallic": glitter,
    "Jacquard": jacquard,
    "Other structure": _textured("straw", 0.22),
    "Mesh": mesh,
    "Treatment": treatment,
    "Metallic": metallic,
    "Sequin": sequins,
    "Contrast": solid,
    "Transparent": transparent,
    "Slub": slub,
    "Chambray": chambray,
    "Neps": neps,
    "Hologram": hologram,
    "Argyle": argyle,
    "Other pattern": zigzag,
    "Unknown": solid,
}
"""By graphical_appearance_name; any other is drawn solid."""


class Wardrobe:
    """The cloths and inks of one article: its shell in the pattern, and what is sewn to it."""

    def __init__(
        self, base: Colour, pattern: str, rng: np.random.Generator, parts: list[Part]
    ) -> None:
        main = [part for part in parts if part.main] or parts
        left, top, right, bottom = (round(edge) for edge in bounds(main))
        field = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
        self.dye = dyed(base, rng, field, main[0].spot)
        self.shell = WEAVES.get(pattern, solid)(self.dye)
        self.contrast = pattern in ("Contrast", "Colour blocking")
        self.denim = pattern == "Denim"
        gold = rng.random() < 0.5
        metal = (206, 172, 104) if gold else (196, 198, 202)
        sole = ((244, 243, 240), (36, 36, 38), (196, 160, 118))[rng.choice(3, p=[0.5, 0.3, 0.2])]
        button = ((238, 234, 224), (52, 48, 48), (150, 108, 72))[rng.integers(3)]
        dark = base * 0.5 if base.mean() > 60 else base + 38
        self.plain: dict[str, Colour] = {
            "trim": self.dye.first if self.contrast else base,
            "plain": base,
            "lining": self.dye.mix(BLACK, 0.16) if base.mean() > 70 else base + 14,
            "metal": ink(*metal),
            "sole": ink(*sole),
            "button": ink(*button),
            "wood": ink(158, 116, 76),
            "straw": ink(216, 186, 136),
            "dark": ink(44, 42, 44),
            "white": ink(246, 245, 242),
            "lens": ink(58, 54, 58),
            "glass": ink(222, 230, 234),
            "accent": self.dye.first,
            "seam": dark,
            "light": base + (255 - base) * 0.4,
            "stitch": ink(206, 148, 84) if self.denim else dark,
        }

    def ink(self, name: str) -> Colour:
        """The colour of a thread or a fitting."""
        return self.plain[name]

    def paint(self, part: Part, box: Box) -> Floats:
        """The colour of a part over a box of the picture; see canvas.Painter."""
        if part.cloth == "shell":
            return self.shell(part, box)
        return self.plain[part.cloth]
