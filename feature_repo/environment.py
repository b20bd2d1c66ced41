"""What is set by environment variables beside places: numbers, and the token that opens a service."""

import math
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from feature_repo import places
from feature_repo.errors import InputError

TOKEN = "LOOKBOOK_TOKEN"
_LEAST_TOKEN = 16


def number(name: str, default: float, least: float, most: float = math.inf) -> float:
    """The variable as a number, or the default where it is not set.

    Raises:
        InputError: it is no number, or out of range.
    """
    text = os.environ.get(name) or str(default)
    with suppress(ValueError):
        if least <= (value := float(text)) <= most and math.isfinite(value):
            return value
    span = f"from {least} to {most}" if most < math.inf else f"of at least {least}"
    raise InputError(f"{name} is {text!r}: give a number {span}.")


def choice(name: str, choices: tuple[str, ...]) -> str:
    """The variable as one of the choices, of which the first is the default.

    Raises:
        InputError: it is none of them.
    """
    text = (os.environ.get(name) or choices[0]).lower()
    if text not in choices:
        raise InputError(f"{name} is {text!r}: give one of {', '.join(choices)}.")
    return text


def token() -> str:
    """What a request must carry to change something: `LOOKBOOK_TOKEN`, else one made for this home.

    It is made when first asked for and kept in LOOKBOOK_HOME/token, which only its owner may read.
    Any number of processes may ask at once, and all get the same.

    Raises:
        InputError: it is too short, has letters that a header cannot carry, or cannot be kept.
    """
    if given := os.environ.get(TOKEN):
        return _sound(given, TOKEN)
    file = places.home() / "token"
    try:
        if not file.exists():
            _make(file)
        return _sound(file.read_text(encoding="ascii", errors="replace").strip(), str(file))
    except OSError as error:
        raise InputError(f"{file} cannot be kept ({error.strerror}): set {TOKEN}.") from error


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
        # Whoever comes first wins: a link, unlike a rename, takes no one's place.
        with suppress(FileExistsError):
            file.hardlink_to(whole)
    finally:
        whole.unlink(missing_ok=True)


def _sound(text: str, source: str) -> str:
    # The text itself is in no message.
    if not re.fullmatch(rf"[A-Za-z0-9._~+/=-]{{{_LEAST_TOKEN},512}}", text):
        raise InputError(
            f"{source} is no token: give {_LEAST_TOKEN} to 512 of A-Z, a-z, 0-9, and . _ ~ + / = -"
        )
    return text
