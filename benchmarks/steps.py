"""A step of a benchmark in a process of its own, so that its peak of memory is its own."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path


def run(script: str, *words: object, **env: str) -> dict[str, float]:
    """What `answer` printed in a process that runs the script with these words."""
    here = Path(script).resolve()
    done = subprocess.run(
        [sys.executable, str(here), *map(str, words)],
        cwd=here.parents[1],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | env,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(**values: float) -> None:
    """Print the figures of a step, and as `gigabytes` the most memory that this process held."""
    # Kilobytes on Linux, bytes on macOS.
    unit = 1e9 if sys.platform == "darwin" else 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({**values, "gigabytes": peak}))
