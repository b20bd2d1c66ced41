"""Feast's SQLite online store, kept below LOOKBOOK_HOME."""

from typing import Literal

from feast.infra.online_stores.sqlite import SqliteOnlineStore as FeastSqliteOnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig as FeastConfig
from feast.repo_config import RepoConfig

from feature_repo import places


class SqliteOnlineStoreConfig(FeastConfig):
    type: Literal["feature_repo.stores.sqlite_online_store.SqliteOnlineStore"] = (
        "feature_repo.stores.sqlite_online_store.SqliteOnlineStore"
    )
    path: str = "online/online.db"
    """The database; a relative path is below LOOKBOOK_HOME."""


class SqliteOnlineStore(FeastSqliteOnlineStore):
    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        path = places.resolve(config.online_store.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)
