"""Vectors and clusters for every article of the loaded shop, kept in `raw.article_content`.

The encoders are versions in the model registry, so that a service can load them to search by words or by
picture. An article that is new or has changed is encoded by the encoders that there are; its vector lies
in the same space as all others.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo import places
from feature_repo.errors import LookbookError
from feature_repo.raw_tables import ARTICLE_CONTENT
from pipelines import feature_tables
from pipelines.model_registry.registry import (
    Lineage,
    Version,
    list_versions,
    open_version,
    save_version,
)
from pipelines.reports.words import many
from pipelines.warehouse import has_table, reading, transaction, writing

if TYPE_CHECKING:
    from pipelines.content.pictures import PictureEncoder
    from pipelines.content.text import TextEncoder

TEXT_ENCODER, PICTURE_ENCODER = "text_encoder", "picture_encoder"
"""Names in the model registry."""
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CLUSTERED = ("product_type_name", "colour_group_name", "graphical_appearance_name")
"""Attributes that say how pure clusters are."""

_SHOWN = 20
"""Articles that are named where there may be many."""

Progress = Callable[[str], None]


class ContentError(LookbookError):
    """Articles cannot be embedded like this; the text says what to do."""


@dataclass(frozen=True)
class Embedded:
    """What `embed` found and did.

    Attributes:
        articles: of the shop.
        with_text: articles that have a text vector now.
        with_picture: articles that have a picture vector now.
        texts: how many were encoded now.
        pictures: how many were encoded now.
        broken: how many pictures cannot be read.
        unreadable: their articles.
        clusters: visual clusters that have an article.
        encoders: {name: version} in use.
        trained: those of them that were made now.
        metrics: of the picture encoder in use.
        changed: whether anything in the warehouse did.
    """

    articles: int
    with_text: int
    with_picture: int
    texts: int
    pictures: int
    broken: int
    clusters: int
    encoders: dict[str, str]
    trained: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    changed: bool = True
    unreadable: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{many(self.articles, 'article')}: {self.with_text:,} with text, {self.with_picture:,} with "
            f"a picture, {many(self.clusters, 'visual cluster')}"
        ]
        lines += [f"{tag} is new" for name, tag in self.encoders.items() if name in self.trained]
        for label in ("product_group", "colour_group", "product_type"):
            right = self.metrics.get(f"{label}_accuracy")
            if right is not None and PICTURE_ENCODER in self.trained:
                common = self.metrics[f"{label}_most_common"]
                lines.append(
                    f"  {label.replace('_', ' ')} told right for {right:.1%} of held-out pictures "
                    f"(the most common one: {common:.1%})"
                )
        if self.broken:
            some = ", ".join(self.unreadable[:_SHOWN])
            more = len(self.unreadable) - _SHOWN
            lines.append(
                f"{many(self.broken, 'picture')} cannot be read and left out: those of {some}"
                + (f" and {more:,} more (--json names all)" if more > 0 else "")
            )
        if self.changed:
            lines.append("Take them up with `lookbook features build`.")
        else:
            again = self.trained or self.texts or self.pictures
            lines.append("Everything came out as it was." if again else "Nothing was new.")
        return "\n".join(lines)


@dataclass
class _Vectors:
    """One kind of vectors of all articles, and of what each was made."""

    values: np.ndarray
    """A x D float32."""
    has: np.ndarray
    """Which articles have one (A,)."""
    of: list[str | None]
    """What was encoded: a hash of the text, or the picture's stamp."""


def embed(
    images: str | Path | None = None,
    text_model: str | Path | None = None,
    epochs: int | None = None,
    *,
    retrain: bool = False,
    progress: Progress = lambda text: None,
) -> Embedded:
    """Give every article its vectors and its visual cluster; the next build of features takes them up.

    Run again it does what is new: articles with another text or another picture file. All or nothing is
    written, and a training that was killed goes on.

    Args:
        images: a folder with pictures named by article, at any depth; the folder `images` of the loaded
            shop if None. Articles keep what they have where there is no folder.
        text_model: the folder of a sentence-transformers model. If None, the text encoder that there
            is, or TF-IDF with SVD.
        epochs: times the picture encoder learns from each picture; another number trains it anew.
        retrain: make both encoders anew, and encode all articles.

    Raises:
        ContentError: `images` is no folder.
        TextModelError: the sentence-transformers package or model is missing.
        WarehouseError: nothing has been loaded, or another process holds the warehouse.
        RegistryError: the encoder that there is has been damaged; `retrain` makes another.
    """
    with reading() as con:
        cutoff = feature_tables.last_day(con) + timedelta(days=1)
        data = feature_tables.data_hash(con)
        articles = con.execute(
            f"SELECT {', '.join(_columns())} FROM raw.articles ORDER BY article_id"
        ).df()
        articles = articles.astype(object).where(articles.notna(), None)
        before = _kept(con)
        sources = _sources(con)
    shop = _Shop(articles, before, cutoff, data, progress)
    files = _picture_files(images, sources, set(articles["article_id"]))
    text, text_tag, new_texts = shop.texts(text_model, retrain)
    shown = shop.pictures(files, epochs, retrain)
    table = pa.table(
        {
            "article_id": pa.array(articles["article_id"], pa.string()),
            "text_embedding": _as_lists(text),
            "image_embedding": _as_lists(shown.vectors),
            "visual_cluster": pa.array(shown.clusters, pa.string()),
            "text_hash": pa.array(text.of, pa.string()),
            "text_encoder": pa.array([text_tag] * len(articles), pa.string()),
            "picture": pa.array(shown.vectors.of, pa.string()),
            "picture_encoder": pa.array(
                [shown.tag if stamp else None for stamp in shown.vectors.of], pa.string()
            ),
        }
    )
    changed = _write(table, before, sources[0])
    unreadable = articles["article_id"][
        np.array([bool(stamp) for stamp in shown.vectors.of]) & ~shown.vectors.has
    ]
    tags = {TEXT_ENCODER: text_tag, PICTURE_ENCODER: shown.tag}
    return Embedded(
        articles=len(articles),
        with_text=int(text.has.sum()),
        with_picture=int(shown.vectors.has.sum()),
        texts=new_texts,
        pictures=shown.encoded,
        broken=len(unreadable),
        unreadable=tuple(unreadable),
        clusters=len(set(shown.clusters) - {None}),
        encoders={name: tag for name, tag in tags.items() if tag},
        trained=tuple(shop.trained),
        metrics=shown.metrics,
        changed=changed,
    )


def load_text_encoder(tag: str = TEXT_ENCODER) -> "TextEncoder":
    """The registered text encoder, every file checked; the newest if no version is named.

    Raises:
        RegistryError: there is none, or it is damaged.
        TextModelError: the sentence-transformers model that it names is gone.
    """
    from pipelines.content.text import load_text_encoder as load

    return load(open_version(tag).path)


def load_picture_encoder(tag: str = PICTURE_ENCODER) -> "PictureEncoder":
    """The registered picture encoder, every file checked; the newest if no version is named.

    Raises:
        RegistryError: there is none, or it is damaged.
    """
    from pipelines.content.pictures import PictureEncoder

    return PictureEncoder.load(open_version(tag).path)


@dataclass
class _Shown:
    """What pictures gave: vectors, clusters (A,), the encoder and its metrics."""

    vectors: _Vectors
    clusters: list[str | None]
    tag: str | None = None
    encoded: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)


class _Shop:
    """The articles of a run, what is known of them, and what is made anew."""

    def __init__(
        self,
        articles: pd.DataFrame,
        before: pa.Table | None,
        cutoff: Any,
        data: str,
        progress: Progress,
    ) -> None:
        self._articles = articles
        self._cutoff = cutoff
        self._data = data
        self._progress = progress
        self._before = _aligned(before, articles["article_id"])
        self.trained: list[str] = []

    def texts(self, model: str | Path | None, retrain: bool) -> tuple[_Vectors, str, int]:
        """Vectors, the encoder's version, and how many texts were encoded."""
        from pipelines.content.text import load_text_encoder as load
        from pipelines.content.text import make_text_encoder, texts_of

        texts = texts_of(self._articles)
        hashes: list[str | None] = [_digest(text) if text else None for text in texts]
        version = None if retrain else _newest(TEXT_ENCODER)
        wanted = make_text_encoder(model) if model is not None else None
        if wanted and version and version.lineage.settings["model"] != _described(wanted):
            version = None
        if version:
            tag = version.tag
            encoder = load(open_version(tag).path)
        else:
            self._progress(f"learning from {many(len(texts), 'text')}")
            encoder = (wanted or make_text_encoder()).fit(texts, self._progress)
            tag = self._register(
                TEXT_ENCODER,
                encoder.save,
                _described(encoder),
                _digest(*texts),
                {"texts": len(texts)},
            )
        known = self._known("text_embedding", "text_hash", "text_encoder", tag)
        new = np.array([now != then for now, then in zip(hashes, known.of, strict=True)], bool)
        if new.any():
            self._progress(f"encoding {many(int(new.sum()), 'text')}")
            chosen = np.flatnonzero(new)
            fresh = encoder.encode([texts[row] for row in chosen], self._progress)
            known = _replaced(known, chosen, fresh, (fresh != 0).max(axis=1))
        known.of = hashes
        return known, tag, int(new.sum())

    def pictures(self, files: dict[str, Path] | None, epochs: int | None, retrain: bool) -> _Shown:
        """Vectors and clusters.

        Args:
            files: {article: file}; if None, what is there stays.
        """
        if files is None:
            return self._as_they_were()
        version = _newest(PICTURE_ENCODER)
        ids = self._articles["article_id"].tolist()
        stamps = [_stamp(files[article]) if article in files else None for article in ids]
        if version and (
            retrain or epochs not in (None, version.lineage.settings["model"]["epochs"])
        ):
            version = None
        tag = version.tag if version else None
        known = self._known("image_embedding", "picture", "picture_encoder", tag)
        new = np.array([now != then for now, then in zip(stamps, known.of, strict=True)], bool)
        chosen = sorted(files.keys() & {ids[row] for row in np.flatnonzero(new)})
        known.has &= ~new
        known.of = stamps
        if not chosen:
            return self._clustered(known, version, 0)
        from pipelines.content.pictures import PictureEncoder, decoded

        self._progress(f"reading {many(len(chosen), 'picture')}")
        # Those of an encoder that is to be made are all new.
        settings = version.lineage.settings["model"] if version else {}
        shape = {name: settings[name] for name in ("width", "height") if name in settings}
        with decoded({a: files[a] for a in chosen}, **shape, progress=self._progress) as pictures:
            if pictures.broken:
                name, why = next(iter(pictures.broken.items()))
                self._progress(
                    f"{many(len(pictures.broken), 'picture')} cannot be read and left out, such as "
                    f"{files[name].name}: {why}"
                )
            if not pictures.names:
                return self._clustered(known, version, 0)
            if version is None:
                version = self._learn_pictures(pictures.names, pictures.pixels, epochs)
            encoder = PictureEncoder.load(open_version(version.tag).path)
            fresh = encoder.encode(pictures.pixels, self._progress)
        place = {article: row for row, article in enumerate(ids)}
        rows = np.array([place[name] for name in pictures.names])
        known = _replaced(known, rows, fresh, np.ones(len(rows), bool))
        return self._clustered(known, version, len(rows))

    def _as_they_were(self) -> _Shown:
        """What there is of pictures, of which nothing new is known."""
        table = self._before
        values, has = _as_matrix(table["image_embedding"])
        vectors = _Vectors(values, has, table["picture"].to_pylist())
        tag = next(filter(None, table["picture_encoder"].to_pylist()), None)
        metrics = {v.tag: v.metrics for v in list_versions(PICTURE_ENCODER)}.get(tag or "", {})
        return _Shown(vectors, table["visual_cluster"].to_pylist(), tag, 0, dict(metrics))

    def _learn_pictures(self, names: list[str], pixels: np.ndarray, epochs: int | None) -> Version:
        """Make a picture encoder and find the clusters of its vectors."""
        from pipelines.content.clusters import Clusters, purity
        from pipelines.content.pictures import LABELS, PictureEncoder

        shown = self._articles.set_index("article_id").loc[names]
        checkpoint = places.home() / "picture_encoder.checkpoint"
        encoder = PictureEncoder(**({} if epochs is None else {"epochs": epochs}))
        self._progress(f"learning from {many(len(names), 'picture')}")
        encoder.fit(
            pixels,
            {label: shown[f"{label}_name"].tolist() for label in LABELS},
            [
                product or article
                for article, product in zip(names, shown["product_code"], strict=True)
            ],
            self._progress,
            checkpoint=checkpoint,
        )
        self._progress("finding what looks alike")
        vectors = encoder.encode(pixels)
        groups = shown["product_group_name"].tolist()
        clusters = Clusters(encoder.seed).fit(groups, vectors)
        pure = purity(clusters.names(groups, vectors), groups, shown[list(CLUSTERED)], encoder.seed)
        encoder.metrics |= {"clusters": clusters.count, "purity": pure}

        def write(folder: Path) -> None:
            encoder.save(folder)
            clusters.save(folder)

        seen = hashlib.sha256("\n".join(names).encode())
        for start in range(0, len(pixels), 1000):
            seen.update(np.ascontiguousarray(pixels[start : start + 1000]).tobytes())
        tag = self._register(
            PICTURE_ENCODER, write, encoder.settings, seen.hexdigest()[:16], encoder.metrics
        )
        checkpoint.unlink(missing_ok=True)
        return open_version(tag)

    def _clustered(self, vectors: _Vectors, version: Version | None, encoded: int) -> _Shown:
        """With the clusters of those that have a vector, by their product groups of today."""
        clusters: list[str | None] = [None] * len(self._articles)
        if version is None:
            return _Shown(vectors, clusters)
        rows = np.flatnonzero(vectors.has)
        if len(rows):
            from pipelines.content.clusters import Clusters

            groups = self._articles["product_group_name"].iloc[rows].tolist()
            named = Clusters.load(open_version(version.tag).path)
            found = named.names(groups, vectors.values[rows])
            for row, name in zip(rows.tolist(), found, strict=True):
                clusters[row] = name
        return _Shown(vectors, clusters, version.tag, encoded, dict(version.metrics))

    def _known(self, vectors: str, of: str, encoder: str, tag: str | None) -> _Vectors:
        """What is there of this version of an encoder."""
        table = self._before
        values, has = _as_matrix(table[vectors])
        same = np.array([tag is not None and found == tag for found in table[encoder].to_pylist()])
        made_of = [
            stamp if ok else None for stamp, ok in zip(table[of].to_pylist(), same, strict=True)
        ]
        if not same.any():
            values = np.zeros((len(same), 0), dtype="float32")
        return _Vectors(values, has & same, made_of)

    def _register(
        self,
        name: str,
        write: Callable[[Path], None],
        settings: dict[str, Any],
        inputs: str,
        metrics: dict[str, Any],
    ) -> str:
        lineage = Lineage(
            feature_service=None,
            feature_schema_hash=None,
            data_cutoff=self._cutoff,
            data_hash=self._data,
            seed=int(settings.get("seed", 0)),
            settings={"model": settings, "inputs": inputs},
        )
        tag = save_version(name, write, lineage, metrics)
        self.trained.append(name)
        self._progress(f"registered {tag}")
        return tag


def _columns() -> list[str]:
    from pipelines.content.text import TEXT_COLUMNS

    return list(dict.fromkeys(["article_id", "product_code", *TEXT_COLUMNS, *CLUSTERED]))


def _kept(con: duckdb.DuckDBPyConnection) -> pa.Table | None:
    if not has_table(con, "raw", ARTICLE_CONTENT.name):
        return None
    return con.cursor().sql(f"FROM raw.{ARTICLE_CONTENT.name} ORDER BY article_id").to_arrow_table()


def _sources(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Where the shop came from, as loading recorded it, the newest first."""
    found = con.execute(
        "SELECT source FROM raw.loads GROUP BY source ORDER BY max(loaded_at) DESC"
    ).fetchall()
    return [source for (source,) in found]


def _picture_files(
    images: str | Path | None, sources: list[str], articles: set[str]
) -> dict[str, Path] | None:
    """{article: file} of all pictures; None if there is no folder of them.

    Raises:
        ContentError: the folder that is named is none, or has no picture.
    """
    if images is not None:
        folder = Path(images).expanduser()
        if not folder.is_dir():
            raise ContentError(f"There is no folder {images}: give --images a folder of pictures.")
        found = _pictures_below(folder, articles)
        if not found:
            raise ContentError(
                f"There is no picture of an article in {images}: pictures are named by article, such as "
                "010/0108775015.jpg."
            )
        return found
    for source in sources:
        adapter, _, path = source.partition(":")
        folder = Path(path).expanduser() / "images"
        if adapter == "kaggle" and folder.is_dir() and (found := _pictures_below(folder, articles)):
            return found
    return None


def _pictures_below(folder: Path, articles: set[str]) -> dict[str, Path]:
    files = [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in PICTURE_SUFFIXES and file.stem in articles
    ]
    # Of two pictures of an article the first by name counts.
    return {file.stem: file for file in sorted(files, reverse=True)}


def _newest(name: str) -> Version | None:
    return next(iter(list_versions(name)), None)


def _described(encoder: "TextEncoder") -> dict[str, Any]:
    return {"kind": encoder.kind, **encoder.settings}


def _stamp(file: Path) -> str:
    """What tells that a file is the one that was read, without reading it."""
    about = file.stat()
    return f"{about.st_size}-{about.st_mtime_ns}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _aligned(table: pa.Table | None, ids: pd.Series) -> pa.Table:
    """What was kept, a row for each article; nulls where there was nothing."""
    columns = [c.name for c in (*ARTICLE_CONTENT.columns, *ARTICLE_CONTENT.ours)]
    if table is None:
        lists = pa.list_(pa.float32())
        return pa.table(
            {
                n: pa.nulls(len(ids), lists if n.endswith("embedding") else pa.string())
                for n in columns
            }
        )
    places_of = pd.Index(table["article_id"].to_pylist(), dtype=object).get_indexer(pd.Index(ids))
    return table.select(columns).take(pa.array(places_of, mask=places_of < 0))


def _as_matrix(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Lists of one length as A x D float32, and which there are (A,)."""
    lists = column.combine_chunks()
    has = lists.is_valid().to_numpy(zero_copy_only=False)
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    width = len(flat) // max(1, int(has.sum()))
    values = np.zeros((len(lists), width), dtype="float32")
    values[has] = flat.reshape(-1, width) if width else 0
    return values, has


def _as_lists(vectors: _Vectors) -> pa.Array:
    """A x D as lists, null where there is none."""
    if not vectors.has.any():
        return pa.nulls(len(vectors.has), pa.list_(pa.float32()))
    width = vectors.values.shape[1]
    ends = np.concatenate([[0], np.cumsum(vectors.has * width)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(ends, mask=np.append(~vectors.has, False)),
        pa.array(vectors.values[vectors.has].ravel()),
    )


def _replaced(known: _Vectors, rows: np.ndarray, fresh: np.ndarray, has: np.ndarray) -> _Vectors:
    """With fresh vectors in some rows."""
    values = known.values
    if values.shape[1] != fresh.shape[1]:
        values = np.zeros((len(values), fresh.shape[1]), dtype="float32")
    values[rows] = fresh
    known.has[rows] = has
    return _Vectors(values, known.has, known.of)


def _write(table: pa.Table, before: pa.Table | None, source: str) -> bool:
    """Put the table in place of what was kept, and say so in raw.loads, for builds and parity.

    Returns:
        whether features change; another time of a file alone changes none.
    """
    learnt = ARTICLE_CONTENT.column_names
    if before is not None:
        before = before.select(table.column_names)
        table = table.cast(before.schema)
        if table.equals(before):
            return False
    same = before is not None and table.select(learnt).equals(before.select(learnt))
    digest = hashlib.sha256()
    for batch in table.select(learnt).combine_chunks().to_batches():
        digest.update(batch.serialize())
    with writing() as con, transaction(con):
        con.execute(ARTICLE_CONTENT.create)
        con.execute(f"DELETE FROM raw.{ARTICLE_CONTENT.name}")
        con.register("given", table)
        con.execute(f"INSERT INTO raw.{ARTICLE_CONTENT.name} BY NAME SELECT * FROM given")
        con.unregister("given")
        if not same:
            # Articles that were there are told more of: none is new.
            con.execute(
                "INSERT INTO raw.loads BY NAME SELECT $at AS loaded_at, $source AS source, "
                "$digest AS sha256, '' AS rules, $name AS table_name, $rows AS rows_read, 0 AS loaded, "
                "$rows AS updated, 0 AS already_there, 0 AS set_aside, 0 AS quarantined, '{}' AS report",
                {
                    "at": datetime.now(UTC).replace(tzinfo=None),
                    "source": source,
                    "digest": digest.hexdigest(),
                    "name": ARTICLE_CONTENT.name,
                    "rows": table.num_rows,
                },
            )
    return not same
