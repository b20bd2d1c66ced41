"""The few kinds of plot that pages are made of, in one style.

Each takes plain sequences and returns a figure for `Section.figure`; labels are text, never
markup. Matplotlib's object API only: no window, no state between plots, imported when first used.
"""

import io
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE = "#171a22", "#565d6d", "#d9dde5"
COLOURS = ("#26375f", "#d9924e", "#5b8fb9", "#8a6f9e", "#4f8a6b", "#b5544a")
"""Denim first, then topstitching."""
COLD, WARM = "#2c5f9e", "#c96f1e"
"""The ends of a scale with a middle."""

STEPS = 41
"""Colours of a scale; from 50 on Matplotlib draws its legend as a picture of dots."""

HALF, FULL = 5.0, 10.4
"""Widths in inches, so that both kinds of figure show letters of the same size."""

STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.2,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
}

P = ParamSpec("P")


@contextmanager
def _style(**more: Any) -> Iterator[None]:
    import matplotlib

    # A person's own matplotlibrc must not change a page.
    settings: Any = dict(matplotlib.rcParamsDefault)
    settings.update(STYLE, **more)
    with matplotlib.rc_context(settings):
        yield


def _styled(draw: "Callable[P, Figure]") -> "Callable[P, Figure]":
    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        with _style():
            return draw(*args, **kwargs)

    return styled


def printable(text: str) -> str:
    """The text with characters that neither HTML nor XML may hold replaced."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def count(value: float) -> str:
    """A number as an axis says it: 950, 12k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    """A share as an axis says it: 12%, 0.5%."""
    return f"{100 * value:.3g}%"


Said = Callable[[float], str]
"""How a value is written."""


@_styled
def bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    x: str = "",
    y: str = "",
    said: Said = count,
    wide: bool = False,
    flat: bool = False,
    height: float | None = None,
    line: float | None = None,
    values: bool | None = None,
) -> "Figure":
    """Bars for each label, side by side where there are several series.

    Args:
        labels: what stands below each bar (left of it if `flat`).
        series: name to heights, as many as labels; a single series gets no legend.
        x, y: what the axes mean.
        said: how a height is written.
        flat: bars lie, which suits long labels; the first label is on top.
        line: a level to compare with.
        values: write the height at each bar; by default for one series of at most 14 bars.
    """
    names = [printable(label) for label in labels]
    height = height or (0.7 + 0.21 * len(names) * (1 if len(series) < 2 else 1.5) if flat else 2.6)
    figure, axes = _blank(wide, height)
    places = np.arange(len(names))
    width = 0.78 / max(1, len(series))
    for nth, ((name, given), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        heights = np.asarray(given, dtype=float)
        at = places + (nth - (len(series) - 1) / 2) * width
        style: dict[str, Any] = {"color": colour, "label": printable(name)}
        drawn = (axes.barh if flat else axes.bar)(at, heights, width, **style)
        if values if values is not None else (len(series) == 1 and len(names) <= 14):
            for text in axes.bar_label(
                drawn, [said(h) for h in heights], padding=2, fontsize=7.5, color=QUIET
            ):
                # A level to compare with must not cross the numbers out.
                text.set(bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}, zorder=3)
    if flat:
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", labelcolor=INK)
    else:
        axes.set_xticks(places, names)
        axes.yaxis.set_major_formatter(lambda v, _: said(v))
        _thin(axes, names, wide)
    if line is not None:
        (axes.axvline if flat else axes.axhline)(line, color=QUIET, linewidth=0.8, linestyle="--")
    axes.set_xlabel("" if flat else x)
    axes.set_ylabel(y)
    _legend(axes, len(series))
    return figure


@_styled
def lines(
    series: Mapping[str, tuple[Sequence[Any], Sequence[float]]],
    *,
    x: str = "",
    y: str = "",
    said: Said = count,
    x_said: Said | None = None,
    labels: Sequence[str] | None = None,
    wide: bool = False,
    height: float = 2.6,
    log_x: bool = False,
    log_y: bool = False,
    filled: bool = False,
    diagonal: bool = False,
    dots: bool = False,
    points: Collection[str] = (),
) -> "Figure":
    """A line for each series: name to (places, values). Places may be days.

    Args:
        labels: what stands below the places 0, 1, 2 ...
        filled: colour the area below the first line.
        diagonal: draw where all shares would be equal.
        dots: mark each point, where there are few.
        points: the series that are dots only.
    """
    figure, axes = _blank(wide, height)
    markers = "os^Dv<"
    for nth, ((name, (places, values)), colour) in enumerate(
        zip(series.items(), COLOURS, strict=False)
    ):
        axes.plot(
            np.asarray(places),
            np.asarray(values, dtype=float),
            color=colour,
            label=printable(name),
            linestyle="none" if name in points else "-",
            marker=markers[nth] if dots or name in points else None,
            markersize=4.5,
        )
        if filled and nth == 0:
            axes.fill_between(
                np.asarray(places), np.asarray(values, dtype=float), color=colour, alpha=0.12, lw=0
            )
    if diagonal:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--")
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(lambda v, _: "")
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    axes.yaxis.set_major_formatter(lambda v, _: said(v))
    if x_said:
        axes.xaxis.set_major_formatter(lambda v, _: x_said(v))
    if labels is not None:
        axes.set_xticks(np.arange(len(labels)), [printable(label) for label in labels])
        axes.margins(x=0.06)
    first = next(iter(series.values()))[0]
    if len(first) and hasattr(first[0], "year"):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(maxticks=12 if wide else 7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    _legend(axes, len(series))
    return figure


@_styled
def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    x: str = "",
    said: Said = percent,
    middle: float | None = None,
    legend: str = "",
    height: float | None = None,
    wide: bool = True,
    written: bool = False,
) -> "Figure":
    """A map of values, rows x columns; None stays white.

    Args:
        middle: the value that is white, colder colours below it and warmer above, full at 0 and at
            twice the middle; without it zero is white.
        written: write each value into its cell.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    table = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=float)
    figure, axes = _blank(wide, height or 0.9 + 0.19 * len(rows))
    finite = table[np.isfinite(table)]
    top = float(finite.max()) if finite.size else 1.0
    if middle is None:
        scale = LinearSegmentedColormap.from_list("one", ["#ffffff", "#9db4d3", COLOURS[0]], STEPS)
        norm = Normalize(0, top or 1.0)
    else:
        scale = LinearSegmentedColormap.from_list("two", [COLD, "#ffffff", WARM], STEPS)
        norm = Normalize(0, 2 * middle, clip=True)
    drawn = axes.pcolormesh(
        np.ma.masked_invalid(table), cmap=scale, norm=norm, edgecolor="white", linewidth=0.6
    )
    axes.set_yticks(np.arange(len(rows)) + 0.5, [printable(row) for row in rows])
    axes.set_xticks(np.arange(len(columns)) + 0.5, [printable(column) for column in columns])
    axes.tick_params(length=0)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(x)
    if written:
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                light = np.dot(drawn.to_rgba(value)[:3], (0.299, 0.587, 0.114)) > 0.5
                axes.text(
                    column + 0.5,
                    row + 0.52,
                    said(value),
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=INK if light else "white",
                )
    else:
        bar = figure.colorbar(drawn, ax=axes, pad=0.01, aspect=30, format=lambda v, _: said(v))
        bar.outline.set_visible(False)
        bar.set_label(legend, color=QUIET)
    _thin(axes, [printable(column) for column in columns], wide)
    return figure


@_styled
def differences(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    band: float = 0.15,
    reach: float = 0.6,
) -> "Figure":
    """A dot for each relative difference, with the band in which it counts as the same.

    Args:
        labels: left of each dot; the first is on top.
        values: 0.1 for a tenth more. Beyond `reach` they stand at the edge with their value.
    """
    figure, axes = _blank(True, 0.65 + 0.2 * len(labels))
    axes.axvspan(-band, band, color="#e9eef6", lw=0)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    places = np.arange(len(labels))
    given = np.asarray(values, dtype=float)
    shown = np.clip(given, -reach, reach)
    inside = np.abs(given) <= band
    axes.hlines(places, 0, shown, color=LINE, linewidth=1.2)
    for chosen, colour, marker in (
        (inside, COLOURS[0], "o"),
        (~inside & (given == shown), COLOURS[1], "D"),
        (given > shown, COLOURS[1], ">"),
        (given < shown, COLOURS[1], "<"),
    ):
        axes.plot(shown[chosen], places[chosen], marker, color=colour, markersize=5)
    for place, value in zip(places, given, strict=True):
        axes.annotate(
            f"{100 * value:+.0f}%" if abs(value) >= 0.005 else "0%",
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=QUIET,
        )
    axes.set_yticks(places, [printable(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(-reach * 1.03, reach * 1.03)
    axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:+.0f}%" if v else "0")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    return figure


@_styled
def intervals(
    labels: Sequence[str],
    values: Sequence[tuple[float, float, float]],
    *,
    x: str = "",
    said: Said = count,
    line: float | None = None,
    chosen: Collection[str] = (),
    wide: bool = True,
) -> "Figure":
    """A dot with its interval for each label, and its value beside it (a forest plot).

    Args:
        labels: left of each; the first is on top.
        values: mean, low and high of each.
        said: how a mean is written.
        line: a value to compare with.
        chosen: labels that stand out.
    """
    figure, axes = _blank(wide, 0.75 + 0.22 * len(labels))
    places = np.arange(len(labels))
    if line is not None:
        axes.axvline(line, color=QUIET, linewidth=0.8, linestyle="--")
    for place, label, (mean, low, high) in zip(places, labels, values, strict=True):
        colour = COLOURS[1] if label in chosen else COLOURS[0]
        axes.hlines(place, low, high, color=colour, linewidth=2.2, alpha=0.55)
        axes.plot([mean], [place], "D" if label in chosen else "o", color=colour, markersize=5)
        axes.annotate(
            said(mean),
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=QUIET,
        )
    axes.set_yticks(places, [printable(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(lambda v, _: count(v))
    axes.set_xlabel(x)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    return figure


@dataclass(frozen=True)
class Box:
    """A box of `layers`.

    Attributes:
        key: by which lines name it.
        note: a second line, smaller.
        tone: `strong` stands out, `odd` and `bad` warn.
        colour: lines to and from it have this one of `COLOURS`; None leaves them grey.
    """

    key: str
    title: str
    note: str = ""
    tone: Literal["", "strong", "odd", "bad"] = ""
    colour: int | None = None


BOX, SLOT, LANE = 0.34, 0.43, 0.11
"""Heights in inches: of a box, with the gap below it, and of the lane of a line that passes a column."""
TITLE, NOTE = 7.5, 6.5
LETTER = 0.0091
"""The width of a letter in inches for each point of its size."""
LONGEST = 26


@_styled
def layers(
    columns: Sequence[tuple[str, Sequence[Box]]], edges: Collection[tuple[str, str]]
) -> "Figure":
    """Boxes in columns from left to right, and lines from what feeds to what is fed.

    Within a column boxes stand where lines cross least; a line that passes a column has a lane
    between its boxes. Titles of more than 26 letters are cut.

    Args:
        columns: a heading and its boxes; columns without boxes are left out.
        edges: (key, key of a box in a later column).
    """
    from matplotlib.figure import Figure

    filled = [(heading, own) for heading, own in columns if own]
    boxes = {box.key: box for _, own in filled for box in own}
    order, routes = _ordered([[box.key for box in own] for _, own in filled], edges)
    heights = [[SLOT if key in boxes else LANE for key in keys] for keys in order]
    tall = max(map(sum, heights))
    widths = [max(len(heading) * 8.5 * LETTER, *map(_width, own)) for heading, own in filled]
    full = max(FULL, sum(widths) + 0.35 * (len(widths) - 1) + 0.1)
    gap = (full - 0.1 - sum(widths)) / max(1, len(widths) - 1)
    figure = Figure(figsize=(full, tall + 0.35))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, full), ylim=(tall + 0.02, -0.33))
    axes.axis("off")
    places: dict[str, Place] = {}
    x = 0.05
    for (heading, _), keys, steps, width in zip(filled, order, heights, widths, strict=True):
        axes.text(x, -0.2, printable(heading), color=QUIET, fontsize=8.5, va="center")
        y = (tall - sum(steps)) / 2
        for key, step in zip(keys, steps, strict=True):
            places[key] = (x, x + width, y + step / 2)
            y += step
        x += width + gap
    for route in routes:
        own_colours = [boxes[key].colour for key in route if key in boxes]
        colour = next((nth for nth in own_colours if nth is not None), None)
        _line(axes, [places[key] for key in route], _colour(colour, "#aeb6c4"))
    for key, box in boxes.items():
        _box(axes, places[key], box)
    return figure


Place = tuple[float, float, float]
"""Left, right and middle height, in inches."""


def _width(box: Box) -> float:
    return 0.12 + LETTER * max(TITLE * min(len(box.title), LONGEST), NOTE * len(box.note))


def _colour(nth: int | None, usual: str) -> str:
    return usual if nth is None else COLOURS[nth % len(COLOURS)]


def _box(axes: "Axes", place: Place, box: Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    face, edge, ink, quiet = {
        "": ("#f3f5f9", LINE, INK, QUIET),
        "strong": (COLOURS[0], COLOURS[0], "white", "white"),
        "odd": ("#fdf3e7", COLOURS[1], INK, QUIET),
        "bad": ("#fbeae8", "#a3281f", INK, "#a3281f"),
    }[box.tone]
    left, right, middle = place
    axes.add_patch(
        FancyBboxPatch(
            (left, middle - BOX / 2),
            right - left,
            BOX,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=face,
            edgecolor=edge if box.tone == "bad" else _colour(box.colour, edge),
            linewidth=0.9,
            zorder=3,
        )
    )
    title = box.title if len(box.title) <= LONGEST else box.title[: LONGEST - 1] + "…"
    top = middle - 0.07 * bool(box.note)
    for text, y, colour, size in (
        (title, top, ink, TITLE),
        (box.note, top + 0.145, quiet, NOTE),
    ):
        axes.text(
            left + 0.06, y, printable(text), color=colour, fontsize=size, va="center", zorder=4
        )


def _ordered(
    columns: Sequence[Sequence[str]], edges: Collection[tuple[str, str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Keys of each column in the order in which lines cross little, and the keys that each line passes.

    After Sugiyama et al., 1981: where a line passes a column it has a key there, and every column is
    sorted by the mean place of what its keys are joined with, forwards and backwards.
    """
    column_of = {key: nth for nth, keys in enumerate(columns) for key in keys}
    order = [list(keys) for keys in columns]
    routes = []
    for source, target in edges:
        between = range(column_of[source] + 1, column_of[target])
        lanes = [f"{source} > {target} @ {nth}" for nth in between]
        for nth, lane in zip(between, lanes, strict=True):
            order[nth].append(lane)
        routes.append([source, *lanes, target])
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for route in routes:
        for one, two in pairwise(route):
            after.setdefault(one, []).append(two)
            before.setdefault(two, []).append(one)

    def sort(nth: int, joined: Mapping[str, Sequence[str]]) -> None:
        place = {key: (rank + 0.5) / len(keys) for keys in order for rank, key in enumerate(keys)}

        def wanted(key: str) -> float:
            places = [place[other] for other in joined.get(key, ())]
            return sum(places) / len(places) if places else place[key]

        order[nth].sort(key=wanted)

    for _ in range(8):
        for nth in range(1, len(order)):
            sort(nth, before)
        for nth in reversed(range(len(order) - 1)):
            sort(nth, after)
    return order, routes


def _line(axes: "Axes", stops: Sequence[Place], colour: str) -> None:
    """A line from the right of the first stop to the left of the last, level where it passes the others."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = [(stops[0][1], stops[0][2])]
    codes = [Path.MOVETO]
    for (_, start, y), (end, leave, to) in pairwise(stops):
        half = (start + end) / 2
        points += [(half, y), (half, to), (end, to)]
        codes += [Path.CURVE4] * 3
        points.append((leave, to))
        codes.append(Path.LINETO)
    # The last box stands where its line ends.
    path = Path(points[:-1], codes[:-1])
    axes.add_patch(
        PathPatch(path, facecolor="none", edgecolor=colour, linewidth=0.9, alpha=0.75, zorder=2)
    )


def is_wide(figure: "Figure") -> bool:
    """Whether a figure wants the whole width of the page."""
    return figure.get_figwidth() > HALF


def svg(figure: "Figure", *, name: str, label: str) -> str:
    """A figure as inline SVG: letters stay letters, and the same figure gives the same text.

    Args:
        name: unlike that of any other figure on the page.
        label: what the figure shows, escaped for an attribute.
    """
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _style(**{"svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'xlink:href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    (view,) = re.findall(r'viewBox="([^"]*)"', text)[:1]
    return re.sub(
        r"<svg [^>]*>",
        lambda _: (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img" '
            f'aria-label="{label}">'
        ),
        text,
        count=1,
    ).strip()


def _blank(wide: bool, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(FULL if wide else HALF, height))
    return figure, figure.add_subplot()


def _thin(axes: "Axes", names: Sequence[str], wide: bool) -> None:
    """Where labels would stand on each other, they take turns on two lines, or some are left out."""
    letters = 128 if wide else 60
    pairs = [(len(one) + len(two)) / 2 + 1 for one, two in pairwise(names)]
    step = max(1, math.ceil(len(names) * max(pairs, default=0) / letters))
    if step == 2:
        labels = ["\n" * (nth % 2) + name for nth, name in enumerate(names)]
    else:
        labels = [name if nth % step == 0 else "" for nth, name in enumerate(names)]
    axes.set_xticks(axes.get_xticks(), labels)


def _legend(axes: "Axes", series: int) -> None:
    if series > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=min(series, 4), borderaxespad=0.2
        )
