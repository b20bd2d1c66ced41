"""Feast's registry file, kept below LOOKBOOK_HOME."""

from pathlib import Path

from feast.infra.registry.file import FileRegistryStore as FeastFileRegistryStore
from feast.repo_config import RegistryConfig

from feature_repo import places


class FileRegistryStore(FeastFileRegistryStore):
    """The registry at `registry.path`; a relative path is below LOOKBOOK_HOME."""

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        self._filepath = places.resolve(registry_config.path)
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
