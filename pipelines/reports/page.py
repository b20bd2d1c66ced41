"""One self-contained HTML page: sections of sentences, key numbers, tables and figures.

    page = Page("A shop", "What the data say.")
    section = page.section("Prices", "Most pieces cost 19.99.")
    section.table(["price", "pieces"], [["19.99", 17_600]], align="rr")
    section.figure(plots.bars(["19.99"], {"pieces": [17_600]}), "Pieces by price", "One bar.")
    page.write(Path("shop.html"))

All that is handed in is text and is escaped. The page has no script, no date and nothing from
elsewhere, is well-formed XML, and is the same to the byte for the same content.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from feature_repo.errors import InputError
from feature_repo.places import check_place, whole_file
from pipelines.reports import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cell", "Page", "Section"]

Tone = Literal["", "good", "bad", "quiet"]

STYLE = """
:root {
  --ink: #171a22; --quiet: #565d6d; --line: #d9dde5; --tile: #f3f5f9; --denim: #26375f;
  --stitch: #d9924e; --good: #1c6a43; --bad: #a3281f;
  --sans: "Avenir Next", Avenir, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial,
    "DejaVu Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace;
}
* { box-sizing: border-box; }
html { color-scheme: light; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 var(--sans);
  overflow-wrap: anywhere; }
header, nav, main, footer { max-width: 1160px; margin-inline: auto;
  padding-inline: clamp(16px, 4vw, 40px); }
header { padding-top: 48px; }
h1 { margin: 0; font-size: 2.1rem; line-height: 1.15; letter-spacing: -0.01em;
  color: var(--denim); text-wrap: balance; }
h2 { margin: 0 0 8px; font-size: 1.4rem; line-height: 1.25; color: var(--denim);
  text-wrap: balance; }
p { margin: 0; max-width: 46em; }
header p { margin-top: 12px; font-size: 1.1rem; }
nav { margin-top: 28px; }
nav ol { list-style: none; margin: 0; padding: 12px 0; display: flex; flex-wrap: wrap;
  gap: 4px 20px; border-block: 1px solid var(--line); font-size: 0.9rem; }
a { color: var(--denim); text-decoration-color: var(--stitch); text-underline-offset: 3px; }
a:focus-visible, .scroll:focus-visible { outline: 3px solid var(--stitch); outline-offset: 2px; }
section { padding-top: 44px; }
.lead { font-size: 1.08rem; }
.body { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 28px 36px;
  margin-top: 22px; align-items: start; }
.body > * { grid-column: 1 / -1; min-width: 0; }
.body > .half { grid-column: auto; }
.note { color: var(--quiet); font-size: 0.9rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(205px, 1fr));
  gap: 20px 28px; margin: 0; }
.numbers div { border-top: 2px solid var(--line); padding-top: 8px; display: flex;
  flex-direction: column; }
.numbers dd { margin: 0; font-size: 1.6rem; line-height: 1.2; font-weight: 600;
  white-space: nowrap; font-variant-numeric: tabular-nums; color: var(--denim); }
.numbers dt { order: 1; font-size: 0.88rem; color: var(--quiet); }
figure { margin: 0; }
figcaption, caption { text-align: left; font-weight: 600; font-size: 0.95rem; line-height: 1.35;
  padding-bottom: 8px; }
.scroll { overflow-x: auto; }
figure svg { display: block; width: 100%; height: auto; stroke-linejoin: round;
  stroke-linecap: butt; }
figure svg text { font-family: var(--sans); font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; line-height: 1.4; }
th { text-align: left; white-space: nowrap; font-weight: 600; color: var(--quiet); vertical-align: bottom;
  border-bottom: 2px solid var(--line); }
th, td { padding: 5px 20px 5px 0; overflow-wrap: normal; }
th:last-child, td:last-child { padding-right: 0; }
td { vertical-align: baseline; border-bottom: 1px solid var(--line); }
.r { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.n { white-space: nowrap; }
.c { font-family: var(--mono); font-size: 0.86em; white-space: nowrap; max-width: 13em;
  overflow: hidden; text-overflow: ellipsis; }
.w { overflow-wrap: anywhere; font-family: var(--mono); font-size: 0.8em; min-width: 16em; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.quiet { color: var(--quiet); }
.bar { display: block; min-width: 6em; height: 5px; margin-top: 4px; background: var(--tile);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar i { display: block; height: 100%; background: var(--stitch); }
footer { margin-top: 56px; padding-block: 16px 40px; color: var(--quiet); font-size: 0.85rem; }
@media screen and (max-width: 760px) {
  .body > .half { grid-column: 1 / -1; }
  .full .scroll > svg { min-width: 640px; }
  header { padding-top: 28px; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 10pt; }
  header, nav, main, footer { max-width: none; padding-inline: 0; }
  nav { display: none; }
  section { padding-top: 20pt; }
  h2, .lead { break-after: avoid; }
  figure, .numbers, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  .body > .scroll.half { grid-column: 1 / -1; }
}
"""


@dataclass(frozen=True)
class Cell:
    """A table's cell with more than its text.

    `tone` colours it, and `bar` (0 to 1) draws a share below it.
    """

    text: str
    tone: Tone = ""
    bar: float | None = None


Value = str | int | float | None | Cell


@dataclass
class Section:
    """A part of a page; each method adds one block, in the order of the calls."""

    heading: str
    lead: str
    blocks: list[str] = field(default_factory=list)
    figures: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Numbers the figures of a page: their inner names must not meet."""

    def text(self, sentences: str, *, note: bool = False) -> None:
        """A paragraph; a note is smaller and quieter."""
        css = ' class="note"' if note else ""
        self.blocks.append(f"<p{css}>{_text(sentences)}</p>")

    def numbers(self, numbers: Iterable[tuple[str, str]]) -> None:
        """Key numbers, each a label and a value."""
        tiles = "".join(
            f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for label, value in numbers
        )
        self.blocks.append(f'<dl class="numbers">{tiles}</dl>')

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Value]],
        *,
        align: str,
        caption: str = "",
        half: bool = False,
    ) -> None:
        """A table.

        Args:
            columns: the headings.
            rows: a cell for each column; whole numbers get thousands separators, None a dash.
            align: a letter for each column: l(eft), n(ames: left, one line), r(ight: numbers),
                c(ode: one line, cut with dots when too long), w(rapped code).
            half: two such tables stand side by side where the screen is wide enough.

        Raises:
            InputError: a row or `align` has more or fewer cells than there are columns.
        """
        body = []
        for row in rows:
            if not len(columns) == len(row) == len(align):
                raise InputError(
                    f"The table {caption!r} has {len(columns)} columns, {len(align)} alignments and "
                    f"a row of {len(row)} cells: make them as many."
                )
            body.append(
                f"<tr>{''.join(_cell(value, a) for value, a in zip(row, align, strict=True))}</tr>"
            )
        heads = "".join(
            f'<th scope="col" class="{"r" if a == "r" else "n"}">{_text(name)}</th>'
            for name, a in zip(columns, align, strict=True)
        )
        title = f"<caption>{_text(caption)}</caption>" if caption else ""
        name = _attribute(caption or self.heading)
        self.blocks.append(
            f'<div class="scroll{" half" if half else ""}" tabindex="0" role="region" '
            f'aria-label="{name}"><table>{title}<thead><tr>{heads}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def figure(self, figure: "Figure", caption: str, alt: str, *, least: int | None = None) -> None:
        """A plot of `pipelines.reports.plots` as inline SVG; two narrow ones stand side by side.

        Args:
            caption: what is shown, above the plot.
            alt: what a reader who cannot see it should know.
            least: it is never narrower than so many pixels, for its words; smaller screens scroll.
        """
        drawing = plots.svg(figure, name=f"f{next(self.figures)}", label=_attribute(alt))
        width = "full" if plots.is_wide(figure) else "half"
        box = '<div class="scroll">'
        if least is not None:
            name = _attribute(caption)
            box = f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">'
            drawing = f'<div style="min-width:{least}px">{drawing}</div>'
        self.blocks.append(
            f'<figure class="{width}"><figcaption>{_text(caption)}</figcaption>'
            f"{box}{drawing}</div></figure>"
        )

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")

    def html(self) -> str:
        lead = f'<p class="lead">{_text(self.lead)}</p>' if self.lead else ""
        body = f'<div class="body">\n{chr(10).join(self.blocks)}\n</div>' if self.blocks else ""
        return f'<section id="{self.anchor}">\n<h2>{_text(self.heading)}</h2>\n{lead}\n{body}\n</section>'


@dataclass
class Page:
    """A page: a title, what it says in a few sentences, and its sections."""

    title: str
    summary: str = ""
    footer: str = ""
    sections: list[Section] = field(default_factory=list)
    figures: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def section(self, heading: str, lead: str = "") -> Section:
        """A new section at the end; `lead` says in words what the blocks below it show."""
        made = Section(heading, lead, figures=self.figures)
        self.sections.append(made)
        return made

    def html(self) -> str:
        links = "".join(
            f'<li><a href="#{s.anchor}">{_text(s.heading)}</a></li>' for s in self.sections
        )
        contents = f'<nav aria-label="Contents"><ol>{links}</ol></nav>' if links else ""
        sections = "\n".join(section.html() for section in self.sections)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
            f"<title>{_text(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<header><h1>{_text(self.title)}</h1><p>{_text(self.summary)}</p></header>\n{contents}\n"
            f"<main>\n{sections}\n</main>\n<footer>{_text(self.footer)}</footer>\n</body>\n</html>\n"
        )

    def write(self, out: Path) -> None:
        """Write the page, whole or not at all; folders on the way are made.

        Raises:
            InputError: as for `check_place`.
            OSError: it cannot be written.
        """
        check_place(out)
        with whole_file(out) as partial:
            partial.write_text(self.html(), encoding="utf-8")


def _text(text: str) -> str:
    return escape(plots.printable(text), quote=False)


def _attribute(text: str) -> str:
    return escape(plots.printable(text), quote=True)


def _cell(value: Value, align: str) -> str:
    cell = value if isinstance(value, Cell) else Cell(_written(value))
    names = " ".join(filter(None, ("" if align == "l" else align, cell.tone)))
    attributes = f' class="{names}"' * bool(names)
    # What may be cut is shown whole when pointed at.
    attributes += f' title="{_attribute(cell.text)}"' * (align == "c")
    bar = ""
    if cell.bar is not None:
        width = 100 * min(max(cell.bar, 0.0), 1.0)
        bar = f'<span class="bar"><i style="width:{width:.1f}%"></i></span>'
    return f"<td{attributes}>{_text(cell.text)}{bar}</td>"


def _written(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
