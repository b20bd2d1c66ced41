"""The command `lookbook`: thin verbs over `pipelines`, a file for each kind."""

from pipelines.cli import answers, data, features, models, plan, releases
from pipelines.cli.console import main

__all__ = ["answers", "data", "features", "main", "models", "plan", "releases"]
