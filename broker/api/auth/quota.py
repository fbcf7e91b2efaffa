"""How often one API key may ask."""

from __future__ import annotations

from collections import OrderedDict

from broker.venue.rest.rate_limit import Bucket

MAX_CALLERS = 10_000


class Quota:
    """One GCRA bucket a caller; the caller that was idle longest is forgotten beyond 10,000."""

    def __init__(self, rate: float, burst: float) -> None:
        self._fresh = Bucket(rate, burst)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait_s(self, caller: str, now_s: float) -> float:
        """Takes one request of `caller`; 0 where it may pass, else the seconds until the next may."""
        bucket = self._buckets.get(caller, self._fresh)
        if (wait_s := bucket.wait_s(now_s)) > 0:
            return wait_s
        self._buckets[caller] = bucket.taken(now_s)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0

    def give_back(self, caller: str) -> None:
        """One that was taken is counted elsewhere."""
        if (bucket := self._buckets.get(caller)) is not None:
            self._buckets[caller] = bucket.given_back()
