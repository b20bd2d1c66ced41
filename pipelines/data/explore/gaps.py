"""The section on what is unknown in the raw tables, and on what was not loaded as it came."""

import json
from collections import Counter
from typing import Any

from feature_repo.raw_tables import RAW_TABLES
from pipelines.data.explore.shop import LoadedShop
from pipelines.reports import Cell, Section
from pipelines.reports.words import many, said_share
from pipelines.warehouse import has_table, identifier


def quality(shop: LoadedShop, section: Section) -> dict[str, Any]:
    tables = [name for name in RAW_TABLES if has_table(shop.con, "raw", name)]
    complete, gaps, empty = [], [], []
    for table in tables:
        columns = RAW_TABLES[table].columns
        wanted = ", ".join(f"count({identifier(c.name)})" for c in columns)
        (row,) = shop.rows(f"SELECT count(*), {wanted} FROM {identifier('raw', table)}")
        rows, counts = row[0], row[1:]
        for column, n in zip(columns, counts, strict=True):
            if not rows:
                continue
            if n == rows:
                complete.append(f"{table}.{column.name}")
            elif n == 0:
                empty.append(f"{table}.{column.name}")
            else:
                missing = (rows - n) / rows
                gaps.append(
                    [
                        table,
                        column.name,
                        rows - n,
                        Cell(said_share(missing), bar=missing),
                        column.description,
                    ]
                )
    later = shop.one(
        """SELECT count(*) FILTER (from_transactions) AS articles,
            (SELECT count(*) FILTER (from_transactions) FROM customers) AS customers
        FROM articles"""
    )
    wrong = shop.rows(
        """SELECT table_name, reason, row_kept, count(*) AS n, arg_min(file, (file, line)),
            arg_min(line, (file, line)),
            arg_min(row, (file, line))
        FROM raw.quarantine GROUP BY table_name, reason, row_kept
        ORDER BY n DESC, table_name, reason, row_kept"""
    )
    aside: Counter[tuple[str, str]] = Counter()
    for table, report in shop.rows("SELECT table_name, report FROM raw.loads"):
        for reason, n in json.loads(report).get("set_aside", {}).items():
            aside[table, reason] += n
    lost = sum(n for _, _, kept, n, *_ in wrong if not kept)
    kept_rows = sum(n for _, _, kept, n, *_ in wrong if kept)
    section.lead = (
        f"Columns that are complete: {len(complete):,}, with gaps: {len(gaps):,}, empty: "
        f"{len(empty):,}. "
        + (
            f"{many(lost, 'row')} could not be right and went to quarantine"
            + (
                f", and of {many(kept_rows, 'more row')} one value was left unknown. "
                if kept_rows
                else ". "
            )
            if lost or kept_rows
            else "No row had to go to quarantine. "
        )
        + (f"{many(sum(aside.values()), 'row')} set aside, being no purchases." if aside else "")
    ).strip()
    if gaps:
        section.table(
            ["table", "column", "unknown", "share", "what it is"],
            gaps,
            align="nnrll",
            caption="Columns with gaps",
        )
    if empty:
        section.text(f"Empty, as the shop's data lack them: {', '.join(empty)}.", note=True)
    if later["articles"] or later["customers"]:
        section.text(
            f"{many(later['articles'], 'article')} and {many(later['customers'], 'customer')} are "
            "known only from purchases: no file describes them.",
            note=True,
        )
    if wrong:
        section.table(
            ["table", "reason", "rows", "the row", "first found", "for example"],
            [
                [
                    table,
                    reason,
                    n,
                    "kept, value unknown" if kept else "left out",
                    f"{file}, line {line}" if file else None,
                    _cut(row or ""),
                ]
                for table, reason, kept, n, file, line, row in wrong
            ],
            align="nlrlnw",
            caption="In quarantine",
        )
    if aside:
        section.table(
            ["table", "reason", "rows"],
            [
                [table, reason, n]
                for (table, reason), n in sorted(aside.items(), key=lambda i: -i[1])
            ],
            align="nlr",
            caption="Set aside when loading",
        )
    return {
        "complete_columns": len(complete),
        "columns_with_gaps": len(gaps),
        "empty_columns": len(empty),
        "quarantined": lost,
        "values_left_unknown": kept_rows,
        "set_aside": sum(aside.values()),
    }


def _cut(text: str, letters: int = 160) -> str:
    return text if len(text) <= letters else f"{text[:letters]}..."
