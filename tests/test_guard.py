"""The guard says which release a change to features would break, and lets new versions through."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from feature_repo import feature_sql, moment_features
from pipelines import features
from pipelines.cli import main
from pipelines.features import View, declared_services, hash_of, schema_hash
from pipelines.model_registry import guard, publishing, release


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
    assert "whose SQL or function means something else" in said
    assert "typical_price" in said


def test_a_change_of_staging_reaches_every_view_that_reads_it(shop: Path, other_sql: Path) -> None:
    file = other_sql / "staging" / "prices.sql"
    file.write_text(file.read_text() + "\nLIMIT 5")
    views = {one.view for one in guard.check()}
    assert {"customer_price", "article_activity"} <= views
    assert not views & {"customer_profile", "calendar"}


def test_a_function_is_blocked_with_its_helpers_and_no_other(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(moment_features.__file__).read_text()

    def changed(before: str, after: str) -> set[str]:
        assert before in source
        monkeypatch.setattr(features.inspect, "getsource", lambda _: source.replace(before, after))
        return {one.view for one in guard.check()}

    assert changed("weekday >= 5", "weekday >= 4") == {"calendar"}
    assert changed("# 1970-01-01 was a Thursday.", "# Thursday.") == set()
    assert changed("SECONDS_IN_DAY = 86_400", "SECONDS_IN_DAY = 86_401") >= {"recency", "calendar"}


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
    tag = publishing.create_release().tag
    release.promote(tag, "shadow")
    services = declared_services()
    services.pop("ranking")
    assert {(one.alias, one.release) for one in guard.check(services)} == {
        ("production", release.resolve("production")),
        ("shadow", tag),
    }


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
