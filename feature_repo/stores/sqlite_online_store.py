"""Feast's SQLite online store, kept below LOOKBOOK_HOME."""

from collections.abc import Sequence
from typing import Literal

from feast import FeatureView
from feast.infra.online_stores.sqlite import SqliteOnlineStore as FeastSqliteOnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig as FeastConfig
from feast.infra.online_stores.sqlite import _table_id
from feast.repo_config import RepoConfig

from feature_repo import places
from feature_repo.stores.connection import identifier


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

    def clear(self, config: RepoConfig, views: Sequence[FeatureView]) -> None:
        """Take all rows of the views out; who reads meanwhile sees all of them or none."""
        con = self._get_conn(config)
        versioning = config.registry.enable_online_feature_view_versioning
        with con:
            for view in views:
                con.execute(
                    f"DELETE FROM {identifier(_table_id(config.project, view, versioning))}"
                )
