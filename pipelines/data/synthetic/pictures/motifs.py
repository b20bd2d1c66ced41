"""Little figures and the pen that draws them: flowers, hearts, stars, repeats and prints."""

import numpy as np
from PIL import Image, ImageDraw

from pipelines.data.synthetic.pictures.canvas import Floats, vector

Colour = Floats
"""Red, green and blue, 0 to 255; 3 x 1 x 1, so that it spreads over h x w pixels."""

TILE = 180
"""Side of a repeat in pixels: it fits the picture a whole number of times."""


def ink(red: float, green: float, blue: float) -> Colour:
    """A colour from its three parts."""
    return np.array((red, green, blue), dtype=np.float32).reshape(3, 1, 1)


class Pen:
    """Draws on a repeat, or on a print, at twice the size; what leaves on one side comes back."""

    def __init__(self, base: Colour, wide: int, high: int, *, wrap: bool) -> None:
        self.image = Image.new("RGB", (wide * 2, high * 2), rgb(base))
        self.pen = ImageDraw.Draw(self.image)
        self.shifts = [(0, 0)]
        if wrap:
            self.shifts = [(x, y) for x in (-wide, 0, wide) for y in (-high, 0, high)]
        self.wide, self.high = wide, high

    def shape(self, points: Floats, colour: Colour) -> None:
        """Fill an outline (n x 2, in pixels of the finished picture)."""
        low, high = points.min(axis=0), points.max(axis=0)
        for x, y in self.shifts:
            inside = high[0] + x > 0 and low[0] + x < self.wide
            if inside and high[1] + y > 0 and low[1] + y < self.high:
                moved = ((points + vector(x, y)) * 2).ravel().tolist()
                self.pen.polygon(moved, fill=rgb(colour))

    def made(self) -> Floats:
        """What was drawn, at its final size; 3 x high x wide."""
        pixels = np.asarray(self.image.reduce(2), dtype=np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def rgb(colour: Colour) -> tuple[int, int, int]:
    """The colour as Pillow takes it."""
    red, green, blue = np.clip(colour, 0, 255).ravel().round().astype(int).tolist()
    return red, green, blue


def ring(radii: Floats, x: float, y: float, turn: float) -> Floats:
    """A closed shape given by its radius at even angles; n x 2."""
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + turn
    return np.c_[x + radii * np.cos(angle), y + radii * np.sin(angle)].astype(np.float32)


_CIRCLE = np.linspace(0, 2 * np.pi, 40, endpoint=False, dtype=np.float32)
_COS, _SIN = np.cos(_CIRCLE), np.sin(_CIRCLE)
RADII: dict[str, Floats] = {
    "dot": np.ones_like(_CIRCLE),
    "flower": 0.62 + 0.38 * np.abs(np.cos(2.5 * _CIRCLE)),
    "daisy": 0.5 + 0.5 * np.abs(np.cos(4 * _CIRCLE)),
    "star": 0.42 + 1.16 * np.abs((_CIRCLE * 2.5 / np.pi) % 1 - 0.5),
    "leaf": 0.14 * np.abs(_SIN) ** 0.5 + 0.95 * np.abs(_COS) ** 3,
    "blob": 0.8 + 0.2 * np.cos(3 * _CIRCLE) * np.cos(_CIRCLE + 1),
    "drop": 0.45 + 0.55 * np.abs(np.cos(_CIRCLE / 2)) ** 6 + 0.35 * np.clip(_COS, 0, 1) ** 8,
    "square": 0.72 / np.maximum(np.abs(_COS), np.abs(_SIN)),
}
"""The radius of each figure, of size about 1, at 40 even angles."""


def heart(x: float, y: float, size: float, turn: float = 0.0) -> Floats:
    """The outline of a heart; n x 2."""
    t = _CIRCLE
    across = 16 * np.sin(t) ** 3 / 17
    down = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 17
    c, s = np.cos(turn), np.sin(turn)
    points = np.c_[x + size * (across * c - down * s), y + size * (across * s + down * c)]
    return points.astype(np.float32)


def motif(name: str, x: float, y: float, size: float, turn: float) -> Floats:
    """A closed outline of about `size` pixels of radius around (x, y)."""
    if name == "heart":
        return heart(x, y, size, turn * 0.1)
    return ring(RADII[name] * size, x, y, turn)


def scattered(rng: np.random.Generator, step: float, jitter: float) -> Floats:
    """Places on the repeat, about `step` apart in shifted rows; n x 2."""
    columns = max(2, round(TILE / step))
    rows = max(2, round(TILE / step / 2) * 2)
    row, column = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    x = (column + 0.5 * (row % 2)) * TILE / columns
    y = row * TILE / rows
    places = np.c_[x, y] + rng.uniform(-jitter, jitter, (len(x), 2)) * step
    return (places % TILE).astype(np.float32)
