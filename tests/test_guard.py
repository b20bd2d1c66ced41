"""The guard says which release a change to features would break, and lets new versions through."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jinja2 import FileSystemLoader

from feature_repo import feature_code, feature_sql, places
from pipelines.cli import main
from pipelines.features import View, declared_services, hash_of, schema_hash
from pipelines.model_registry import composing, guard, release


@pytest.fixture
def now(shop: Path) -> dict[str, dict[str, View]]:
    return declared_services()


@pytest.fixture
def other_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the SQL to change."""
    folder = tmp_path / "sql"
    for file in feature_sql.SQL_FOLDER.rglob("*.sql"):
        copy = folder / file.relative_to(feature_sql.SQL_FOLDER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    monkeypatch.setattr(feature_sql, "SQL_FOLDER", folder)
    monkeypatch.setattr(feature_sql._environment, "loader", FileSystemLoader(folder))
    return folder


@pytest.fixture
def other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the modules whose functions views are made of, to change."""
    folder = tmp_path / feature_code.PACKAGE.name
    folder.mkdir()
    for file in feature_code.PACKAGE.glob("*.py"):
        shutil.copy2(file, folder)
    monkeypatch.setattr(feature_code, "PACKAGE", folder)
    return folder


def blocked(services: dict[str, dict[str, View]] | None = None) -> set[tuple[str, str]]:
    return {(one.alias, one.view or one.service) for one in guard.check(services)}


def test_what_is_declared_is_what_is_registered_and_was_trained_on(
    now: dict[str, dict[str, View]],
) -> None:
    for name, views in now.items():
        assert hash_of(views) == schema_hash(name)
    production = release.get("production")
    assert set(production.feature_services) >= {"ranking", "customer_state"}
    for name, trained_on in production.feature_services.items():
        assert trained_on == hash_of(now[name])
    for part in production.open_parts().values():
        if part.lineage.feature_service:
            assert set(part.lineage.feature_views) == set(now[part.lineage.feature_service])
    assert guard.check(now) == []
    assert guard.check() == []


def test_sql_that_means_something_else_is_blocked_and_layout_is_not(
    shop: Path, other_sql: Path
) -> None:
    file = other_sql / "features" / "customer_price.sql"
    file.write_text("-- A remark.\n\n" + file.read_text().replace("\n", "\n  "))
    assert guard.check() == []
    file.write_text(file.read_text() + "\n-- more\nLIMIT 5")
    views = {one.view for one in guard.check()}
    assert "customer_price" in views
    # And what is made of it.
    assert "customer_article_now" in views
    assert "customer_activity" not in views
    (said,) = [
        str(one)
        for one in guard.check()
        if one.view == "customer_price" and one.service == "ranking"
    ]
    assert said.startswith("production (release:")
    assert "whose SQL, function or declaration means something else" in said
    assert "typical_price" in said


def test_a_change_of_staging_reaches_every_view_that_reads_it(shop: Path, other_sql: Path) -> None:
    file = other_sql / "staging" / "prices.sql"
    file.write_text(file.read_text() + "\nLIMIT 5")
    views = {one.view for one in guard.check()}
    assert {"customer_price", "article_activity"} <= views
    assert not views & {"customer_profile", "calendar"}


@pytest.mark.parametrize(
    ("file", "before", "after", "of"),
    [
        # Days that are added go another way than a whole build, and a large table is built in parts.
        ("macros.sql", "(day + 1 >= {{ first }}", "(day + 2 >= {{ first }}", "customer_activity"),
        ("macros.sql", "WHERE {{ part }}", "WHERE NOT {{ part }}", "customer_article"),
        ("staging/prices.sql", "AS DATE) - 89", "AS DATE) - 80", "customer_price"),
        ("features/article_activity.sql", "AND touched AND", "AND", "recency"),
    ],
)
def test_sql_for_a_few_days_or_a_part_counts_as_that_of_the_whole(
    shop: Path, other_sql: Path, file: str, before: str, after: str, of: str
) -> None:
    text = (other_sql / file).read_text()
    assert before in text
    (other_sql / file).write_text(text.replace(before, after, 1))
    assert of in {one.view for one in guard.check()}


def test_texts_in_sql_are_no_remarks_and_their_blanks_no_layout() -> None:
    assert feature_sql.meaning("SELECT  1 -- it's one\n, 2\n") == "SELECT 1 , 2"
    assert feature_sql.meaning("SELECT 'a  -- b'") == "SELECT 'a  -- b'"
    assert feature_sql.meaning("SELECT 'it''s  -- b' -- c") == "SELECT 'it''s  -- b'"


def test_a_function_is_blocked_with_what_it_reaches_and_nothing_beside(
    shop: Path, other_code: Path
) -> None:
    file = other_code / "moment_features.py"
    source = file.read_text()

    def changed(before: str, after: str) -> set[str]:
        assert before in source
        file.write_text(source.replace(before, after))
        return {one.view for one in guard.check()}

    assert changed("weekday >= 5", "weekday >= 4") == {"calendar"}
    assert changed("# 1970-01-01 was a Thursday.", "# Thursday.") == set()
    assert changed('"""weekday (Monday is 0)', '"""The weekday, where Monday is 0') == set()
    assert changed("SEASONS = (", "SEASONS = (  # of the north\n    ") == set()
    # What a new view brings along, a helper of a name that others use for their variables too.
    news = "\nHOURS = 24\n\n\ndef missing(values):\n    return values // HOURS\n"
    assert changed("\nSHARED = 4\n", f"\nSHARED = 4\n{news}") == set()
    assert changed("SECONDS_IN_DAY = 86_400", "SECONDS_IN_DAY = 86_401") == {
        "recency",
        "customer_article_now",
    }


def test_a_constant_of_another_module_counts(shop: Path, other_code: Path) -> None:
    file = other_code / "windows.py"
    file.write_text(file.read_text().replace("DECAY_DAYS = 30.0", "DECAY_DAYS = 31.0"))
    assert {one.view for one in guard.check()} == {"customer_article_now"}


def test_what_a_view_does_around_its_function_counts(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_repo.on_demand import recency

    transformation = recency.feature_transformation
    source = transformation.udf_string

    def changed(before: str, after: str) -> set[str]:
        assert before in source
        monkeypatch.setattr(transformation, "udf_string", source.replace(before, after))
        return {one.view for one in guard.check()}

    assert changed("index=inputs.index)", "index=inputs.index) * 2") == {"recency"}
    assert changed("recency(inputs),", "recency(inputs) | {'overdue': 0},") == {"recency"}
    assert changed("    return", "    # A remark.\n    return") == set()
    assert changed("Days (with fractions)", "Days") == set()


def test_what_is_declared_of_a_view_counts(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_repo.views.customers import customer_activity, customer_recent, customer_session

    def changed(what: Any, name: str, value: object) -> set[str]:
        with monkeypatch.context() as patch:
            patch.setattr(what, name, value)
            return {one.view for one in guard.check()}

    source = customer_activity.batch_source
    with_it = {"customer_activity", "recency", "customer_article_now"}
    assert changed(customer_activity, "ttl", timedelta(days=7)) == with_it
    assert changed(source, "table", "features.customer_activity_2") == with_it
    assert changed(source, "timestamp_field", "created_at") == with_it
    assert changed(source, "created_timestamp_column", "") == with_it
    assert changed(source, "valid_to_field", "") == with_it
    assert changed(source, "field_mapping", {"age": "basket_size"}) == with_it
    article = customer_activity.entity_columns[0].__class__(
        name="article_id", dtype=customer_activity.entity_columns[0].dtype
    )
    assert changed(customer_activity, "entity_columns", [article]) == with_it
    assert changed(customer_activity, "description", "Another.") == set()
    source = customer_recent.batch_source
    assert changed(source, "query", f"{source.query} LIMIT 5") == {"customer_recent"}
    assert changed(source, "query", f"{source.query}\n-- A remark.") == set()
    fewer = customer_session.tags | {"keep": "5"}
    assert changed(customer_session, "tags", fewer) == {"customer_session"}


def test_a_fingerprint_is_the_same_in_another_process_and_place(
    now: dict[str, dict[str, View]], tmp_path: Path
) -> None:
    for room in ("feature_repo", "pipelines"):
        shutil.copytree(places.PROJECT / room, tmp_path / "project" / room)
    code = (
        "import json; from pipelines.features import declared_services, hash_of\n"
        "print(json.dumps({name: hash_of(of) for name, of in declared_services().items()}))"
    )
    elsewhere = {"LOOKBOOK_HOME": str(tmp_path / "nowhere"), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "project",
        env=os.environ | elsewhere | {"PYTHONPATH": str(tmp_path / "project")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {name: hash_of(views) for name, views in now.items()}


def test_fields_and_services_that_change_are_named(now: dict[str, dict[str, View]]) -> None:
    ranking = dict(now["ranking"])
    price = ranking["customer_price"]
    first, *rest = price.fields

    def check(views: dict[str, View] | None) -> list[guard.Blocked]:
        services = {name: found for name, found in now.items() if name != "ranking"}
        found = guard.check(services if views is None else services | {"ranking": views})
        assert {one.service for one in found} <= {"ranking"}
        return found

    (gone,) = check(
        ranking | {"customer_price": replace(price, fields={n: price.fields[n] for n in rest})}
    )
    assert (gone.view, gone.features) == ("customer_price", (first,))
    assert "of which features are gone" in str(gone)
    (typed,) = check(
        ranking | {"customer_price": replace(price, fields=price.fields | {first: "String"})}
    )
    assert typed.features == (first,)
    assert "another type" in str(typed)
    (without,) = check({name: view for name, view in ranking.items() if name != "calendar"})
    assert without.view == "calendar"
    (more,) = check(ranking | {"customer_taste": now["everything"]["customer_taste"]})
    assert "which holds more than it was trained on" in str(more)
    assert any(name.startswith("customer_taste__") for name in more.features)
    (nothing,) = check(None)
    assert "which is gone" in str(nothing)
    (order,) = check(dict(reversed(ranking.items())))
    assert "another order" in str(order)


def test_what_no_alias_needs_may_change_and_a_new_version_may_come(
    now: dict[str, dict[str, View]],
) -> None:
    changed = {name: views for name, views in now.items() if name != "everything"}
    assert guard.check(changed) == []
    another = replace(now["ranking"]["customer_price"], definition="another")
    beside = {"ranking_2": now["ranking"] | {"customer_price_2": another}}
    assert guard.check(now | beside) == []


def test_every_alias_is_guarded(own_shop: Path) -> None:
    tag = composing.create_release().tag
    release.promote(tag, "shadow")
    services = declared_services()
    services.pop("ranking")
    first = release.resolve("production")
    assert {(one.alias, one.release) for one in guard.check(services)} == {
        ("production", first),
        ("shadow", tag),
    }
    release.promote(first, "shadow")
    assert {one.alias for one in guard.check(services)} == {"production and shadow"}


def test_the_verb_ends_with_status_1_where_a_change_is_in_the_way(
    shop: Path, other_sql: Path
) -> None:
    done = CliRunner().invoke(main, ["features", "guard"])
    assert done.exit_code == 0
    assert "aliases: production" in done.stdout
    file = other_sql / "features" / "customer_price.sql"
    file.write_text(file.read_text() + "\nLIMIT 5")
    done = CliRunner().invoke(main, ["features", "guard", "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout.splitlines()[-1])["blocked"]
    assert "customer_price" in {one["view"] for one in found}


def _without_ranking() -> dict[str, dict[str, View]]:
    return {name: views for name, views in declared_services().items() if name != "ranking"}


def test_a_damaged_file_hides_no_change(own_shop: Path) -> None:
    before = guard.check(_without_ranking())
    assert before
    for part in release.get("production").open_parts().values():
        file = next(one for one in sorted(part.path.rglob("*")) if one.is_file())
        file.write_bytes(file.read_bytes()[:-1])
    # And the release's own.
    file = next((own_shop / "models" / "models" / "release").glob("*/files/release.json"))
    file.write_bytes(file.read_bytes()[:-1])
    assert guard.check(_without_ranking()) == before
    assert guard.check() == []


@pytest.mark.parametrize("whose", ["release", "repurchase"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "manifest.json cannot be read"),
        (lambda file: file.unlink(), "manifest.json is missing"),
        (lambda file: shutil.rmtree(file.parent), "is not in the registry"),
    ],
)
def test_a_record_that_cannot_be_read_is_in_the_way(
    own_shop: Path, whose: str, damage: Callable[[Path], None], said: str
) -> None:
    production = release.get("production")
    tag = production.tag if whose == "release" else production.parts[whose]
    damage(own_shop / "models" / "models" / tag.replace(":", "/") / "manifest.json")
    (found,) = guard.check()
    assert (found.alias, found.release, found.part) == ("production", production.tag, whose)
    assert str(found).startswith(f"production ({production.tag}) cannot be guarded: {tag}")
    assert said in str(found)
    assert CliRunner().invoke(main, ["features", "guard"]).exit_code == 1


def test_no_registry_is_told_from_one_in_which_nothing_has_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded() -> tuple[int, str]:
        done = CliRunner().invoke(main, ["features", "guard"])
        return done.exit_code, done.output

    status, said = guarded()
    assert status == 1
    assert said.startswith(f"Error: There is no registry at {home / 'models'}: ")
    # A shop that has trained nothing yet.
    home.mkdir()
    (home / "warehouse.duckdb").touch()
    status, said = guarded()
    assert status == 0
    assert said.startswith(f"There is no registry at {home / 'models'} yet")
    # Nobody has said that there is any.
    monkeypatch.delenv("LOOKBOOK_HOME")
    monkeypatch.setattr(places, "PROJECT", home / "project")
    status, said = guarded()
    assert status == 0
    assert said.startswith(f"There is no registry at {home / 'project' / '.lookbook' / 'models'}")
    assert [file.name for file in home.iterdir()] == ["warehouse.duckdb"]


def test_a_registry_without_its_aliases_is_refused(own_shop: Path) -> None:
    (own_shop / "models" / "aliases.sqlite").unlink()
    done = CliRunner().invoke(main, ["features", "guard"])
    assert done.exit_code == 1
    assert "has releases and no aliases.sqlite" in done.output
