"""What all patterns share: whom an article is cut for, symmetric outlines, folds."""

from dataclasses import dataclass

import numpy as np

from pipelines.data.synthetic.pictures.canvas import (
    Floats,
    Part,
    Point,
    Stroke,
    mirrored,
    spline,
    vector,
)


@dataclass(frozen=True)
class Build:
    """Whom it is made for: `broad` and `long` multiply widths and lengths, `rng` is its chance."""

    rng: np.random.Generator
    index_group: str
    broad: float = 1.0
    long: float = 1.0
    baby: bool = False

    @property
    def men(self) -> bool:
        return self.index_group == "Menswear"

    @property
    def child(self) -> bool:
        return self.index_group == "Baby/Children"

    @property
    def divided(self) -> bool:
        return self.index_group == "Divided"

    @property
    def lady(self) -> bool:
        return not self.men and not self.child

    def vary(self, value: float, share: float = 0.06) -> float:
        """The value, more or less by up to `share` of it."""
        return float(value * self.rng.uniform(1 - share, 1 + share))

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return bool(self.rng.random() < share)

    def pick(self, *options: str) -> str:
        """One of the options, each as likely; name one twice to have it more often."""
        return options[int(self.rng.integers(len(options)))]


def build(index_group: str, rng: np.random.Generator) -> Build:
    """Proportions of the people whom an index group is for, a little different every time."""
    broad, long = {
        "Divided": (0.99, 0.93),
        "Menswear": (1.13, 1.04),
        "Baby/Children": (1.12, 0.86),
        "Sport": (0.98, 1.0),
    }.get(index_group, (1.0, 1.0))
    baby = index_group == "Baby/Children" and rng.random() < 0.4
    if baby:
        broad, long = 1.3, 0.76
    broad, long = broad * rng.uniform(0.96, 1.06), long * rng.uniform(0.95, 1.05)
    return Build(rng, index_group, float(broad), float(long), bool(baby))


def both(part: Part) -> list[Part]:
    """A part and its mirror image."""
    return [part, part.placed((-1.0, 1.0), (0.0, 0.0))]


def curve(*points: Point) -> Floats:
    """An open smooth line through the points; n x 2."""
    return spline(points, closed=False)


def shape(*half: Point) -> Floats:
    """A closed symmetric outline from its right half."""
    return spline(mirrored(half))


def creases(
    rng: np.random.Generator, outline: Floats, count: int, *, steep: float = 2.2, size: float = 0.3
) -> tuple[Stroke, ...]:
    """Soft folds here and there: rather steep ones, some up and some down."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    wide, tall = high - low
    made = []
    for _ in range(count):
        x, y = low + (high - low) * rng.uniform(0.12, 0.88, 2)
        length = tall * size * rng.uniform(0.7, 1.7)
        lean = rng.normal(0, 1 / steep) * length
        bow = rng.normal(0, 0.09) * length
        points = [(x, y), (x + lean / 2 + bow, y + length / 2), (x + lean, y + length)]
        weight = float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9))
        made.append(Stroke(curve(*points), wide * 0.03 + 0.6, weight))
    return tuple(made)


def drape(
    rng: np.random.Generator, top: Floats, bottom: Floats, count: int, strength: float = 1.0
) -> tuple[Stroke, ...]:
    """Folds that fall from points along `top` (n x 2) to those along `bottom`, ever wider."""
    made = []
    for share in (np.arange(count) + rng.uniform(0.25, 0.75, count)) / count:
        a = top[round(share * (len(top) - 1))]
        b = bottom[round(share * (len(bottom) - 1))]
        start = a + (b - a) * rng.uniform(0.0, 0.3)
        bend = (start + b) / 2 + vector(rng.normal(0, 0.6), 0)
        points = [(float(p[0]), float(p[1])) for p in (start, bend, b)]
        wide = abs(float(bottom[-1, 0] - bottom[0, 0])) / count
        weight = strength * float(rng.uniform(0.5, 1.0))
        made.append(Stroke(curve(*points), wide * 0.34, weight))
        aside = [(x + wide * 0.5 * k / 2, y) for k, (x, y) in enumerate(points)]
        made.append(Stroke(curve(*aside), wide * 0.34, -weight))
    return tuple(made)
