"""Request quota of API keys: a GCRA bucket for each."""

from __future__ import annotations

from collections import OrderedDict

from broker.venue.rest.rate_limit import Bucket

MAX_CLIENTS = 10_000


class Quota:
    """One bucket for each client, that is for each id of API keys."""

    def __init__(self, requests_per_s: float, burst: float) -> None:
        self._fresh = Bucket(requests_per_s, burst)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Count one request of `client`; 0 if it may pass, else the seconds until the next may."""
        bucket = self._buckets.get(client, self._fresh)
        if (wait_s := bucket.wait_s(now_s)) > 0:
            return wait_s
        self._buckets[client] = bucket.taken(now_s)
        self._buckets.move_to_end(client)
        # A bound on memory only: the client that was idle longest has long had its whole burst back.
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0

    def give_back(self, client: str) -> None:
        """Undo one count: another broker counts the request."""
        if (bucket := self._buckets.get(client)) is not None:
            self._buckets[client] = bucket.given_back()
