"""Feast's registry file, kept below LOOKBOOK_HOME."""

import os
import uuid
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore as FeastFileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RegistryConfig
from feast.utils import _utc_now

from feature_repo import places


class FileRegistryStore(FeastFileRegistryStore):
    """The registry at `registry.path`; a relative path is below LOOKBOOK_HOME.

    It is replaced as a whole: Feast's own empties the file before it writes, so who reads meanwhile, or
    after a kill, finds nothing registered.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        self._filepath = places.resolve(registry_config.path)
        self._filepath.parent.mkdir(parents=True, exist_ok=True)

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(_utc_now())
        with places.whole_file(self._filepath) as partial, partial.open("wb") as file:
            file.write(registry_proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
