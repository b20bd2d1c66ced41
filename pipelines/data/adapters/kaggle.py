"""The files of Kaggle's H&M competition: three CSVs, each also as .csv.gz or .parquet.

A fourth of the same kind, interactions.csv, may lie beside them. All else in the folder is ignored.
"""

from pathlib import Path

from feature_repo.raw_tables import RAW_TABLES, RawTable
from pipelines.data.adapters import BLANKS, LoadError, Source
from pipelines.warehouse import identifier

DIGITS = {"article_id": 10, "product_code": 7}
"""The codes that have leading zeros."""


def read(source: Source) -> dict[str, str]:
    """One file for each raw table, with exactly its columns.

    Raises:
        LoadError: a file is missing, is there twice, or cannot be opened.
    """
    if not source.path.is_dir():
        raise LoadError(
            f"{source.path} is not a folder: name the one with articles.csv, customers.csv and "
            "transactions_train.csv."
        )
    # All are looked for before the first is read: a long read must not end in "missing".
    found = {name: _file(source.path, table) for name, table in RAW_TABLES.items()}
    return {
        name: _select(RAW_TABLES[name], source.rows(file, columns=RAW_TABLES[name].column_names))
        for name, file in found.items()
        if file
    }


def _file(folder: Path, table: RawTable) -> str | None:
    names = [table.file, f"{table.file}.gz", f"{Path(table.file).stem}.parquet"]
    there = [name for name in names if (folder / name).is_file()]
    if not there:
        if table.optional:
            return None
        raise LoadError(
            f"{folder / table.file} is missing (nor is there {' or '.join(names[1:])})."
        )
    if len(there) > 1:
        raise LoadError(f"{folder} holds {' and '.join(there)}: keep one of them.")
    return there[0]


def _select(table: RawTable, rows: str) -> str:
    values = (
        f"{_padded(name, DIGITS[name])} AS {name}" if name in DIGITS else identifier(name)
        for name in table.column_names
    )
    return f"SELECT {', '.join(values)}, _file, _line FROM {rows}"


def _padded(column: str, width: int) -> str:
    """A code that went through a spreadsheet or a data frame as a number gets its zeros back."""
    text = f"trim(CAST({column} AS VARCHAR), {BLANKS})"
    digits = rf"regexp_extract({text}, '^(\d{{1,{width}}})(\.0*)?$', 1)"
    return f"CASE WHEN {digits} <> '' THEN lpad({digits}, {width}, '0') ELSE {text} END"
