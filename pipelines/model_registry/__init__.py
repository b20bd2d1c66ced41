"""The model registry: versions with lineage, releases made of versions, aliases with a history."""

from pipelines.model_registry.registry import (
    Lineage,
    RegistryError,
    Version,
    list_versions,
    open_version,
    save_version,
)

__all__ = [
    "Lineage",
    "RegistryError",
    "Version",
    "list_versions",
    "open_version",
    "save_version",
]
