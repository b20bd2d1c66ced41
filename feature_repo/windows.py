"""The look-back windows, listed once: the SQL, the Feast fields and the models all read them here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A look-back of whole days; `days` is None for the whole past."""

    name: str
    days: int | None

    @property
    def words(self) -> str:
        return "ever" if self.days is None else f"in the last {self.days} days"


WINDOWS = (
    Window("7d", 7),
    Window("30d", 30),
    Window("90d", 90),
    Window("180d", 180),
    Window("365d", 365),
    Window("lifetime", None),
)
SHORT_WINDOWS = tuple(window for window in WINDOWS if window.days in (7, 30))
DECAY_DAYS = 30.0
"""The time in which the weight of a purchase falls to 1/e, in days."""

RECENT_ARTICLES = 200
"""How many articles `customer_recent` remembers of each customer."""

SESSION_EVENTS = 50
"""How many events `customer_session` remembers of each customer."""
