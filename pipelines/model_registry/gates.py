"""Gates: what a release must show before `production` may point at it.

    found = check("release:latest")
    promote("release:latest", why="more weeks")

Which gates there are and what each needs is declared with the release (`ReleaseSettings.gates`). All of them are
asked, so that one refusal names everything; a gate that cannot be measured does not pass. What takes long, an
evaluation and the leak lab, is kept on disk: after a kill it is not done again.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from feature_repo.errors import LookbookError
from pipelines import feature_tables, leak_lab
from pipelines.data.split import DAYS_IN_WEEK
from pipelines.evaluation.chances import CALIBRATION, ENTROPY
from pipelines.evaluation.evaluation import (
    COVERAGE,
    MAIN,
    RELEASE_NAME,
    judged_as,
    why_not_of,
)
from pipelines.evaluation.weekly import LIKE, evaluate
from pipelines.features import OnlineFeatures, schema_hash
from pipelines.model_catalog import GATES, RELEASE
from pipelines.model_registry import release as releases
from pipelines.model_registry.composing import declared_as, load_recommender, require_fresh
from pipelines.model_registry.evidence import kept, require_loads
from pipelines.model_registry.publishing import SEARCH_PART
from pipelines.model_registry.registry import RegistryError, Version
from pipelines.monitoring import parity
from pipelines.monitoring.served_log import ServedLog, Settings, Versions
from pipelines.nearest import recorded_recall
from pipelines.online import online_moment
from pipelines.recommender import Recommender
from pipelines.reports.words import listed, many

GATED = "production"
"""The alias that asks for gates."""
SHOWN = 12
ANSWERING = ("per_source", "weights", "ranker", "rerankers", "feature_service")
"""Settings of a release on which its answers depend, beside its parts."""
Said = Mapping[str, Any]


class GateError(RegistryError):
    """A release may not come into production; the text names gate, figure and what was needed.

    Attributes:
        check: what all gates say.
    """

    def __init__(self, text: str, check: "Check") -> None:
        super().__init__(text)
        self.check = check


@dataclass(frozen=True)
class Result:
    """What one gate says; `str()` says it in a sentence."""

    gate: str
    passed: bool
    figure: str
    needed: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.figure}; needed: {self.needed}"


@dataclass(frozen=True)
class Check:
    """What all gates say of a release.

    Attributes:
        against: the release in production then; None if there was none, or it was this.
    """

    release: str
    against: str | None
    results: tuple[Result, ...]

    @property
    def failed(self) -> list[Result]:
        return [one for one in self.results if not one.passed]

    @property
    def passed(self) -> bool:
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def check(
    release: str,
    evaluation: Said | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Check:
    """Ask all gates that a release declares.

    Args:
        release: a tag or an alias.
        evaluation: of `Evaluation.to_dict`: the release, compared with the one in production or a release like it
            (`base`). If None that which the release was created with, or else one is made now, which takes as long
            as training some releases.

    Raises:
        RegistryError: the release is unknown or damaged, or the evaluation is not of it.
    """
    subject = _Subject(releases.get(release), evaluation, progress)
    results = []
    for gate, thresholds in subject.gates.items():
        progress(f"gate {gate}")
        try:
            needed = {**GATES[gate], **thresholds}
            passed, figure, said = MEASURES[gate](subject, needed)
        except Exception as error:
            # Whatever is wrong, a gate that cannot be measured does not pass.
            why = str(error) if isinstance(error, LookbookError) else repr(error)
            passed, figure = False, f"cannot be measured: {why.rstrip('.')}"
            said = listed(thresholds)
        results.append(Result(gate, passed, figure, said))
    against = None if subject.before == subject.chosen.tag else subject.before
    return Check(subject.chosen.tag, against, tuple(results))


def promote(
    release: str,
    alias: str = GATED,
    why: str = "",
    by: str | None = None,
    *,
    force: bool = False,
    evaluation: Said | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> releases.Move:
    """Point an alias at a release; `GATED` only once the release has passed its gates. What they said stays in the
    history of the alias.

    Args:
        force: also if it has not passed them.
        evaluation: as `check`.

    Raises:
        GateError: a gate does not let it pass.
        RegistryError: as `release.promote`; also if somebody has moved the alias while gates were asked.
    """
    chosen, before = releases.get(release), releases.aliases().get(alias)
    if force and not why.strip():
        raise RegistryError("A release that is forced needs a reason, which stays in the history.")
    require_loads(chosen)
    if alias != GATED or chosen.tag == before:
        return releases.promote(chosen.tag, alias, why, by)
    found = check(chosen.tag, evaluation, progress)
    if found.failed and not force:
        said = ". ".join(map(str, found.failed))
        raise GateError(
            f"{chosen.tag} does not pass {len(found.failed)} of {many(len(found.results), 'gate')} for {alias}. {said}. "
            f"Mend it, or take it anyway with `lookbook release promote {chosen.tag} --force --why REASON`.",
            found,
        )
    shown = {**found.to_dict(), "forced": bool(found.failed)}
    return releases.promote(chosen.tag, alias, why, by, expected=before, gates=shown)


class _Subject:
    """A release that wants to be in production, and what has been measured of it."""

    def __init__(
        self, chosen: releases.Release, given: Said | None, progress: Callable[[str], None]
    ) -> None:
        self.chosen, self._given, self.progress = chosen, given, progress
        self.before = releases.aliases().get(GATED)
        self.parts = chosen.open_parts()
        # Releases that are older than gates are asked what a release is asked today.
        self.gates: Said = chosen.settings.get("gates", RELEASE.gates)
        if given is not None and not self._judges(given):
            raise RegistryError(
                f"The evaluation does not judge {chosen.tag}: give what `lookbook evaluate --models {RELEASE_NAME},"
                f"{LIKE}{GATED} --base {LIKE}{GATED} --json` says of the same declaration and data, or leave it out."
            )

    @cached_property
    def against(self) -> releases.Release | None:
        """What is in production, unless that is it.

        Raises:
            RegistryError: it is damaged.
        """
        return None if self.before in (None, self.chosen.tag) else releases.get(str(self.before))

    def _judges(self, said: Said) -> bool:
        if self.as_it_is(said):
            return True
        data, declared = self.chosen.lineage.data_hash, self.chosen.settings
        told = said.get("data_hash") is not None and said.get("declared") is not None
        return (
            told and self.name_in(said) in said["models"] and not why_not_of(said, data, declared)
        )

    def as_it_is(self, said: Said) -> bool:
        """Whether its very parts were judged, on weeks that they have not seen."""
        judged = self.chosen.tag in said.get("releases", {}).values()
        return judged and min(said["weeks"], default="") >= str(self.chosen.lineage.data_cutoff)

    def name_in(self, said: Said) -> str:
        """The release's name in an evaluation: its own if it was judged as it is."""
        own = [n for n, tag in said.get("releases", {}).items() if tag == self.chosen.tag]
        return own[0] if own else judged_as(said, str(self.chosen.settings["ranker"]))

    @cached_property
    def like_production(self) -> bool:
        """Whether it answers as the one in production does: the same content, in the same way."""
        if self.against is None:
            return False
        return self.answers == _answers(self.against, self.against.open_parts())

    @cached_property
    def answers(self) -> Said:
        return _answers(self.chosen, self.parts)

    @property
    def compared(self) -> bool:
        """Whether another kind of release is in production."""
        return self.against is not None and not self.like_production

    def evaluation(self, *, compared: bool = False) -> tuple[Said, str]:
        """What is known of its quality, and its name there.

        Args:
            compared: also how that is in production, unless it is the same.

        Raises:
            LookbookError: it cannot be judged.
        """
        for said in (self._given, self._own):
            if said is not None and self._judges(said) and self._suffices(said, compared):
                return said, self.name_in(said)
        return self._measured, self.name_in(self._measured)

    @cached_property
    def _own(self) -> Said | None:
        return self.chosen.evaluation

    def _suffices(self, said: Said, compared: bool) -> bool:
        """Whether it is of as much as is asked for and, where there is another release in production, of that."""
        base, tags = said.get("base"), said.get("releases", {})
        at_most, weeks = said.get("at_most"), self._thresholds["weeks"]
        if at_most is not None and at_most < self._thresholds["customers"]:
            return False
        if self.as_it_is(said) or (base in tags and not str(base).startswith(LIKE)):
            weeks = 1  # there are few that nothing was learned from
        if len(said["weeks"]) < weeks:
            return False
        return not (compared and self.compared) or tags.get(base) == self.before

    @property
    def _thresholds(self) -> Said:
        return {**GATES["quality"], **self.gates.get("quality", {})}

    @cached_property
    def _measured(self) -> Said:
        """Beside production on weeks that neither has seen if there are such; else its declaration, trained before
        each week: beside production as it is on weeks that this has not seen, or beside a release like it."""
        weeks, settings = int(self._thresholds["weeks"]), declared_as(self.chosen)
        cutoff, end = self.chosen.lineage.data_cutoff, feature_tables.latest_build().end
        others = [self.against] if self.against is not None and self.compared else []
        seen = [found.lineage.data_cutoff for found in others]
        fresh = (end - max([cutoff, *seen])).days // DAYS_IN_WEEK
        unseen = min([(cutoff - until).days // DAYS_IN_WEEK for until in seen], default=0)
        names, last_day = [RELEASE_NAME], cutoff - timedelta(days=1)
        if fresh > 0:
            names, last_day, weeks = [self.chosen.tag], end - timedelta(days=1), min(weeks, fresh)
        elif unseen > 0:
            weeks = min(weeks, unseen)
        like = "" if fresh > 0 or unseen > 0 else LIKE
        names += [f"{like}{found.tag}" for found in others]
        meant = {
            "release": {**settings.to_dict(), "gates": {}},
            "answers": self.answers,
            "last_day": last_day.isoformat(),
            "weeks": weeks,
            "customers": self._thresholds["customers"],
            "names": names,
        }

        def judged() -> Said:
            self.progress(f"judging {' and '.join(names)} on {many(weeks, 'week')}")
            return evaluate(
                last_day,
                weeks=weeks,
                models=names,
                settings=settings,
                customers=int(self._thresholds["customers"]),
                base=names[-1] if others else None,
                progress=self.progress,
            ).to_dict()

        return _kept("evaluation", meant, judged)

    @cached_property
    def online(self) -> tuple[Recommender, list[str], OnlineFeatures, Versions]:
        """The release as the service would load it, and customers to ask for.

        Raises:
            LookbookError: it cannot be loaded, or the online store is older than it.
        """
        recommender, sample = load_recommender(self.chosen)
        moment = online_moment(refresh=True)
        require_fresh(self.chosen, moment)
        customers = [found["customer_id"] for found in sample]
        versions = Versions.now(self.chosen.tag, moment)
        return recommender, customers, OnlineFeatures(moment), versions


def _answers(chosen: releases.Release, parts: Mapping[str, Version]) -> Said:
    """What a release's recommendations depend on."""
    return {
        "settings": {n: value for n, value in chosen.settings.items() if n in ANSWERING},
        "parts": {role: part.content_hash for role, part in parts.items() if role != SEARCH_PART},
        "features": chosen.feature_services,
    }


def _kept(name: str, meant: Said, made: Callable[[], Said]) -> Said:
    """As `evidence.kept`, of the data that there are now."""
    data = feature_tables.latest_build().data_hash
    return kept(name, {"data": data, **meant}, made)


# --- the gates: passed, figure, what is needed --------------------------------------------------

Answer = tuple[bool, str, str]


def _finite(figure: float) -> float:
    """
    Raises:
        RegistryError: it is no number.
    """
    if not math.isfinite(figure):
        raise RegistryError(f"a figure of the evaluation is {figure}")
    return figure


def _quality(subject: _Subject, needed: Said) -> Answer:
    """The paired interval of its MAP@12 less production's, on the same customers and weeks.

    `may_lose`: the share of production's that it may surely not lose; `weeks`, `customers` (of each week): how many
    it is measured on.
    """
    words = f"at most {needed['may_lose']:.1%} below production, with 95% certainty"
    if subject.against is None:
        where = "it is in production itself" if subject.before else "nothing is in production yet"
        return True, where, words
    if subject.like_production:
        return True, f"the same parts as {subject.against.tag}", words
    said, name = subject.evaluation(compared=True)
    of_production = said["models"][said["base"]][MAIN]["mean"]
    found = said["differences"][name][MAIN]
    figure = (
        f"{MAIN} {said['models'][name][MAIN]['mean']:.4f} less {of_production:.4f} of {said['base']}: "
        f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}], {many(len(said['weeks']), 'week')}"
    )
    floor = -needed["may_lose"] * of_production
    return found["low"] >= floor, figure, f"{words}: the interval from {floor:+.4f} up"


def _parts(subject: _Subject, needed: Said) -> Answer:
    """Its very parts on weeks that they have learned from, which is easy, against what is known of the declaration on
    the same weeks: they may fall short by `may_lose`, on so many `customers` of each week.

    Who has learned from the last day leaves no week to be judged on, so the evaluation is of others, trained before each
    week. Parts that are not what it judged, or are damaged in the making, are found here.
    """
    said, name = subject.evaluation()
    declared = _finite(said["models"][name][MAIN]["mean"])
    floor = (1 - needed["may_lose"]) * declared
    words = f"{MAIN} of at least {floor:.4f} on weeks that it has seen"
    if subject.as_it_is(said):
        return True, "they were judged themselves", words
    weeks = sorted(map(date.fromisoformat, said["weeks"]))
    customers, tag = int(needed["customers"]), subject.chosen.tag
    meant = {"answers": subject.answers, "weeks": said["weeks"], "customers": customers}

    def judged() -> Said:
        last_day = weeks[-1] + timedelta(days=DAYS_IN_WEEK - 1)
        found = evaluate(
            last_day, weeks=len(weeks), models=[tag], customers=customers, may_have_seen=True
        )
        return {MAIN: found.models[tag][MAIN]["mean"]}

    found = _finite(_kept("parts", meant, judged)[MAIN])
    return found >= floor, f"{MAIN} {found:.4f}, and of its declaration {declared:.4f}", words


def _segments(subject: _Subject, needed: Said) -> Answer:
    """A floor of MAP@12 in each group of at least so many `customers`.

    `of_all`: the share of the mean over everybody that each group must have; `may_lose`: no group may surely (the
    whole paired interval) have lost more than this share of production's.
    """
    said, name = subject.evaluation(compared=True)
    floor = needed["of_all"] * _finite(said["models"][name][MAIN]["mean"])
    words = f"{MAIN} of at least {floor:.4f}"
    if subject.compared:
        words += f", and no more than {needed['may_lose']:.1%} surely lost against production"
    words += f", in every group of {many(int(needed['customers']), 'customer')} and more"
    groups = {
        f"{kind} {group}": found
        for kind, of_kind in said["segments"].items()
        for group, found in of_kind.items()
        if found["customers"] >= needed["customers"]
    }
    means = {g: _finite(found["models"][name][MAIN]["mean"]) for g, found in groups.items()}
    bad = []
    for group, found in groups.items():
        if means[group] < floor:
            bad.append(f"{group} has {means[group]:.4f}")
        if subject.compared:
            before = found["models"][said["base"]][MAIN]["mean"]
            lost = found["differences"][name][MAIN]
            if not lost["high"] >= -needed["may_lose"] * _finite(before):
                bad.append(
                    f"{group} has lost {-lost['mean']:.4f} [{-lost['high']:.4f}, {-lost['low']:.4f}] of {before:.4f}"
                )
    if bad:
        return False, ", ".join(bad), words
    if not means:
        return True, "no group is so large", words
    lowest = min(means, key=lambda group: means[group])
    figure = f"the lowest of {many(len(means), 'group')} is {lowest} with {means[lowest]:.4f}"
    return True, figure, words


def _calibration(subject: _Subject, needed: Said) -> Answer:
    """Purchases expected over purchases made, from `least` to `most`, and normalised entropy up to `entropy`."""
    said, name = subject.evaluation()
    found = said["rankers"][name]
    ratio, entropy = found[CALIBRATION]["mean"], found[ENTROPY]["mean"]
    passed = needed["least"] <= ratio <= needed["most"] and entropy <= needed["entropy"]
    return (
        passed,
        f"{ratio:.2f} purchases expected for each one made, normalised entropy {entropy:.3f}",
        f"from {needed['least']} to {needed['most']}, entropy up to {needed['entropy']}",
    )


def _coverage(subject: _Subject, needed: Said) -> Answer:
    """The share of articles on sale that anybody is shown, at `least`."""
    said, name = subject.evaluation()
    found = said["models"][name][COVERAGE]["mean"]
    words = f"at least {needed['least']:.1%}"
    return found >= needed["least"], f"{found:.1%} of the articles on sale are shown", words


def _parity(subject: _Subject, needed: Said) -> Answer:
    """All that the release reads online for so many `customers`, against the warehouse: at most so many values
    `different`."""
    recommender, customers, features, versions = subject.online
    with tempfile.TemporaryDirectory(prefix="lookbook-parity-") as room:
        log = ServedLog(Settings(sample=1, megabytes=1e6, seconds=0), Path(room))
        for customer in customers[: int(needed["customers"])]:
            with log.request(features, versions) as logged:
                moment = logged.moment or versions.moment
                recommender.recommend([customer], logged, moment, SHOWN)
        log.close()
        found = parity.check(log=Path(room), examples=1)
    words = f"at most {many(int(needed['different']), 'value')} different"
    figure = ". ".join([str(found).rstrip("."), *map(str, found.differences[:1])])
    total = found.total
    return total.compared > 0 and total.different <= needed["different"], figure, words


def _leaks(subject: _Subject, needed: Said) -> Answer:
    """The leak lab on the feature services of the release, with so many `rows`: at most so many `leaks`."""
    services, rows = sorted(subject.chosen.feature_services), int(needed["rows"])
    meant = {
        "services": {name: schema_hash(name) for name in services},
        "rows": rows,
    }

    def found() -> Said:
        report = leak_lab.check(services, rows, subject.progress)
        return {"leaks": [str(leak) for leak in report.leaks]}

    leaks = _kept("leak-lab", meant, found)["leaks"]
    figure = f"{many(len(leaks), 'leak')} in {', '.join(services)}"
    if leaks:
        figure += f", the first: {leaks[0]}"
    return len(leaks) <= needed["leaks"], figure, f"at most {many(int(needed['leaks']), 'leak')}"


def _latency(subject: _Subject, needed: Said) -> Answer:
    """The `share` of `requests`, one customer each, that take at most so many `milliseconds` on this machine, from
    the online store and memory; each the quicker of two, for other work on it is no fault of the release."""
    recommender, customers, features, versions = subject.online

    def once(customer: str) -> float:
        started = perf_counter()
        recommender.recommend([customer], features, features.moment or versions.moment, SHOWN)
        return 1e3 * (perf_counter() - started)

    requests = int(needed["requests"])
    took = [min(once(customers[n % len(customers)]) for _ in range(2)) for n in range(requests)]
    found = float(np.quantile(took, needed["share"]))
    return (
        found <= needed["milliseconds"],
        f"{needed['share']:.0%} of {many(requests, 'answer')} within {found:.1f} ms, the median {np.median(took):.1f} ms",
        f"{needed['share']:.0%} within {needed['milliseconds']:g} ms",
    )


def _index_recall(subject: _Subject, needed: Said) -> Answer:
    """What each index of nearest vectors found of the exact answer when it was built, at `least`."""
    found = {
        role: recall
        for role, part in subject.parts.items()
        if (recall := recorded_recall(part.path)) is not None
    }
    words = f"at least {needed['least']}"
    if not found:
        return True, "no part has an index", words
    worst = min(found, key=lambda role: found[role])
    return found[worst] >= needed["least"], f"{worst} finds {found[worst]:.3f}", words


def _size(subject: _Subject, needed: Said) -> Answer:
    """All files of all parts, up to so many `megabytes` (10^6 bytes)."""
    sizes = {role: part.size / 1e6 for role, part in subject.parts.items()}
    largest = max(sizes, key=lambda role: sizes[role])
    total = sum(sizes.values())
    figure = f"{total:,.1f} MB, the largest part {largest} with {sizes[largest]:,.1f}"
    return total <= needed["megabytes"], figure, f"up to {needed['megabytes']:,g} MB"


MEASURES: dict[str, Callable[[_Subject, Said], Answer]] = {
    "quality": _quality,
    "parts": _parts,
    "segments": _segments,
    "calibration": _calibration,
    "coverage": _coverage,
    "parity": _parity,
    "leak_lab": _leaks,
    "latency": _latency,
    "index_recall": _index_recall,
    "size": _size,
}
