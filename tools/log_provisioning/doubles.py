"""Removes records that were stored twice across a rollover: `python -m tools.log_provisioning.doubles`.

With `--report-only` it counts them and changes nothing.

Elasticsearch compares ids within one backing index. A record that is sent again after a rollover (its first answer
was lost, or a sidecar resumed from an older checkpoint) is therefore stored again, in the newer index. It was made
before the rollover, and its id is in an older index: such a document is deleted from the newer one. What came late
but once stays. Again is the same; an interrupted run loses nothing.

ELASTICSEARCH_URL, API_KEY_FILE, CA_FILE as for provision.py; the key needs `view_index_metadata`, `read` and `delete`
on the streams. Exit status 0 where nothing is stored twice any more, 2 where --report-only found something, 69 where
the engine does not answer, 1 where it refuses something.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tools.log_provisioning.provision import NOT_FOUND, STREAMS, RefusedError, Server, Step, ended, engine_of

LOOKBACK_MS = 3 * 24 * 3600 * 1000
"""Rollovers that are looked at: a journal that is full drops what is older long before."""
SKEW_MS = 5 * 60 * 1000
"""Largest lead of a producer's clock over the engine's."""
PAGE = 1000
FOUND = 2


@dataclass(frozen=True, slots=True)
class Rollover:
    """A backing index, when it was made, and those before it that may hold the same records."""

    index: str
    made_ms: int
    older: Sequence[str]


def rollovers(created: Mapping[str, int], now_ms: int) -> Iterator[Rollover]:
    """The recent rollovers of one data stream, from the creation dates of its backing indices."""
    ordered = sorted(created, key=lambda name: (created[name], name))
    for before, name in pairwise(ordered):
        if created[name] >= now_ms - LOOKBACK_MS:
            recent = [item for item in ordered[: ordered.index(name)] if created[item] >= now_ms - LOOKBACK_MS]
            yield Rollover(name, created[name], recent if before in recent else [before, *recent])


def stream_of(index: str) -> str:
    """`.ds-logs-broker.otel-default-2026.11.24-000002` is of `logs-broker.otel-default`."""
    return index.removeprefix(".ds-").rsplit("-", 2)[0]


def ask(engine: Server, what: str, path: str, body: Mapping[str, Any] | None = None, method: str = "POST") -> Any:
    """A request and its JSON; an empty object where there is no such stream."""
    text = json.dumps(body).encode() if body is not None else b""
    return json.loads(engine.do(Step(what, method, path, text, absent=NOT_FOUND)) or b"{}")


def streams(engine: Server) -> dict[str, dict[str, int]]:
    """By data stream, the creation dates of its backing indices."""
    found: dict[str, dict[str, int]] = {}
    for pattern in STREAMS:
        path = f"{pattern}/_settings?filter_path=*.settings.index.creation_date"
        for name, item in ask(engine, "settings", path, method="GET").items():
            found.setdefault(stream_of(name), {})[name] = int(item["settings"]["index"]["creation_date"])
    return found


def late(engine: Server, rollover: Rollover) -> Iterator[list[str]]:
    """Ids of a backing index's documents that were made before it, page by page."""
    made = {"range": {"@timestamp": {"lte": rollover.made_ms + SKEW_MS, "format": "epoch_millis"}}}
    query = {"size": PAGE, "_source": False, "sort": ["_doc"], "query": made}
    page = ask(engine, "search", f"{rollover.index}/_search?scroll=2m", query)
    while hits := page.get("hits", {}).get("hits"):
        yield [hit["_id"] for hit in hits]
        page = ask(engine, "scroll", "_search/scroll", {"scroll": "2m", "scroll_id": page["_scroll_id"]})


def doubled(engine: Server, rollover: Rollover) -> Iterator[list[str]]:
    """Those of them whose ids are in an older index, too."""
    for ids in late(engine, rollover):
        query = {"size": PAGE, "_source": False, "query": {"ids": {"values": ids}}}
        found = ask(engine, "search", f"{','.join(rollover.older)}/_search", query)
        if hits := {hit["_id"] for hit in found["hits"]["hits"]}:
            yield sorted(hits)


def remove(engine: Server, index: str, ids: Sequence[str]) -> None:
    """Deletes documents of one backing index.

    Raises:
        RefusedError: the engine kept one.
    """
    lines = "".join(json.dumps({"delete": {"_index": index, "_id": item}}) + "\n" for item in ids)
    step = Step("delete", "POST", "_bulk?refresh=true", lines.encode(), "application/x-ndjson")
    kept = [item["delete"] for item in json.loads(engine.do(step))["items"] if item["delete"]["status"] >= 300]  # noqa: PLR2004 - HTTP's success
    if any(item["status"] != NOT_FOUND for item in kept):
        raise RefusedError(f"{index} kept a document: {kept[0]}")


def check(engine: Server, now_ms: int, *, removing: bool) -> int:
    """Goes through all recent rollovers; says what was found, a line of JSON each, and how many that is."""
    count = 0
    for stream, created in sorted(streams(engine).items()):
        for rollover in rollovers(created, now_ms):
            found = 0
            for ids in doubled(engine, rollover):
                if removing:
                    remove(engine, rollover.index, ids)
                found += len(ids)
            told = {"event": "logs.doubles", "stream": stream, "index": rollover.index, "doubled": found}
            sys.stdout.write(json.dumps(told | {"removed": found if removing else 0}) + "\n")
            count += found
    return count


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Reads the environment and checks."""
    removing = "--report-only" not in arguments
    engine = engine_of(environ)
    if engine is None:
        return os.EX_USAGE

    def work() -> int:
        count = check(engine, int(time.time() * 1000), removing=removing)
        return FOUND if count and not removing else 0

    return ended(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
