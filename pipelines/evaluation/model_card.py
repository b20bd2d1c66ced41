"""A card for each model version: what it is, what it is for, what it learnt from, how good it is, for whom.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Everything on a card is read from the
registry, the code and an evaluation; nothing is typed in by hand.
"""

import inspect
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from feature_repo.places import check_place, whole_file
from pipelines.evaluation.chances import CALIBRATION, MEASURES
from pipelines.evaluation.evaluation import MAIN, RELEASE_NAME, judged_as, why_not_of
from pipelines.evaluation.evaluation_page import KINDS, MEANING, between, digits
from pipelines.evaluation.metrics import ACCURACY, METRICS
from pipelines.model_catalog import RANKERS, RETRIEVERS
from pipelines.model_catalog import RELEASE as THE_RELEASE
from pipelines.model_registry.registry import Version
from pipelines.reports import Page

Said = Mapping[str, Any]

RETRIEVER, RANKER, RELEASE, OTHER = "retriever", "ranker", "release", "part of a release"
INTENDED = {
    RETRIEVER: "Names candidates among the articles on sale for a customer of the shop, for a ranker to put in order; "
    "alone it is a simple recommender.",
    RANKER: "Puts candidates of a customer in order by the chance that they buy them within a week.",
    RELEASE: "Recommends articles on sale to customers of the shop it was trained on: candidates, chances, order.",
    OTHER: "Goes with the models of a release.",
}
NOT_INTENDED = (
    "It is not made for any other shop or kind of data than it was trained on, and not to decide on prices, credit "
    "or anything else about a person."
)
LIMITS = (
    "It has learnt from purchases. What was never offered could not be bought, so what is shown today is "
    "favoured tomorrow; only A/B tests and interleaving tell what customers would have bought otherwise.",
    "It does not know stock, sizes that are left, returns, or why somebody bought: a gift counts as taste.",
    "Attributes of customers and articles are as last delivered; the files have no dates of them.",
    "What is on sale is inferred from sales and impressions, so that an article may be recommended that is gone.",
)
OF_RANKERS = (
    "Chances hold for candidates like those it learnt from, in a season like that of its training weeks; another mix "
    "of retrievers needs another calibration.",
)


@dataclass(frozen=True)
class _Part:
    """A part of a card: paragraphs, then tables of a caption, headings and rows of text."""

    heading: str
    text: Sequence[str] = ()
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = ()
    code: str = ""


def model_card(version: Version, evaluation: Said | None = None) -> str:
    """The card in Markdown.

    Args:
        version: of the registry.
        evaluation: of `Evaluation.to_dict`; without it, or where it did not judge this model, the card has
            the metrics that were registered with the version, if any.
    """
    lines = [f"# {_plain(version.tag)}", "", _plain(_what(version)), ""]
    for part in _parts(version, evaluation or {}):
        lines += [f"## {part.heading}", ""]
        for text in part.text:
            lines += [_plain(text), ""]
        for caption, headings, rows in part.tables:
            if caption:
                lines += [f"**{_plain(caption)}**", ""]
            lines.append("| " + " | ".join(map(_plain, headings)) + " |")
            lines.append("|" + "---|" * len(headings))
            lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
            lines.append("")
        if part.code:
            lines += ["```console", part.code, "```", ""]
    return "\n".join(lines)


def card_page(version: Version, evaluation: Said | None = None) -> Page:
    """The card as a page."""
    page = Page(version.tag, _what(version), footer="Made by: lookbook card")
    for part in _parts(version, evaluation or {}):
        section = page.section(part.heading)
        for text in part.text:
            section.text(text)
        for caption, headings, rows in part.tables:
            align = "n" + "l" * (len(headings) - 1)
            section.table(headings, rows, align=align, caption=caption)
        if part.code:
            section.table(
                ["command"],
                [[line] for line in part.code.splitlines()],
                align="w",
                caption="Commands",
            )
    return page


def write_card(version: Version, out: Path, evaluation: Said | None = None) -> None:
    """Write the card, as a page if the file's name ends in .html, in Markdown otherwise.

    Raises:
        InputError: `out` cannot be written.
    """
    if out.suffix.lower() in (".html", ".htm"):
        card_page(version, evaluation).write(out)
        return
    check_place(out)
    with whole_file(out) as partial:
        partial.write_text(model_card(version, evaluation), encoding="utf-8")


# --- what stands on it --------------------------------------------------------------------------


def _name(version: Version) -> str:
    return version.tag.partition(":")[0]


def _kind(version: Version) -> str:
    name = _name(version)
    if name == RELEASE_NAME:
        return RELEASE
    return RETRIEVER if name in RETRIEVERS else RANKER if name in RANKERS else OTHER


def _model(version: Version) -> type | None:
    entry = (RETRIEVERS | RANKERS).get(_name(version))
    return None if entry is None else entry.model


def _what(version: Version) -> str:
    model = _model(version)
    if model is not None:
        return _words(inspect.getmodule(model))[0]
    if _kind(version) == RELEASE:
        return "The whole recommender: retrievers, ranker and what goes with them, as one thing that is served."
    return INTENDED[OTHER]


def _words(code: object) -> list[str]:
    """The paragraphs of a docstring, a line each."""
    return [" ".join(part.split()) for part in (inspect.getdoc(code) or "").split("\n\n")]


def _own_words(version: Version) -> list[str]:
    """What the class says first, and all paragraphs with a year, for they name papers."""
    model = _model(version)
    if model is None:
        return []
    of_module, own = _words(inspect.getmodule(model)), _words(model)
    papers = [part for part in (*of_module, *own) if re.search(r"\b(19|20)\d\d\b", part)]
    said = [own[0], *(part for part in papers if not part.startswith("Args:"))]
    return [part for part in dict.fromkeys(said) if part != _what(version)]


def _parts(version: Version, evaluation: Said) -> Iterator[_Part]:
    kind, lineage = _kind(version), version.lineage
    facts = [
        ["kind", kind],
        ["version", version.tag],
        ["made", f"{version.created:%Y-%m-%d %H:%M} UTC"],
        ["content hash", version.content_hash],
    ]
    yield _Part("What it is", _own_words(version), [("", ["", ""], facts)])
    yield _Part("What it is for", [INTENDED[kind], NOT_INTENDED])
    yield _Part(
        "What it learnt from",
        [
            f"Purchases and interactions strictly before {lineage.data_cutoff}, and attributes of customers and "
            "articles as the shop keeps them."
        ],
        [("", ["", ""], list(_data(version)))],
    )
    if lineage.parents:
        yield _Part(
            "What it is made of", [], [("", ["version"], [[tag] for tag in lineage.parents])]
        )
    settings = list(_settings(lineage.settings))
    if settings:
        yield _Part("Settings", [], [("", ["setting", "value"], settings)])
    judged = _judged(version, evaluation)
    if judged is not None:
        yield from _quality(version, evaluation, judged)
    elif figures := {
        n: f for n, f in version.metrics.items() if isinstance(f, Mapping) and "mean" in f
    }:
        weeks = ", ".join(map(str, version.metrics.get("weeks", [])))
        text = [f"As registered with the version; test weeks from {weeks}."] if weeks else []
        yield _Part("How good it is", text, [_figures(figures)])
    else:
        why = why_not_of(evaluation, lineage.data_hash, _declared(version)) if evaluation else ""
        given = f"The evaluation that was given does not speak of it: {why}." if why else ""
        yield _Part("How good it is", [given or "It was not evaluated."])
    limits = [*LIMITS, *(OF_RANKERS if kind in (RANKER, RELEASE) else ())]
    yield _Part(
        "What it cannot know", [f"It has seen nothing from {lineage.data_cutoff} on.", *limits]
    )
    yield _Part(
        "How to make it again",
        [
            "The same data, settings and libraries give the same content hash; the data hash says whether the data "
            "are the same."
        ],
        [("Made with", ["", ""], [[n, str(v)] for n, v in sorted(lineage.environment.items())])]
        if lineage.environment
        else [],
        _commands(version),
    )


def _data(version: Version) -> Iterator[list[str]]:
    lineage, settings = version.lineage, version.lineage.settings
    yield ["cutoff", f"days before {lineage.data_cutoff}"]
    yield ["data hash", lineage.data_hash]
    weeks = settings.get("weeks")
    if weeks:
        yield ["training weeks", f"{len(weeks)}, from {weeks[0]} to the one from {weeks[-1]}"]
    if isinstance(settings.get("rows"), int):
        yield ["training rows", f"{settings['rows']:,}"]
    yield ["feature service", lineage.feature_service or "none"]
    if lineage.feature_schema_hash:
        yield ["feature schema hash", lineage.feature_schema_hash]
    yield ["seed", str(lineage.seed)]


def _settings(settings: Said, before: str = "") -> Iterator[list[str]]:
    """A row for each setting, those inside others with their path."""
    for name, value in settings.items():
        if not before and name in ("weeks", "rows"):
            continue
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{before}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield [f"{before}{name}", text]


def _judged(version: Version, evaluation: Said) -> str | None:
    """The name under which an evaluation speaks of it: its tag, or its name; of a release, its ranker's."""
    names = [version.tag]
    if not why_not_of(evaluation, version.lineage.data_hash, _declared(version)):
        is_release = _kind(version) == RELEASE
        names.append(judged_as(evaluation, _ranker(version) if is_release else _name(version)))
    models = evaluation.get("models") or {}
    return next((name for name in names if models.get(name)), None)


def _ranker(version: Version) -> str:
    """The ranker of a release."""
    parts = (tag.partition(":")[0] for tag in version.lineage.parents)
    return next((part for part in parts if part in RANKERS), "")


def _declared(version: Version) -> Said | None:
    """How a release was declared; None for a model."""
    return version.lineage.settings.get("release") if _kind(version) == RELEASE else None


def _quality(version: Version, evaluation: Said, judged: str) -> Iterator[_Part]:
    weeks = ", ".join(evaluation.get("weeks") or [])
    text = [
        f"Judged on {evaluation.get('customers', 0):,} customers who bought in the weeks from {weeks}; 95% intervals by "
        "bootstrap over customers."
    ]
    if judged == version.tag:
        text.append("The figures are of this very version.")
    elif judged == RELEASE_NAME and _kind(version) == RANKER:
        text.append(
            "The figures are of the release with a ranker of these settings, trained before each of these weeks."
        )
    else:
        text.append(
            "The figures are of a model of these settings, trained before each of these weeks."
        )
    tables = [_figures(evaluation["models"][judged])]
    base = evaluation.get("base")
    difference = (evaluation.get("differences") or {}).get(judged)
    if difference:
        tables.append(
            (
                f"Difference to {base}",
                ["metric", "difference"],
                [[n, between(f)] for n, f in difference.items()],
            )
        )
    yield _Part("How good it is", text, tables)
    yield from _groups(evaluation, judged)
    ranker = (evaluation.get("rankers") or {}).get(judged)
    if ranker:
        yield _calibration(ranker)


def _figures(figures: Said) -> tuple[str, Sequence[str], Sequence[Sequence[str]]]:
    rows = [[name, between(found), MEANING.get(name, "")] for name, found in figures.items()]
    return "", ["metric", "value (95% interval)", "is"], rows


def _groups(evaluation: Said, judged: str) -> Iterator[_Part]:
    tables = []
    shown = [name for name in (MAIN, "recall@12", "hit_rate@12") if name in METRICS]
    for kind, groups in (evaluation.get("segments") or {}).items():
        rows = [
            [group, f"{of['customers']:,}", *(between(of["models"][judged].get(n)) for n in shown)]
            for group, of in groups.items()
            if of["models"].get(judged)
        ]
        if rows:
            tables.append((KINDS.get(kind, f"By {kind}"), ["group", "customers", *shown], rows))
    gaps = [
        [KINDS.get(kind, kind), name, found["highest"], found["lowest"], between(found)]
        for kind, models in (evaluation.get("gaps") or {}).items()
        for name, found in models.get(judged, {}).items()
        if name in ACCURACY
    ]
    if gaps:
        tables.append(
            ("Largest gaps", ["groups", "metric", "highest in", "lowest in", "gap"], gaps)
        )
    seen = [
        [
            KINDS.get(kind, kind),
            group,
            f"{100 * of['bought']:.1f}%",
            f"{100 * of['models'][judged]['shown']:.1f}%",
        ]
        for kind, groups in (evaluation.get("exposure") or {}).items()
        for group, of in groups.items()
        if judged in of["models"]
    ]
    if seen:
        tables.append(
            ("Articles", ["groups", "group", "share of purchases", "share of attention"], seen)
        )
    if tables:
        yield _Part("For whom, and of what", [], tables)


def _calibration(ranker: Said) -> _Part:
    tables = [
        (
            "",
            ["measure", "value (95% interval)"],
            [[name, between(ranker[name])] for name in MEASURES if name in ranker],
        )
    ]
    rows = [
        [group, between(found[CALIBRATION])]
        for groups in (ranker.get("segments") or {}).values()
        for group, found in groups.items()
        if CALIBRATION in found
    ]
    if rows:
        tables.append(("By group of customers", ["group", "expected over bought"], rows))
    bins = [
        [
            f"{digits(100 * found['predicted'])}%",
            f"{digits(100 * found['observed'])}%",
            f"{found['rows']:,}",
        ]
        for found in ranker.get("reliability") or []
    ]
    if bins:
        tables.append(("Reliability", ["said", "bought", "candidates"], bins))
    return _Part(
        "What its chances are worth",
        [
            "NE is the log loss over that of who says the same chance of everything: below 1 knows more. "
            "Calibration is purchases expected over purchases made: 1 is right."
        ],
        tables,
    )


def _commands(version: Version) -> str:
    cutoff, commit = version.lineage.data_cutoff, version.lineage.commit
    lines = []
    if commit != "unknown":
        lines.append(f"$ git checkout {commit.removesuffix('+dirty')}")
    if commit.endswith("+dirty"):
        lines.append("# files differed from that commit when it was made")
    lines += ["$ lookbook data load SHOP", "$ lookbook features build"]
    kind = _kind(version)
    if kind == RELEASE:
        lines += [
            f"$ lookbook release reproduce {version.tag}",
            "# where it is not registered, train its parts and put them together:",
        ]
    declaration = _declaration(version)
    if declaration:
        # JSON is YAML.
        lines.append(f"$ echo {shlex.quote(json.dumps(declaration))} > release.yaml")
    declared = " --release release.yaml" if declaration else ""
    names = "" if kind in (RELEASE, OTHER) else f" {_name(version)}"
    lines.append(f"$ lookbook train{names} --cutoff {cutoff}{declared}")
    if kind == RELEASE:
        lines.append(f"$ lookbook release create{declared}")
    return "\n".join(lines)


def _declaration(version: Version) -> Said:
    """What a release, or a ranker's, was declared as; nothing where it is as usual."""
    made_with: Said = version.lineage.settings.get("release") or {}
    usual = THE_RELEASE.to_dict()
    if _kind(version) == RANKER and _name(version) != THE_RELEASE.ranker:
        usual |= {"ranker": _name(version), "ranker_settings": None}
    return {} if made_with == usual else made_with


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([|\\`\[\]])", r"\\\1", text)
