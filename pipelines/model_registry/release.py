"""Releases, which pin versions that belong together, and the aliases that say which one serves.

A release is itself a version in the store, named `release`, holding one JSON file. Aliases are
the rows of one SQLite file to which rows are only ever added: an alias points at the release of
its newest row, and every earlier row stays as history.

`previous` is kept by the registry: whenever `production` moves, forward or back, `previous`
points at what production was just before.
"""

import dataclasses
import json
import os
import pwd
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any

from feature_repo import places
from pipelines.model_registry import mlflow_runs
from pipelines.model_registry.registry import (
    Lineage,
    RegistryError,
    Version,
    check_name,
    list_versions,
    log,
    open_version,
    plain,
    save_version,
    versions_stay,
)

NAME = "release"
FILE = "release.json"
EVALUATION = "evaluation.json"
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS moves (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        alias TEXT NOT NULL,
        release TEXT NOT NULL,
        before TEXT,
        moved_at TEXT NOT NULL,
        "by" TEXT NOT NULL,
        why TEXT NOT NULL,
        action TEXT NOT NULL CHECK (action IN ('promote', 'rollback')),
        gates TEXT
    )""",
    "CREATE INDEX IF NOT EXISTS moves_of_alias ON moves (alias, seq)",
    """CREATE TRIGGER IF NOT EXISTS moves_are_not_changed BEFORE UPDATE ON moves
        BEGIN SELECT RAISE(ABORT, 'the history of aliases is only added to'); END""",
    """CREATE TRIGGER IF NOT EXISTS moves_are_not_deleted BEFORE DELETE ON moves
        BEGIN SELECT RAISE(ABORT, 'the history of aliases is only added to'); END""",
    # INSERT OR REPLACE deletes without the trigger of DELETE.
    """CREATE TRIGGER IF NOT EXISTS moves_are_not_replaced BEFORE INSERT ON moves
        WHEN NEW.seq IN (SELECT seq FROM moves)
        BEGIN SELECT RAISE(ABORT, 'the history of aliases is only added to'); END""",
    # Only here does a row without a number have the one that it gets.
    """CREATE TRIGGER IF NOT EXISTS moves_come_last AFTER INSERT ON moves
        WHEN NEW.seq < (SELECT max(seq) FROM moves)
        BEGIN SELECT RAISE(ABORT, 'the history of aliases is only added to'); END""",
)
COLUMNS = 'seq, alias, release, before, moved_at, "by", why, action, gates'


@dataclass(frozen=True)
class Release:
    """What is served as one thing: exact versions by role, and the features they need.

    `feature_services` maps each service that a part reads to its schema hash; `aliases` are
    those that pointed here when the release was read.
    """

    tag: str
    parts: dict[str, str]
    settings: dict[str, Any]
    feature_services: dict[str, str | None]
    metrics: dict[str, Any]
    lineage: Lineage
    created: datetime
    path: Path
    aliases: tuple[str, ...] = ()

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The evaluation that it was created with (`Evaluation.to_dict`), if any."""
        file = self.path / EVALUATION
        found: dict[str, Any] | None = json.loads(file.read_bytes()) if file.exists() else None
        return found

    def open_parts(self) -> dict[str, Version]:
        """Every part by role, its files checked.

        Raises:
            RegistryError: a part is unknown or damaged.
        """
        opened = {}
        for role, tag in self.parts.items():
            try:
                opened[role] = open_version(tag)
            except RegistryError as error:
                raise RegistryError(f"{self.tag} cannot be used, its {role}: {error}") from error
        return opened


@dataclass(frozen=True)
class Move:
    """One row of an alias's history; `str()` says it in a sentence.

    A promotion to where the alias already points adds no row: it answers with the newest row's
    number and time, `before` equal to `release`, and `changed` False.
    """

    seq: int
    alias: str
    release: str
    before: str | None
    moved_at: datetime
    by: str
    why: str
    action: str
    gates: dict[str, Any] | None = None
    """What the release showed (`gates.Check.to_dict`, and whether it was `forced`); None if nothing was asked."""

    @property
    def changed(self) -> bool:
        return self.release != self.before

    def __str__(self) -> str:
        if not self.changed:
            return f"{self.alias} already points at {self.release}; nothing moved."
        was = f", before at {self.before}" if self.before else ""
        past = f", {self.shown}" if self.failed else ""
        return f"{self.alias} points at {self.release}{was} ({self.action} by {self.by}{past})."

    @property
    def failed(self) -> list[str]:
        """The gates that did not let the release pass."""
        asked = (self.gates or {}).get("results", ())
        return [result["gate"] for result in asked if not result["passed"]]

    @property
    def shown(self) -> str:
        """What gates said, in short; nothing if none was asked."""
        if self.failed:
            return f"forced past {', '.join(self.failed)}"
        if self.gates is None:
            return ""
        return f"passed {len(self.gates['results'])}" if self.gates["results"] else "asked nothing"


@versions_stay()
def create(
    parts: Mapping[str, str],
    settings: Mapping[str, Any],
    lineage: Lineage,
    metrics: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
) -> Release:
    """Register a release of the given parts (role -> tag; a bare name pins its newest version).

    The lineage's parents become the parts. An evaluation of it stays with it.

    Raises:
        RegistryError: no part, a part that is unknown, damaged or itself a release, two parts
            made for different schemas of one feature service, or a part that has seen days from
            the release's cutoff on.
    """
    if not parts:
        raise RegistryError("A release needs at least one part: name a retriever or a ranker.")
    opened = {role: open_version(tag) for role, tag in parts.items()}
    services: dict[str, str | None] = {}
    for role, part in opened.items():
        service, schema = part.lineage.feature_service, part.lineage.feature_schema_hash
        if part.tag.partition(":")[0] == NAME:
            raise RegistryError(
                f"The {role} {part.tag} is itself a release: name the model versions inside it."
            )
        if service and services.setdefault(service, schema) != schema:
            raise RegistryError(
                f"The {role} {part.tag} was made for schema {schema} of the feature service "
                f"{service}, another part for {services[service]}: train both on the same features."
            )
        if part.lineage.data_cutoff > lineage.data_cutoff:
            raise RegistryError(
                f"The {role} {part.tag} has learned from days up to {part.lineage.data_cutoff}, "
                f"after the release's cutoff {lineage.data_cutoff}: choose an earlier version or "
                "a later cutoff."
            )
    pinned = {role: part.tag for role, part in opened.items()}
    content = plain(
        {"parts": pinned, "settings": settings, "feature_services": services}, "release"
    )

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(content, indent=2), encoding="utf-8")
        if evaluation is not None:
            judged = plain(evaluation, "evaluation")
            (folder / EVALUATION).write_text(json.dumps(judged), encoding="utf-8")

    parents = tuple(dict.fromkeys(pinned.values()))
    tag = save_version(NAME, write, dataclasses.replace(lineage, parents=parents), metrics)
    mlflow_runs.log_release(tag)
    return get(tag)


def get(tag_or_alias: str) -> Release:
    """A release by its tag (`release:...`) or by an alias (`production`).

    Its own file is checked; `open_parts` checks the parts.

    Raises:
        RegistryError: no such alias or release, or its file is damaged.
    """
    tag = tag_or_alias if ":" in tag_or_alias else resolve(tag_or_alias)
    name = tag.partition(":")[0]
    if name != NAME and list_versions(name):
        raise RegistryError(
            f"{tag} is a model version, not a release: `lookbook release create` makes one of it."
        )
    return read(open_version(tag), aliases())


def list_releases() -> list[Release]:
    """All releases, newest first; a damaged one is left out with a warning in the log."""
    pointing = aliases()
    found = []
    for version in list_versions(NAME):
        try:
            found.append(read(open_version(version.tag), pointing))
        except RegistryError as error:
            # What was let go meanwhile is not damaged.
            if version.path.exists():
                log.warning("%s", error)
    return found


def resolve(alias: str) -> str:
    """The tag an alias points at: one indexed read, cheap enough to ask every second.

    Raises:
        RegistryError: the alias points nowhere; the text lists those that do.
    """
    with _database() as con:
        newest = _newest(con, alias)
    if newest is None and alias == "production" and not list_versions(NAME):
        raise RegistryError(
            "There is no release yet, so nothing is in production: run `lookbook train`, "
            "`lookbook release create`, then `lookbook release promote release:latest`."
        )
    if newest is None:
        raise RegistryError(
            f"No alias {alias!r} exists (known: {', '.join(aliases()) or 'none yet'}): "
            f"point it at a release with `lookbook release promote RELEASE --alias {alias}`."
        )
    return newest.release


def aliases() -> dict[str, str]:
    """Where every alias points now."""
    with _database() as con:
        return dict(
            con.execute(
                "SELECT alias, release FROM moves WHERE seq IN "
                "(SELECT max(seq) FROM moves GROUP BY alias) ORDER BY alias"
            )
        )


def ever_pointed_at() -> list[str]:
    """Every release that an alias points at or ever pointed at."""
    with _database() as con:
        return [tag for (tag,) in con.execute("SELECT DISTINCT release FROM moves ORDER BY 1")]


def history(alias: str = "production") -> list[Move]:
    """Every move of an alias, oldest first; empty for an alias that never pointed anywhere."""
    with _database() as con:
        return [
            _move(row)
            for row in con.execute(
                f"SELECT {COLUMNS} FROM moves WHERE alias = ? ORDER BY seq",
                [alias],
            )
        ]


@versions_stay()
def promote(
    release: str,
    alias: str = "production",
    why: str = "",
    by: str | None = None,
    expected: str | EllipsisType | None = ...,
    gates: Mapping[str, Any] | None = None,
) -> Move:
    """Point an alias at a release that exists and whose every file has just been checked.

    It asks for nothing else: what a release must show before, `gates.promote` does.

    Args:
        release: a release's tag, or another alias (`shadow`).
        expected: the tag the alias must still point at, None for nowhere yet; left out, the
            promotion goes ahead whatever it finds.
        gates: what the release has shown, to be kept with the move.

    Returns:
        The move; `changed` is False, and no row was added, where the alias already pointed there.

    Raises:
        RegistryError: the release or a part is unknown or damaged, the alias is invalid or kept
            by the registry, or someone else moved it since `expected`.
    """
    check_name(alias, "alias")
    _refuse_previous(alias)
    target = get(release)
    target.open_parts()

    def unchanged_since(newest: Move | None) -> None:
        now = newest.release if newest else None
        if expected is not ... and now != expected:
            raise RegistryError(
                f"{alias} points at {now or 'nothing'}, not at {expected or 'nothing'} as "
                "expected: see `lookbook release list`, then promote again if it is still right."
            )

    return _point(alias, target.tag, "promote", by, why, unchanged_since, gates)


@versions_stay()
def rollback(
    alias: str = "production", why: str = "", by: str | None = None, expected: str | None = None
) -> Move:
    """Undo the last promotion of an alias that is not undone yet.

    Promotions are undone like edits in a text: rolling back again goes one further, down to the
    first; a promotion in between starts anew from there. After A, B, C: rollback gives B,
    promoting D gives D, and then rollbacks give B, A, and an error.

    Args:
        expected: the tag that it must go back to; left out, it goes where it goes.

    Raises:
        RegistryError: nothing to go back to, the earlier release is damaged, or someone else
            moved the alias at the same moment.
    """
    _refuse_previous(alias)
    moves = history(alias)
    target = get(_undone(alias, moves))
    target.open_parts()

    def unmoved(newest: Move | None) -> None:
        if newest != moves[-1] or expected not in (None, target.tag):
            raise RegistryError(
                f"{alias} was moved by someone else at the same moment: "
                "see `lookbook release list`, then roll back again if it is still right."
            )

    return _point(alias, target.tag, "rollback", by, why, unmoved)


def before(alias: str = "production") -> str:
    """The release that a rollback of the alias would go back to.

    Raises:
        RegistryError: there is none.
    """
    return _undone(alias, history(alias))


def _undone(alias: str, moves: Sequence[Move]) -> str:
    standing: list[str] = []  # the promotions not undone, oldest first
    for move in moves:
        if move.action == "promote":
            standing.append(move.release)
        else:
            standing.pop()
    if len(standing) < 2:
        state = f"{standing[0]} is its first" if standing else "it points at none yet"
        raise RegistryError(
            f"{alias} has no earlier release to go back to, {state}: "
            "use `lookbook release promote` instead."
        )
    return standing[-2]


def _refuse_previous(alias: str) -> None:
    if alias == "previous":
        raise RegistryError(
            "previous follows production by itself: promote or roll back production instead."
        )


def read(version: Version, pointing: Mapping[str, str]) -> Release:
    """The release that a version holds.

    Args:
        pointing: the tag that each alias points at.

    Raises:
        RegistryError: it holds none.
    """
    try:
        content = json.loads((version.path / FILE).read_bytes())
        texts = list(content["parts"].values())
        tables = [content["settings"], content["feature_services"]]
        if not all(isinstance(tag, str) for tag in texts):
            raise TypeError("a part is not named by its tag")
        if not all(isinstance(table, dict) for table in tables):
            raise TypeError("settings and feature services are tables")
        return Release(
            tag=version.tag,
            parts=content["parts"],
            settings=content["settings"],
            feature_services=content["feature_services"],
            metrics=version.metrics,
            lineage=version.lineage,
            created=version.created,
            path=version.path,
            aliases=tuple(alias for alias, tag in pointing.items() if tag == version.tag),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RegistryError(
            f"{version.tag} is refused: {FILE} does not describe a release ({error!r}); "
            "make a new one with `lookbook release create`."
        ) from error


def _point(
    alias: str,
    release: str,
    action: str,
    by: str | None,
    why: str,
    check: Callable[[Move | None], None],
    gates: Mapping[str, Any] | None = None,
) -> Move:
    """Add the row that moves an alias, and the row of `previous`, in one transaction.

    `check` sees the newest row once no other process can move the alias, and raises to refuse.
    """
    shown = None if gates is None else json.dumps(gates)
    stamp = (datetime.now(UTC).isoformat(), by or _user(), why, action, shown)
    with _database() as con:
        con.execute("BEGIN IMMEDIATE")
        newest = _newest(con, alias)
        check(newest)
        if newest and newest.release == release:
            return dataclasses.replace(newest, before=release)
        seq = _insert(con, alias, release, stamp)
        if alias == "production" and newest:
            # The gates were asked of what comes, not of what goes.
            _insert(con, "previous", newest.release, (*stamp[:-1], None))
        con.execute("COMMIT")
    before = newest.release if newest else None
    previous = {"previous": before} if alias == "production" and before else {}
    mlflow_runs.log_aliases({alias: release, **previous})
    return _move((seq, alias, release, before, *stamp))


def _insert(
    con: sqlite3.Connection, alias: str, release: str, stamp: tuple[str | None, ...]
) -> int:
    newest = _newest(con, alias)
    before = newest.release if newest else None
    row = con.execute(
        f"INSERT INTO moves ({COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
        [alias, release, before, *stamp],
    )
    return int(row.lastrowid or 0)


def _newest(con: sqlite3.Connection, alias: str) -> Move | None:
    row = con.execute(
        f"SELECT {COLUMNS} FROM moves WHERE alias = ? ORDER BY seq DESC LIMIT 1",
        [alias],
    ).fetchone()
    return _move(row) if row else None


def _move(row: tuple[Any, ...]) -> Move:
    seq, alias, release, before, moved_at, by, why, action, gates = row
    when, shown = datetime.fromisoformat(moved_at), None if gates is None else json.loads(gates)
    return Move(seq, alias, release, before, when, by, why, action, shown)


def _user() -> str:
    """Not what LOGNAME says, which anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return "unknown"


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    """The alias history; a transaction left open at the end is rolled back.

    Raises:
        RegistryError: the file cannot be used.
    """
    file = places.models_folder() / "aliases.sqlite"
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as con:
            for statement in SCHEMA:
                con.execute(statement)
            _bring_up_to_date(con)
            yield con
    except sqlite3.Error as error:
        raise RegistryError(
            f"The alias history {file} cannot be used ({error}): check the disk and the file's "
            "owner, or restore it from a backup."
        ) from error


def _bring_up_to_date(con: sqlite3.Connection) -> None:
    """Add the column of the gates to a history that is older than they are."""

    def lacks_gates() -> bool:
        return "gates" not in [name for _, name, *_ in con.execute("PRAGMA table_info(moves)")]

    if lacks_gates():
        con.execute("BEGIN IMMEDIATE")
        # Another process may have been quicker.
        if lacks_gates():
            con.execute("ALTER TABLE moves ADD COLUMN gates TEXT")
        con.execute("COMMIT")
