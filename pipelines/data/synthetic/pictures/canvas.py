"""From outlines to a photograph: smooth curves, soft volume, folds, shadows on a studio floor.

A picture is a list of parts, back to front. Outlines are drawn at twice the size and halved, so
that edges are smooth; light and colour are worked out once, at the final size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

WIDTH, HEIGHT = 360, 540
STUDIO = 242.0
"""Grey of the studio's paper, as in a shop's photographs."""

Floats = NDArray[np.floating[Any]]
"""Single precision wherever there is one per pixel."""

Point = tuple[float, float] | tuple[float, float, int]
"""x and y, and SHARP at a corner."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""

SHARP = 1
"""Third number of a point where the outline turns a corner."""


@dataclass(frozen=True)
class Stroke:
    """A line along `points` (n x 2).

    As a fold it is a ridge (`weight` > 0) or a valley, `width` in the units of the outline. As a
    line it is `width` pixels wide in an ink that the cloth gives a colour, with `weight` as its
    opacity; `dash` (pixels) makes it stitching.
    """

    points: Floats
    width: float = 1.2
    weight: float = 0.5
    ink: str = "seam"
    dash: float = 0.0


@dataclass(frozen=True)
class Part:
    """One piece of an article.

    `outline` is n x 2. `cloth` says what it is cut from ("shell" wears the pattern) and `finish`
    how light plays on it; `tone` multiplies the colour, `grain` (radians) turns the pattern,
    `volume` is how far it bulges and `shadow` how dark a shadow it throws on what lies below.
    `main` marks the piece that carries a print, around `spot` (shares of its width and height);
    `side` marks sleeves and the like, which may be of another colour.
    """

    outline: Floats
    cloth: str = "shell"
    finish: str = "woven"
    tone: float = 1.0
    grain: float = 0.0
    volume: float = 1.0
    shadow: float = 0.5
    main: bool = False
    side: bool = False
    folds: tuple[Stroke, ...] = ()
    lines: tuple[Stroke, ...] = ()
    holes: tuple[Floats, ...] = ()
    spot: tuple[float, float] = (0.5, 0.42)

    def placed(self, scale: tuple[float, float], shift: tuple[float, float]) -> "Part":
        """The part with every point multiplied by `scale` (x, y) and then moved by `shift`."""
        made = self.bent(lambda points: points * vector(*scale) + vector(*shift))
        stretch = abs(scale[1])
        return replace(
            made,
            grain=self.grain if scale[0] > 0 else -self.grain,
            folds=tuple(replace(fold, width=fold.width * stretch) for fold in made.folds),
        )

    def bent(self, move: Callable[[Floats], Floats]) -> "Part":
        """The part with every point put where `move` (n x 2 to n x 2) says."""
        return replace(
            self,
            outline=move(self.outline),
            folds=tuple(replace(fold, points=move(fold.points)) for fold in self.folds),
            lines=tuple(replace(line, points=move(line.points)) for line in self.lines),
            holes=tuple(move(hole) for hole in self.holes),
        )


def vector(x: float, y: float) -> Floats:
    """A point or a direction as an array of two."""
    return np.array((x, y), dtype=np.float32)


def spline(points: Sequence[Point], *, closed: bool = True, steps: int = 7) -> Floats:
    """A curve through all points, turning a corner only at those marked SHARP; n x 2.

    Cubic Hermite segments whose tangents are parallel to the chord between the neighbours.
    """
    xy = np.array([p[:2] for p in points], dtype=np.float64)
    sharp = np.array([len(p) == 3 for p in points])
    if closed:
        before, after = np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0)
    else:
        before, after = np.r_[xy[:1], xy[:-1]], np.r_[xy[1:], xy[-1:]]
        sharp[0] = sharp[-1] = True
    chord, ahead, behind = after - before, after - xy, xy - before
    chord /= np.maximum(np.hypot(*chord.T)[:, None], 1e-9)
    leave = np.where(sharp[:, None], ahead, chord * np.hypot(*ahead.T)[:, None])
    arrive = np.where(sharp[:, None], behind, chord * np.hypot(*behind.T)[:, None])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = (
        (1 + 2 * t) * (1 - t) ** 2 * xy
        + t * (1 - t) ** 2 * leave
        + t * t * (3 - 2 * t) * after
        + t * t * (t - 1) * np.roll(arrive, -1, axis=0)
    )
    curve = curve.transpose(1, 0, 2).reshape(-1, 2)
    if not closed:
        curve = np.r_[curve[:-steps], xy[-1:]]
    return curve.astype(np.float32)


def mirrored(half: Sequence[Point]) -> list[Point]:
    """Both halves from the right one, given from its first to its last point down the side."""
    return [*half, *((-p[0], *p[1:]) for p in reversed(half) if p[0] != 0)]


def ribbon(points: Sequence[Point] | Floats, *widths: float) -> Floats:
    """The outline of a band along `points`; `widths` are spread evenly from start to end."""
    line = points if isinstance(points, np.ndarray) else spline(points, closed=False)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(*along.T)[:, None], 1e-6)
    normal = along[:, ::-1] * vector(-1, 1)
    wide = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)
    half = (normal * wide[:, None] / 2).astype(np.float32)
    return np.r_[line + half, (line - half)[::-1]]


def oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Floats:
    """An ellipse of 48 points around (x, y), turned by `turn` radians."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = rx * np.cos(angle), ry * np.sin(angle)
    turned = np.c_[x + c * np.cos(turn) - s * np.sin(turn), y + c * np.sin(turn) + s * np.cos(turn)]
    return turned.astype(np.float32)


def polygon(*points: tuple[float, float]) -> Floats:
    """Straight edges between the points; n x 2."""
    return np.array(points, dtype=np.float32)


def overlay(*lines: Stroke) -> Part:
    """Lines on top of whatever lies there already."""
    points = np.concatenate([line.points for line in lines])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    corners = polygon((left, top), (right, top), (right, bottom), (left, bottom))
    return Part(corners, cloth="none", shadow=0.0, lines=lines)


def bounds(parts: Sequence[Part]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of all outlines."""
    low = np.min([p.outline.min(axis=0) for p in parts], axis=0)
    high = np.max([p.outline.max(axis=0) for p in parts], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def fitted(parts: Sequence[Part], width: float, height: float) -> list[Part]:
    """The parts scaled to fit into `width` x `height` pixels in the middle of the picture.

    Among what is 45 cm or longer, a short garment stays smaller than a long one.
    """
    left, top, right, bottom = bounds(parts)
    scale = min(width / (right - left), height / (bottom - top))
    if bottom - top > 45:
        scale = min(scale, 5.7)
    shift = (WIDTH - scale * (left + right)) / 2, (HEIGHT - scale * (top + bottom)) / 2
    return [part.placed((scale, scale), shift) for part in parts]


def laid_by_hand(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """The parts bent by a pixel or two and turned by a degree: nothing lies quite straight."""
    phase = rng.uniform(0, 2 * np.pi, 4)
    turn, middle = rng.normal(0, 0.011), vector(WIDTH / 2, HEIGHT / 2)
    size = rng.uniform(0.8, 2.2, 2)

    def move(points: Floats) -> Floats:
        x, y = points.T
        across = size[0] * (np.sin(y / 47 + phase[0]) + 0.5 * np.sin(x / 31 + phase[1]))
        down = size[1] * (np.sin(x / 52 + phase[2]) + 0.5 * np.sin(y / 36 + phase[3]))
        x, y = x - middle[0], y - middle[1]
        moved = np.c_[x - turn * y + across, y + turn * x + down] + middle
        return moved.astype(np.float32)

    return [part.bent(move) for part in parts]


# --- light ---


@dataclass(frozen=True)
class Finish:
    """How a surface takes light: contrast of its folds, gloss, and strength of its texture."""

    contrast: float = 1.0
    gloss: float = 0.0
    texture: str = "noise"
    strength: float = 0.014


FINISHES = {
    "woven": Finish(1.0),
    "jersey": Finish(0.85, 0.0, "noise", 0.012),
    "crisp": Finish(1.15, 0.05, "noise", 0.01),
    "knit": Finish(0.85, 0.0, "knit", 0.075),
    "rib": Finish(0.8, 0.0, "rib", 0.09),
    "fine rib": Finish(0.85, 0.0, "fine rib", 0.06),
    "fleece": Finish(0.8, 0.0, "fleece", 0.05),
    "felt": Finish(0.85, 0.0, "fleece", 0.02),
    "satin": Finish(1.5, 0.5, "noise", 0.006),
    "leather": Finish(1.15, 0.55, "leather", 0.012),
    "nylon": Finish(1.35, 0.35, "noise", 0.008),
    "metal": Finish(2.2, 1.6, "noise", 0.004),
    "plastic": Finish(1.2, 0.9, "noise", 0.003),
    "straw": Finish(0.9, 0.0, "straw", 0.13),
    "flat": Finish(0.25, 0.0, "noise", 0.006),
}


@lru_cache(maxsize=1)
def grid() -> tuple[Floats, Floats]:
    """The x and y of every pixel; each HEIGHT x WIDTH."""
    x, y = np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32)
    return np.broadcast_to(x, (HEIGHT, WIDTH)), np.broadcast_to(y[:, None], (HEIGHT, WIDTH))


@lru_cache(maxsize=32)
def texture(name: str) -> Floats:
    """A surface of mean about 0 and size about 1; HEIGHT x WIDTH, the same for every article."""
    x, y = grid()
    rng = np.random.default_rng(20)
    noise = rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    if name == "knit":
        column = np.abs(x % 6 - 3)
        made = np.cos(2 * np.pi / 5 * (y + 0.9 * column)) * 0.6 + (column - 1.5) * 0.4
    elif name == "rib":
        made = np.cos(2 * np.pi * x / 5.2)
    elif name == "fine rib":
        made = np.cos(2 * np.pi * x / 3.4)
    elif name == "fleece":
        made = gaussian_filter(noise, 1.1) * 3.4
    elif name == "leather":
        made = gaussian_filter(noise, 0.8) * 2.2
    elif name == "straw":
        over = np.sign(np.sin(np.pi * x / 5) * np.sin(np.pi * y / 4))
        made = np.where(over > 0, np.cos(2 * np.pi * x / 5), np.cos(2 * np.pi * y / 4))
    else:
        made = gaussian_filter(noise, 0.6) * 1.9
    return np.asarray(made, dtype=np.float32)


def _box(outline: Floats, margin: int = 16) -> Box:
    """The box around an outline, on multiples of 4 pixels and within the picture."""
    low = (np.floor((outline.min(axis=0) - margin) / 4) * 4).astype(int)
    high = (np.ceil((outline.max(axis=0) + margin) / 4) * 4).astype(int)
    return (
        int(max(low[0], 0)),
        int(max(low[1], 0)),
        int(min(high[0], WIDTH)),
        int(min(high[1], HEIGHT)),
    )


def _large(values: NDArray[np.float64] | Floats, size: tuple[int, int]) -> Floats:
    """A small field stretched smoothly to `size` (width, height) pixels."""
    small = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.array(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)


def _stencil(part: Part, box: Box) -> tuple[Floats, Floats]:
    """How much of each pixel of the box the part covers, 0 to 1: in full and in quarter size."""
    left, top, right, bottom = box
    double = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
    pen = ImageDraw.Draw(double)
    origin = vector(left, top)
    pen.polygon(((part.outline - origin) * 2).ravel().tolist(), fill=255)
    for hole in part.holes:
        pen.polygon(((hole - origin) * 2).ravel().tolist(), fill=0)
    full = np.asarray(double.reduce(2), dtype=np.float32) / 255
    return full, np.asarray(double.reduce(8), dtype=np.float32) / 255


def _shade(part: Part, stencil: Floats, box: Box, crumple: Floats) -> tuple[Floats, Floats]:
    """The light on a part and its soft outline, both in quarter size; light is about 1."""
    left, top, right, bottom = box
    wide = gaussian_filter(stencil, 4.5)
    close = gaussian_filter(stencil, 1.1)
    height = part.volume * (7.0 * wide + 1.0 * close)
    if part.folds:
        creases = Image.new("F", (stencil.shape[1], stencil.shape[0]))
        pen = ImageDraw.Draw(creases)
        origin = vector(left, top)
        for fold in part.folds:
            line = (fold.points - origin) / 4
            width, third = max(1, round(fold.width / 4)), len(line) // 4
            # Weaker towards both ends, or a fold would look like a finger under the cloth.
            pen.line(line.ravel().tolist(), fill=0.4 * fold.weight, width=width)
            if third:
                inside = line[third:-third].ravel().tolist()
                pen.line(inside, fill=fold.weight, width=width)
        height += 3.2 * gaussian_filter(np.asarray(creases), 1.3)
    height += part.volume * crumple[top // 4 : bottom // 4, left // 4 : right // 4]
    down, across = np.gradient(height)
    light = 1 + 0.15 * (0.55 * across + 0.8 * down) + 0.17 * (close - 1) + 0.08 * (wide - 0.8)
    return light.astype(np.float32), close


def _lines(part: Part, box: Box, paint: Floats, ink: Callable[[str], Floats]) -> None:
    """Draw seams, stitches and the like into `paint` (3 x h x w)."""
    left, top, right, bottom = box
    origin = vector(left, top)
    for name in dict.fromkeys(line.ink for line in part.lines):
        double = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
        pen = ImageDraw.Draw(double)
        for line in part.lines:
            if line.ink != name:
                continue
            points = (line.points - origin) * 2
            width, fill = max(1, round(line.width * 2)), round(255 * line.weight)
            if line.dash:
                for piece in _dashes(points, line.dash * 2):
                    pen.line(piece.ravel().tolist(), fill=fill, width=width)
            else:
                pen.line(points.ravel().tolist(), fill=fill, width=width, joint="curve")
        drawn = np.asarray(double.reduce(2), dtype=np.float32) / 255
        paint += (ink(name) - paint) * drawn


def _dashes(points: Floats, length: float) -> list[Floats]:
    """Every second piece of `length` along a line, as pairs of points."""
    step = np.hypot(*np.diff(points, axis=0).T)
    along = np.r_[0, np.cumsum(step)]
    marks = np.arange(0, along[-1], length)
    x, y = (np.interp(marks, along, points[:, k]) for k in (0, 1))
    stops = np.c_[x, y].astype(np.float32)
    return [stops[i : i + 2] for i in range(0, len(stops) - 1, 2)]


Painter = Callable[[Part, Box], Floats]
"""Gives the colour of a part over a box: 3 x h x w, or 3 x 1 x 1 for all of it; 0 to 255."""


def photograph(
    parts: Sequence[Part], paint: Painter, ink: Callable[[str], Floats], rng: np.random.Generator
) -> Image.Image:
    """The parts, back to front, on the studio's paper; WIDTH x HEIGHT, RGB."""
    picture = _studio(parts)
    rough = rng.normal(size=(HEIGHT // 4 + 8, WIDTH // 4 + 8)).astype(np.float32)
    crumple = gaussian_filter(rough, (9, 5)) * 7 + gaussian_filter(rough, 2.6) * 1.1
    for part in parts:
        _compose(picture, part, paint, ink, crumple)
    pixels = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _studio(parts: Sequence[Part]) -> Floats:
    """The paper, a little darker to the floor, with the shadow of all parts."""
    shape = Image.new("L", (WIDTH // 4, HEIGHT // 4))
    pen = ImageDraw.Draw(shape)
    for part in parts:
        if part.cloth == "none":
            continue
        pen.polygon((part.outline / 4).ravel().tolist(), fill=255)
        for hole in part.holes:
            pen.polygon((hole / 4).ravel().tolist(), fill=0)
    covered = np.asarray(shape, dtype=np.float32) / 255
    near = np.roll(gaussian_filter(covered, 1.2), (1, 0), axis=(0, 1))
    far = np.roll(gaussian_filter(covered, 5.0), (4, 2), axis=(0, 1))
    dark = 1 - 0.14 * near - 0.12 * far
    paper = STUDIO + 3 - np.linspace(0, 8, HEIGHT // 4, dtype=np.float32)[:, None]
    tone = _large(paper * dark, (WIDTH, HEIGHT))
    return np.repeat(tone[None], 3, axis=0)


def _compose(
    picture: Floats, part: Part, paint: Painter, ink: Callable[[str], Floats], crumple: Floats
) -> None:
    """Lay one part on the picture (3 x HEIGHT x WIDTH), with its shadow."""
    box = _box(part.outline)
    left, top, right, bottom = box
    if right - left < 8 or bottom - top < 8:
        return
    size = right - left, bottom - top
    here = (slice(top, bottom), slice(left, right))
    region = picture[:, top:bottom, left:right]
    if part.cloth == "none":
        _lines(part, box, region, ink)
        return
    full, quarter = _stencil(part, box)
    light, soft = _shade(part, quarter, box, crumple)
    finish = FINISHES[part.finish]
    if part.shadow:
        fall = np.roll(soft, 1, axis=0) * (0.55 * part.shadow)
        region *= 1 - _large(fall, size)

    shine = _large(1 + (light - 1) * finish.contrast, size)
    shine += finish.strength * texture(finish.texture)[here]
    covered = float(full.sum())
    if covered:
        shine -= float((shine * full).sum()) / covered - 0.985
    colour = paint(part, box)
    # A share of the light is added, not multiplied: black cloth has visible folds as well.
    lit = colour * (part.tone * (0.16 + 0.84 * shine))
    lit += 42 * (shine - 0.985)
    if finish.gloss:
        lit += np.maximum(shine - 1.04, 0) * (260 * finish.gloss)
    np.clip(lit, 0, 255, out=lit)
    if part.lines:
        _lines(part, box, lit, ink)
    lit -= region
    lit *= full
    region += lit
