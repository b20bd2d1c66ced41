"""How numbers are put into words."""

from collections.abc import Mapping
from datetime import date
from typing import Any


def said_share(value: float | None) -> str:
    """0.123 as 12.3%; what is there but tiny is not nothing."""
    if value is None:
        return "none"
    if 0 < value < 0.001:
        return "less than 0.1%"
    return f"{100 * value:.3g}%" if value < 0.995 or value == 1 else f"{100 * value:.1f}%"


def said_tick(value: float) -> str:
    """A share at a bar; what is too small to be seen is not written."""
    if 0 < value < 0.0005:
        return ""
    return f"{100 * value:.3g}%" if value >= 0.01 else f"{100 * value:.2g}%"


def many(count: int, thing: str) -> str:
    """1 piece, 2 pieces."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def said_day(day: date) -> str:
    """22 September 2020, in English whatever the machine's language."""
    return f"{day.day} {day:%B %Y}"


def amount(value: Any) -> str:
    """A sum of money in few digits."""
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def said_bytes(count: float) -> str:
    """12.3 MB; nothing for none."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB" if count else ""


def listed(value: Any) -> str:
    """Settings as repurchase 100, ease 50; none if there are none."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) or "none"
