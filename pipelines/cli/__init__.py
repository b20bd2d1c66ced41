"""The command `lookbook`: thin verbs over `pipelines`, a file for each kind."""

from pipelines.cli import answers, data, features, models, releases
from pipelines.cli.console import main

__all__ = ["answers", "data", "features", "main", "models", "releases"]
