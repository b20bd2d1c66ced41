"""A file that takes long to write: it appears whole or not at all, and a run that was ended is gone on with.

Until it is whole it grows beside its place under a hidden name. After each piece a record says of what the
file is made and how far it is good. What stands behind that was written by a run that ended in the
middle, and is cut off.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from feature_repo.errors import InputError
from pipelines.reports.words import many


class GrowingFile:
    """What `growing_file` gives.

    Attributes:
        rows: how many it holds, also those of earlier runs.
    """

    def __init__(self, stream: BinaryIO, record: Path, made_of: Mapping[str, object]) -> None:
        self._stream = stream
        self._record = record
        self._next_record = record.with_name(f"{record.name}.next")
        self._made_of = dict(made_of)
        self._checksum = 0
        self.rows = 0

    def append(self, piece: bytes, rows: int) -> None:
        """Write a piece with so many rows; from now on it need not be written again."""
        self._stream.write(piece)
        self._stream.flush()
        self._checksum = zlib.crc32(piece, self._checksum)
        self.rows += rows
        said = {
            "made_of": self._made_of,
            "rows": self.rows,
            "bytes": self._stream.tell(),
            "checksum": self._checksum,
        }
        self._next_record.write_text(json.dumps(said), encoding="utf-8")
        self._next_record.replace(self._record)

    def take_up(self) -> str:
        """Go on from what is there, if it is of the same; else begin anew and say what is there."""
        unusable = self._found()
        if not self.rows:
            self.forget()
            self._stream.truncate(0)
        return unusable

    def forget(self) -> None:
        """Remove the record."""
        for file in (self._record, self._next_record):
            file.unlink(missing_ok=True)

    def _found(self) -> str:
        if not self._stream.seek(0, os.SEEK_END):
            return ""
        try:
            said = json.loads(self._record.read_text(encoding="utf-8"))
            made_of, size = dict(said["made_of"]), int(said["bytes"])
            rows, checksum = int(said["rows"]), int(said["checksum"])
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError):
            return "damaged"
        if made_of != self._made_of:
            different = [how for how, value in self._made_of.items() if made_of.get(how) != value]
            return f"of {' and '.join(different) or 'another version'}"
        if self._checksum_of(size) != checksum:
            return "damaged"
        self._stream.truncate(size)
        self.rows, self._checksum = rows, checksum
        return ""

    def _checksum_of(self, size: int) -> int:
        """Of the first bytes; -1 if there are fewer."""
        self._stream.seek(0)
        checksum = 0
        while size > 0:
            piece = self._stream.read(min(size, 2**20))
            if not piece:
                return -1
            checksum = zlib.crc32(piece, checksum)
            size -= len(piece)
        return checksum


@contextmanager
def growing_file(
    path: Path,
    made_of: Mapping[str, object],
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[GrowingFile]:
    """A file to append to, which takes its place at the end of the block; what is done stays if the block
    raises, or the process is killed, and is there the next time.

    Args:
        path: where it is to be. Folders on the way are made.
        made_of: what its bytes depend on, by the words in which a difference is told, such as "another
            release".
        progress: told when an earlier run is gone on with, and why one cannot be.

    Raises:
        InputError: another process is writing it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    record = partial.with_name(f"{partial.name}.json")
    try:
        with _alone(partial, path) as stream:
            file = GrowingFile(stream, record, made_of)
            unusable = file.take_up()
            try:
                if unusable:
                    progress(
                        f"What an earlier run left of {path.name} is {unusable}: it starts anew."
                    )
                elif file.rows:
                    progress(
                        f"{path.name} goes on where an earlier run ended, after {many(file.rows, 'row')}."
                    )
                yield file
            except BaseException:
                if not file.rows:
                    partial.unlink(missing_ok=True)
                    file.forget()
                raise
            # Not after the file has its place: the next run may have begun then, with a record of its own.
            file.forget()
            partial.replace(path)
    except OSError as error:
        # People know the file by its own name; a full disk tells none.
        ours = error.filename is None or Path(error.filename).name.startswith(partial.name)
        if error.errno and ours:
            error.filename = str(path)
        raise


@contextmanager
def _alone(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """The file, made if it is not there, to read and to write at its end, by one process at a time."""
    while True:
        with partial.open("a+b") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"Another run is writing {path}: wait for it to end, or give another name."
                ) from error
            # Whoever had it may just have put it into its place, and then it is to stay as it is.
            if partial.exists() and os.path.samestat(os.fstat(stream.fileno()), partial.stat()):
                yield stream
                return
