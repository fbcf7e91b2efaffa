"""Order and position books: made up, the same for the same seed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from broker.simulator.http.server import Simulator
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20 import books
from broker.simulator.v20.candles import mid
from tests.v20_client import V20Client

AT_S = int(datetime(2026, 1, 5, 10, tzinfo=UTC).timestamp())
KINDS = ("orderBook", "positionBook")


def taken(kind: str = "orderBook", instrument: str = "EUR_USD", *, seed: int = 1, at_s: int = AT_S) -> dict[str, Any]:
    return books.snapshot(SimulatedMarket(seed, 0, [instrument]), kind, instrument, at_s)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instrument", LISTINGS)
def test_a_book_is_whole_around_its_price(kind: str, instrument: str) -> None:
    book = taken(kind, instrument)
    prices = [Decimal(bucket["price"]) for bucket in book["buckets"]]
    width = Decimal(book["bucketWidth"])
    shares = [Decimal(bucket[f"{side}CountPercent"]) for bucket in book["buckets"] for side in ("long", "short")]

    assert all((after - before) % width == 0 and after > before > 0 for before, after in pairwise(prices))
    assert prices[0] < Decimal(book["price"]) < prices[-1]
    assert abs(sum(shares, Decimal(0)) - 100) < Decimal("0.01")
    assert min(shares) >= 0


def test_the_same_seed_and_time_give_the_same_book() -> None:
    assert taken() == taken()
    assert taken() != taken(seed=2)
    assert taken()["buckets"] != taken(at_s=AT_S + books.SNAPSHOT_S)["buckets"]
    assert taken()["buckets"] != taken("positionBook")["buckets"]


def test_a_book_stands_where_the_candles_do() -> None:
    assert taken()["price"] == str(LISTINGS["EUR_USD"].round(Decimal(mid(1, LISTINGS["EUR_USD"], AT_S))))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_snapshot_in_force_is_given_with_links_to_its_neighbours(client: V20Client, kind: str) -> None:
    path = f"{client.rest_url}/v3/instruments/EUR_USD/{kind}"
    async with client.session.get(f"{path}?time=2026-01-05T10:07:31Z") as answer:
        book, links = (await answer.json())[kind], answer.links

    assert book["time"] == "2026-01-05T10:00:00.000000000Z"
    for relation, time in (("prev", "2026-01-05T09:40:00"), ("next", "2026-01-05T10:20:00")):
        async with client.session.get(links[relation]["url"]) as answer:
            assert (await answer.json())[kind]["time"] == f"{time}.000000000Z"


async def test_the_latest_snapshot_has_none_after_it(simulator: Simulator, client: V20Client) -> None:
    async with client.session.get(f"{client.rest_url}/v3/instruments/EUR_USD/orderBook") as answer:
        assert set(answer.links) == {"prev"}
        time = datetime.fromisoformat((await answer.json())["orderBook"]["time"][:19] + "+00:00").timestamp()
    assert 0 <= simulator.venue.clock.now_ns() / 1e9 - time < books.SNAPSHOT_S


async def test_a_book_is_zipped_whatever_the_client_accepts(client: V20Client) -> None:
    headers = {"Accept-Encoding": "identity"}
    async with client.session.get(f"{client.rest_url}/v3/instruments/EUR_USD/orderBook", headers=headers) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert (await answer.json())["orderBook"]["instrument"] == "EUR_USD"
