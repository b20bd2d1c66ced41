"""What was found out about a release, kept on disk by what it is of, so that it is not found out twice.

Light to import: a rollback waits for this and no more.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from feature_repo import places
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import environment

Said = Mapping[str, Any]


def kept(name: str, meant: Said, made: Callable[[], Said]) -> Said:
    """What was found before of the same thing by the same code, or is now.

    Args:
        name: what kind of thing it is.
        meant: all that it depends on beside the code.
        made: finds it out.
    """
    text = json.dumps([meant, environment()], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    file = places.home() / "evidence" / f"{name}-{digest[:16]}.json"
    # What cannot be read is found out again.
    with suppress(OSError, ValueError):
        found: Said = json.loads(file.read_bytes())
        return found
    text = json.dumps(made(), default=str)
    with places.whole_file(file) as partial:
        partial.write_text(text, encoding="utf-8")
    again: Said = json.loads(text)
    return again


def require_loads(chosen: releases.Release) -> None:
    """
    Raises:
        RegistryError: the release cannot be loaded by this code, or its features have changed.
    """

    def loaded() -> Said:
        from pipelines.model_registry.composing import load_recommender, load_search

        load_recommender(chosen)
        load_search(chosen)
        return {"loads": True}

    parts = {role: part.content_hash for role, part in chosen.open_parts().items()}
    kept("loads", {"release": chosen.tag, "parts": parts}, loaded)


def rollback(alias: str = "production", why: str = "", by: str | None = None) -> releases.Move:
    """Undo the last promotion of an alias that is not undone yet, if what was there before can still be served.

    What this code has loaded once is not loaded again: a rollback must not wait.

    Raises:
        RegistryError: it cannot be loaded by this code; as `release.rollback`.
    """
    earlier = releases.before(alias)
    require_loads(releases.get(earlier))
    return releases.rollback(alias, why, by, expected=earlier)
