"""How often somebody may ask, and who is somebody."""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

MOST_CLIENTS = 10_000
"""Clients of which the rate is remembered; the one that has been quiet longest goes first."""


class Buckets:
    """A token bucket for each client: `per_second` requests, and twice as many at once.

    It remembers the `most` clients that asked last; one that is forgotten starts with a full bucket.
    """

    def __init__(
        self,
        per_second: float,
        most: int = MOST_CLIENTS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._rate = per_second
        self._full = max(1.0, 2 * per_second)
        self._most = most
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._left)

    def wait(self, client: str, requests: int = 1) -> float:
        """0 if the client may ask now, which counts; else the seconds until it may.

        Args:
            requests: for how many it counts; as no more than a full bucket holds after the request itself.
        """
        cost = min(requests, max(1.0, self._full - 1))
        if not self._rate:
            return 0.0
        # Endpoints charge from threads of their own.
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(client, (self._full, now))
            left = min(self._full, left + (now - since) * self._rate)
            allowed = left >= cost
            self._left[client] = (left - cost * allowed, now)
            if len(self._left) > self._most:
                self._left.popitem(last=False)
        return 0.0 if allowed else (cost - left) / self._rate


def neighbourhood(client: str) -> str:
    """Whose rate it is: an address, and of IPv6 the network, for every customer has one of them."""
    if ":" not in client:
        return client
    try:
        return str(ipaddress.ip_network(f"{client}/64", strict=False))
    except ValueError:
        return client
