"""The leak lab: what is declared passes, and what is broken on purpose is found where it is broken."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.types import Int64, String

from feature_repo import feature_sql, moment_features
from feature_repo.entities import article, customer, postal_code
from feature_repo.feature_sql import render
from feature_repo.stores import point_in_time
from feature_repo.stores.duckdb_source import DuckDBSource
from pipelines import features
from pipelines.cli import main
from pipelines.data.load import load
from pipelines.data.synthetic import synthesize
from pipelines.leak_lab import CHECKS, FEWEST_LABELS, Leak, Report, _auc, check

ROWS = 200


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a small shop, loaded and nothing more. Read only."""
    folder = tmp_path_factory.mktemp("leak_lab")
    synthesize(folder / "files", customers=200, articles=60, days=120, interactions=60, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(folder / "home"))
        load(str(folder / "files"))
    return folder / "home"


@pytest.fixture(scope="module")
def registry(loaded: Path) -> Path:
    """That shop, with what is declared registered."""
    with pytest.MonkeyPatch.context() as patch:
        home = loaded.parent / "registered"
        shutil.copytree(loaded, home)
        patch.setenv("LOOKBOOK_HOME", str(home))
        features.apply()
    return home


def leaks(report: Report) -> dict[str, set[str]]:
    """{feature: the checks that found it}."""
    found: dict[str, set[str]] = {}
    for leak in report.leaks:
        found.setdefault(leak.feature, set()).add(leak.check)
        assert report.services[leak.service][leak.feature][leak.check] == "leaks"
    return found


def example(report: Report, feature: str, check: str) -> Leak:
    (leak,) = [one for one in report.leaks if (one.feature, one.check) == (feature, check)]
    return leak


# What is declared


@pytest.fixture(scope="module")
def honest(registry: Path) -> Iterator[Report]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(registry))
        before = hashlib.sha256((registry / "warehouse.duckdb").read_bytes()).hexdigest()
        files = sorted(registry.rglob("*"))
        yield check(["everything"], ROWS)
        assert os.environ["LOOKBOOK_HOME"] == str(registry)
        assert hashlib.sha256((registry / "warehouse.duckdb").read_bytes()).hexdigest() == before
        assert sorted(registry.rglob("*")) == files


def test_what_is_declared_does_not_leak(honest: Report) -> None:
    assert honest.leaks == []
    declared = {
        f"{view}__{name}" for view, of in features.declared_features().items() for name in of
    }
    assert set(honest.services["everything"]) == declared
    assert all(set(checks) == set(CHECKS) for checks in honest.services["everything"].values())


def test_the_checks_say_something_of_nearly_every_feature(honest: Report) -> None:
    statuses = honest.services["everything"]
    for title in ("future rows", "collisions", "duplicates", "time zones", "null keys"):
        untested = [name for name, of in statuses.items() if of[title] != "ok"]
        assert len(untested) < 0.05 * len(statuses), (title, untested)
    unmoved = {name for name, of in statuses.items() if of["same day"] != "ok"}
    without_dates = ("customer_profile__", "article_profile__", "calendar__", "crosses__")
    assert {name for name in unmoved if not name.startswith(without_dates)} <= {
        *("article_activity__first_sold", "recency__days_since_first_sold"),
        "customer_article__first_bought",
        # The shop has no pictures.
        *("customer_taste__visual_clusters", "customer_taste__visual_cluster_shares"),
        "taste_match__visual_cluster_share",
    }
    numbers = [name for name, of in statuses.items() if of["labels"] == "ok"]
    assert {"customer_activity__t_price_7d", "article_activity__last_sold"} <= set(numbers)
    of_moment = {name.split("__")[0] for name, of in statuses.items() if of["clock"] == "ok"}
    assert of_moment == {"calendar", "recency", "customer_article_now"}


# Feature SQL that is broken


def test_a_window_with_the_day_itself_is_found(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(registry))

    def a_day_early(folder: str, name: str, *rest, **more) -> str:
        sql = render(folder, name, *rest, **more)
        return sql.replace("day + 1 AS known_on", "day AS known_on") if name == "article_activity" else sql  # fmt: skip

    monkeypatch.setattr(feature_sql, "render", a_day_early)
    report = check(["article_display"], ROWS)

    found = leaks(report)
    assert set(found) == {
        *("article_activity__t_purchases_7d", "article_activity__latest_price"),
        "article_activity__discount",
    }
    assert found["article_activity__t_purchases_7d"] == {"future rows", "same day"}
    leak = example(report, "article_activity__t_purchases_7d", "same day")
    assert float(leak.found) > float(leak.expected)
    assert len(leak.keys["article_id"]) == 10
    assert str(report.cut) in leak.moment


def own_view(name: str, keys: list, query: str) -> FeatureView:
    return FeatureView(
        name=name,
        entities=keys,
        ttl=timedelta(0),
        schema=[*(Field(name=key.join_key, dtype=String) for key in keys), Field(name="n", dtype=Int64)],
        source=DuckDBSource(name=name, query=query, timestamp_field="valid_from"),
    )  # fmt: skip


def lines_known_from(day: str) -> str:
    return (
        f"SELECT customer_id, CAST({day} AS TIMESTAMP) AS valid_from, "
        "CAST(sum(sum(line_count)) OVER (PARTITION BY customer_id ORDER BY day) AS BIGINT) AS n "
        "FROM staging.purchases GROUP BY customer_id, day"
    )


OWN = {
    "honest": ([customer], lines_known_from("day + 1")),
    "same_day": ([customer], lines_known_from("day")),
    "week_ahead": ([customer], lines_known_from("day - 6")),
    "all_time": (
        [article],
        "SELECT article_id, TIMESTAMP '1970-01-01' AS valid_from, count(*) AS n "
        "FROM raw.transactions GROUP BY article_id",
    ),
    "tells_the_label": (
        [customer, article],
        "SELECT customer_id, article_id, TIMESTAMP '1970-01-01' AS valid_from, CAST(max(t_dat) > "
        "(SELECT max(t_dat) - 7 FROM raw.transactions) AS BIGINT) AS n "
        "FROM raw.transactions GROUP BY ALL",
    ),
    "collides": (
        [customer, article],
        "SELECT customer_id, article_id, CAST(day + 1 AS TIMESTAMP) AS valid_from, "
        "CAST(sum(sum(line_count)) OVER (PARTITION BY customer_id || article_id ORDER BY day) AS BIGINT) AS n "
        "FROM staging.purchases GROUP BY customer_id, article_id, day",
    ),
    "breaks_when_doubled": (
        [customer],
        "SELECT customer_id, CAST(day + 1 AS TIMESTAMP) AS valid_from, "
        "CASE WHEN max(line_count) = 1 THEN 1 END AS n "
        "FROM staging.purchases GROUP BY customer_id, day",
    ),
    "an_event_early": (
        [customer],
        "SELECT customer_id, event_time - INTERVAL 1 MICROSECOND AS valid_from, "
        "row_number() OVER (PARTITION BY customer_id ORDER BY event_time) AS n "
        "FROM (SELECT DISTINCT customer_id, event_time FROM staging.actions) AS events",
    ),
    "has_null_keys": (
        [postal_code],
        "SELECT postal_code, CAST(day + 1 AS TIMESTAMP) AS valid_from, count(*) AS n "
        "FROM staging.purchases INNER JOIN staging.customers USING (customer_id) GROUP BY postal_code, day",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def own(loaded: Path) -> Path:
    """The shop with services of somebody's own registered, and nothing else."""
    home = loaded.parent / "own"
    shutil.copytree(loaded, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(home))
        views = {name: own_view(name, *given) for name, given in OWN.items()}
        late = own_view("late", [customer], lines_known_from("day + 20"))
        few = [views["honest"], views["has_null_keys"]]
        features.feature_store().apply(
            [
                *(customer, article, postal_code, *views.values(), late),
                FeatureService(name="broken", features=list(views.values())),
                FeatureService(name="late", features=[late]),
                FeatureService(name="few", features=few),
            ]
        )
    return home


@pytest.fixture(scope="module")
def broken(own: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(own))
        return check((), ROWS)


def test_every_registered_service_is_checked(broken: Report) -> None:
    assert list(broken.services) == ["broken", "few", "late"]


@pytest.mark.parametrize(
    ("view", "checks"),
    [
        ("honest", set()),
        ("has_null_keys", set()),
        ("same_day", {"future rows", "same day"}),
        ("an_event_early", {"future rows", "same day"}),
        ("week_ahead", {"future rows", "same day"}),
        ("all_time", {"future rows", "same day"}),
        ("tells_the_label", {"future rows", "same day", "labels"}),
        ("collides", {"collisions"}),
        ("breaks_when_doubled", {"duplicates"}),
        ("late", {"same day"}),
    ],
)
def test_a_view_is_found_by_the_checks_it_breaks(
    broken: Report, view: str, checks: set[str]
) -> None:
    assert leaks(broken).get(f"{view}__n", set()) - {"labels"} == checks - {"labels"}
    assert "labels" not in checks or "labels" in leaks(broken)[f"{view}__n"]


def test_labels_are_told_by_what_is_too_good_and_by_the_order_of_rows(
    broken: Report, broken_functions: Report
) -> None:
    too_good = example(broken, "tells_the_label__n", "labels")
    assert too_good.says.startswith('AUC of "bought in 7 days"')
    by_order = example(broken_functions, "calendar__weekday", "labels")
    assert by_order.says == "AUC of labels that belong to other rows"
    assert float(by_order.found) == 0


def test_a_collision_shows_whose_values_were_mixed(broken: Report) -> None:
    leak = example(broken, "collides__n", "collisions")
    assert (leak.keys["customer_id"], leak.keys["article_id"]) in {("1", "23"), ("12", "3")}
    assert float(leak.found) > float(leak.expected)


# Functions of the moment that are broken


def by_moment(patch: pytest.MonkeyPatch, name: str, function) -> None:
    honest = getattr(moment_features, name)
    patch.setattr(moment_features, name, lambda inputs: function(inputs, honest))


@pytest.fixture(scope="module")
def broken_functions(registry: Path) -> Report:
    def ignores_time(inputs: pd.DataFrame, honest):
        fixed = pd.Timestamp("2020-09-22", tz="UTC")
        return honest(inputs.assign(request_time=fixed))

    def numbers_rows(inputs: pd.DataFrame, honest):
        return honest(inputs) | {"weekday": np.arange(len(inputs))}

    def fills_with_the_mean(inputs: pd.DataFrame, honest):
        return pd.DataFrame(honest(inputs)).apply(lambda column: column.fillna(column.mean()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(registry))
        by_moment(patch, "recency", ignores_time)
        by_moment(patch, "calendar", numbers_rows)
        by_moment(patch, "customer_article_now", fills_with_the_mean)
        return check(["ranking"], ROWS)


def test_functions_that_look_elsewhere_are_found(broken_functions: Report) -> None:
    found = leaks(broken_functions)
    by_view: dict[str, set[str]] = {}
    for feature, checks in found.items():
        by_view.setdefault(feature.split("__")[0], set()).update(checks)
    assert set(by_view) == {"recency", "calendar", "customer_article_now"}
    assert by_view["recency"] == {"clock"}
    assert {name for name in found if name.startswith("recency")} == {
        f"recency__{name}" for name in features.declared_features()["recency"]
    }
    assert {name for name in found if name.startswith("calendar")} == {"calendar__weekday"}
    assert found["calendar__weekday"] >= {"duplicates", "labels"}
    assert found["customer_article_now__days_since_bought"] >= {"duplicates", "null keys"}


# A store that is broken


def test_a_store_in_which_nulls_match_and_text_is_read_in_another_zone_is_found(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(own))
    for name, right, wrong in (
        ("_matches", " = asked.", " IS NOT DISTINCT FROM asked."),
        ("_as_utc", "TIMESTAMPTZ) AT TIME ZONE 'UTC'", "TIMESTAMPTZ) AT TIME ZONE 'Asia/Tokyo'"),
    ):
        honest = getattr(point_in_time, name)

        def broken(*given, honest=honest, right=right, wrong=wrong) -> str:
            return honest(*given).replace(right, wrong)

        monkeypatch.setattr(point_in_time, name, broken)
    assert leaks(check(["few"], ROWS)) == {
        "honest__n": {"time zones"},
        "has_null_keys__n": {"time zones", "null keys"},
    }


# The measure of labels


def test_auc_counts_pairs_that_stand_in_the_right_order() -> None:
    bought = np.array([True, True, False, False])
    assert _auc(pd.Series([4.0, 3.0, 2.0, 1.0]), bought) == 1
    assert _auc(pd.Series([1, 2, 3, 4]), bought) == 0
    assert _auc(pd.Series([1.0, 1.0, 1.0, 1.0]), bought) == 0.5
    assert _auc(pd.Series([None, 2.0, 1.0, None]), bought) == (0.5 + 0 + 1 + 1) / 4
    days = pd.Series(pd.to_datetime(["2020-01-02", "2020-01-03", None, "2020-01-01"], utc=True))
    assert _auc(days, bought) == 1
    assert _auc(pd.Series(["red", None, "blue", "red"]), bought) is None
    assert FEWEST_LABELS > 2


# The verb


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["features", "check", "--rows", str(ROWS), *words])


def test_the_verb_ends_with_status_1_if_something_leaks(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(own))
    done = run("--service", "late", "--json")
    assert done.exit_code == 1
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["services"]["late"]["late__n"]["same day"] == "leaks"
    assert result["leaks"][0] | {"feature": "late__n", "check": "same day"} == result["leaks"][0]
    assert {"keys", "moment", "expected", "found"} <= set(result["leaks"][0])
    assert "late: same day" in done.stderr


def test_the_verb_prints_a_table_of_a_shop_that_is_made_up_if_none_is_loaded(home: Path) -> None:
    done = run("--service", "customer_state")
    assert done.exit_code == 0, done.output
    assert "made-up shop" in done.stderr
    for name in ("customer_recent__recent_times", "customer_session__session_moments"):
        (row,) = [line for line in done.stdout.splitlines() if name in line]
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert cells[1:] == ["ok", "ok", "-", "ok", "ok", "ok", "ok", "-"]
    assert " features checked, none leaks" in done.stdout
    assert not (home / "warehouse.duckdb").exists()
    assert not (home / "registry.db").exists()


def test_an_unknown_service_is_one_sentence(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(own))
    done = run("--service", "nonsense")
    assert done.exit_code == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: Feature service 'nonsense' is not registered; there are: broken")


@pytest.mark.parametrize(
    ("key", "query", "says"),
    [
        ("till_id", "SELECT 'a' AS till_id, TIMESTAMP '1970-01-01' AS valid_from, 1 AS n", "'till_id'"),
        ("customer_id", "SELECT * FROM saved.elsewhere", "only raw, staging and feature tables"),
    ],
)  # fmt: skip
def test_what_the_lab_cannot_make_is_named(
    loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, query: str, says: str
) -> None:
    shutil.copytree(loaded, tmp_path / "home")
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    entity = Entity(name="one", join_keys=[key], value_type=ValueType.STRING)
    view = own_view("strange", [entity], query)
    service = FeatureService(name="mine", features=[view])
    features.feature_store().apply([entity, view, service])
    with pytest.raises(features.FeatureError, match="'mine'") as refused:
        check(["mine"])
    assert says in str(refused.value)


def test_a_shop_of_a_few_days_is_refused(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(own, tmp_path / "home")
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    with duckdb.connect(str(tmp_path / "home" / "warehouse.duckdb")) as con:
        con.execute("DELETE FROM raw.transactions WHERE t_dat <= (SELECT max(t_dat) - 7 FROM raw.transactions)")  # fmt: skip
    done = run("--service", "late")
    assert done.exit_code == 1
    assert "needs more than 7 days of purchases" in done.stderr


def test_a_sample_that_buys_nothing_on_the_day_before_the_cut_does_not_leak(
    tmp_path: Path, home: Path
) -> None:
    """Windows move on without purchases, and do in every small shop."""
    synthesize(tmp_path / "files", customers=60, articles=30, days=50, seed=11)
    load(str(tmp_path / "files"))
    with duckdb.connect(str(home / "warehouse.duckdb")) as con:
        (last,) = con.execute("SELECT max(t_dat) FROM raw.transactions").fetchone()
        cut = last - timedelta(days=6)
        con.execute(
            "DELETE FROM raw.transactions WHERE t_dat BETWEEN ? AND ?",
            [cut - timedelta(days=4), cut - timedelta(days=1)],
        )
    features.apply()
    assert check(["customer_state"], 40).leaks == []
