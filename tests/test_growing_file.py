"""A file that grows: the same bytes however often its writer was ended, and never a part of it."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import places
from feature_repo.errors import LookbookError
from pipelines.growing_file import growing_file

PIECES = [f"{number},{number * number}\n".encode() for number in range(6)]
WHOLE = b"".join(PIECES)
MADE_OF = {"another release": "release:a", "another k": 12}


class Ended(Exception):
    """What ends a run."""


def write(path: Path, ends: int | None = None, made_of: dict[str, object] = MADE_OF) -> list[str]:
    """Write the pieces, or as many as are there when it ends; gives what was told."""
    told: list[str] = []
    with suppress(Ended), growing_file(path, made_of, told.append) as file:
        for number, piece in enumerate(PIECES):
            if number == ends:
                raise Ended
            if number >= file.rows:
                file.append(piece, 1)
    return told


def partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def record(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial.json")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_it_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.csv"
    assert write(path) == []
    assert path.read_bytes() == WHOLE
    assert names(path.parent) == ["file.csv"]
    # And takes the place of what was there.
    path.write_text("as it was")
    assert write(path, ends=3) == []
    assert path.read_text() == "as it was"
    assert write(path) == ["file.csv goes on where an earlier run ended, after 3 rows."]
    assert path.read_bytes() == WHOLE


@settings(max_examples=40, deadline=None)
@given(
    ends=st.lists(st.integers(0, 6), max_size=4),
    torn=st.binary(max_size=40),
    tear=st.integers(0, 20),
    half_a_record=st.booleans(),
)
def test_however_often_it_was_ended(
    ends: list[int],
    torn: bytes,
    tear: int,
    half_a_record: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Between pieces, within one, within its record; or the machine lost power, and bytes are gone."""
    path = tmp_path_factory.mktemp("ended") / "file.csv"
    for number in ends:
        write(path, ends=number)
        if partial(path).exists():
            with partial(path).open("ab") as file:
                file.write(torn)
            if tear:
                os.truncate(partial(path), max(0, partial(path).stat().st_size - tear))
        if half_a_record:
            (path.parent / f"{record(path).name}.next").write_text('{"rows": ')
    write(path)
    assert path.read_bytes() == WHOLE
    assert names(path.parent) == ["file.csv"]


def test_it_can_be_killed(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom pipelines.growing_file import growing_file\n"
        f"with growing_file(Path(sys.argv[1]), {MADE_OF}) as file:\n"
        "    for number in range(4):\n"
        "        file.append(f'{number},{number * number}\\n'.encode(), 1)\n"
        "    print('four', flush=True)\n"
        "    file._stream.write(b'half of a pie')\n"
        "    file._stream.flush()\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=places.PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "four\n"
    with pytest.raises(LookbookError, match=r"Another run is writing .*file\.csv: wait"):
        write(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()
    assert write(path) == ["file.csv goes on where an earlier run ended, after 4 rows."]
    assert path.read_bytes() == WHOLE
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"another release": "release:b", "another k": 12}, "of another release"),
        ({"another release": "release:b", "another k": 3}, "of another release and another k"),
        ({"another release": "release:a"}, "of another k"),
        ({**MADE_OF, "another size": 3}, "of another version"),
    ],
)
def test_what_is_of_something_else_is_not_gone_on_with(
    tmp_path: Path, other: dict[str, object], said: str
) -> None:
    path = tmp_path / "file.csv"
    write(path, ends=3, made_of=other)
    assert write(path) == [f"What an earlier run left of file.csv is {said}: it starts anew."]
    assert path.read_bytes() == WHOLE
    assert names(tmp_path) == ["file.csv"]


def test_what_was_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    write(path, ends=3)
    partial(path).write_bytes(b"9" + partial(path).read_bytes()[1:])
    damaged = ["What an earlier run left of file.csv is damaged: it starts anew."]
    assert write(path) == damaged
    assert path.read_bytes() == WHOLE
    for nonsense in (
        "no record",
        "[]",
        "{}",
        '{"made_of": 1, "bytes": 2, "rows": 3, "checksum": 4}',
    ):
        write(path, ends=3)
        record(path).write_text(nonsense)
        assert write(path) == damaged
        assert path.read_bytes() == WHOLE


def test_a_run_that_had_done_nothing_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    write(path, ends=0)
    assert names(tmp_path) == []
    # Also where it took the place of another one's rest.
    write(path, ends=3)
    write(path, ends=0, made_of={"another release": "release:b"})
    assert names(tmp_path) == []


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"

    def fill_the_disk() -> None:
        with growing_file(path, MADE_OF) as file:
            file.append(PIECES[0], 1)
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as told:
        fill_the_disk()
    assert told.value.filename == str(path)
    assert write(path)[0].endswith("after 1 row.")
