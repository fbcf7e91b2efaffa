from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from lightkube import AsyncClient

from broker.order_wiring import build_lease
from broker.orders.dependencies import NOBODY
from broker.orders.ownership.cluster_lease import ClusterLease, Connect, SeenLease, wait_s, with_fraction
from broker.orders.ownership.lease import FileLease
from broker.orders.ownership.policies import ColourPolicy, acquire
from broker.orders.settings import OrderSettings
from tests.unit.broker.orders.boot_clock import BootClock
from tests.unit.broker.orders.ownership.api_server import LEASE, ApiServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def lease(api: Connect, me: str) -> ClusterLease:
    return ClusterLease(api, LEASE, lease_s=10.0, me=me)


async def test_one_of_two_owns(api: Connect, server: ApiServer, clock: BootClock) -> None:
    first, second = lease(api, "a"), lease(api, "b")
    assert await first.acquire() == 0.0
    assert await second.acquire() == 12.0
    assert (first.holds(), second.holds(), second.holder()) == (True, False, "a (epoch 1)")
    assert first.holder() == NOBODY
    spec = server.leases[LEASE]["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 10, 1)


async def test_owner_s_address_is_read_without_taking(api: Connect, clock: BootClock) -> None:
    owner = ClusterLease(api, LEASE, lease_s=10.0, me="a", address="10.0.0.1:8080")
    standby = lease(api, "b")
    await owner.acquire()
    await standby.refresh()
    assert (standby.address(), standby.epoch) == ("10.0.0.1:8080", 0)
    await owner.release()
    await standby.refresh()
    assert standby.address() == ""


async def test_note_is_handed_on_over_release_and_expiry(api: Connect, clock: BootClock) -> None:
    first, second, third = (lease(api, name) for name in "abc")
    await first.acquire()
    assert first.note() == ""
    first.hand_over("halted")
    await first.renew()
    await first.release()
    await second.acquire()
    assert second.note() == "halted"
    assert await third.acquire() == 12.0
    clock.now_s += 12.0
    await third.acquire()
    assert third.note() == "halted"


async def test_what_others_wrote_on_the_lease_stays(api: Connect, server: ApiServer, clock: BootClock) -> None:
    owner = lease(api, "a")
    await owner.acquire()
    metadata = server.leases[LEASE]["metadata"]
    metadata |= {"labels": {"team": "fx"}, "annotations": {"why": "audit"}}
    await owner.refresh()
    owner.hand_over("active")
    assert await owner.renew()
    metadata = server.leases[LEASE]["metadata"]
    assert metadata["labels"] == {"team": "fx"}
    assert metadata["annotations"] == {"why": "audit", "broker.role/handed-on": "active"}


async def test_two_that_take_at_once_are_told_apart_by_the_version(api: Connect, clock: BootClock) -> None:
    rivals = [lease(api, name) for name in "abcde"]
    waits = await asyncio.gather(*(rival.acquire() for rival in rivals))
    assert sorted(rival.holds() for rival in rivals) == [False, False, False, False, True]
    assert waits.count(0.0) == 1


async def test_released_is_free_at_once_under_the_next_epoch(api: Connect, clock: BootClock) -> None:
    first, second = lease(api, "a"), lease(api, "b")
    await first.acquire()
    await first.release()
    assert not first.holds()
    assert await second.acquire() == 0.0
    assert second.epoch == 2


async def test_paused_owner_wakes_up_fenced(api: Connect, clock: BootClock) -> None:
    paused, successor = lease(api, "a"), lease(api, "b")
    await paused.acquire()
    assert await successor.acquire() == 12.0
    clock.now_s += 12.0
    assert await successor.acquire() == 0.0
    assert not paused.holds()
    assert not await paused.renew()
    assert await successor.renew()


async def test_a_lease_that_moves_is_waited_for_anew(api: Connect, clock: BootClock) -> None:
    owner, other = lease(api, "a"), lease(api, "b")
    await owner.acquire()
    await other.acquire()
    clock.now_s += 7.0
    assert await owner.renew()
    assert await other.acquire() == 12.0


async def test_api_server_that_is_down_lets_the_owner_run_to_its_deadline(
    api: Connect, server: ApiServer, clock: BootClock
) -> None:
    owner = lease(api, "a")
    await owner.acquire()
    server.is_down = True
    clock.now_s += 7.9
    assert await owner.renew()
    clock.now_s += 0.2
    assert not await owner.renew()
    assert await owner.acquire() == 2.0
    server.is_down = False
    assert await owner.acquire() == 0.0


async def test_touched_by_somebody_else_is_still_ours(api: Connect, server: ApiServer, clock: BootClock) -> None:
    owner = lease(api, "a")
    await owner.acquire()
    server.leases[LEASE]["metadata"]["resourceVersion"] = "99"
    clock.now_s += 1.0
    assert await owner.renew()
    clock.now_s += 1.0
    assert await owner.renew()
    assert await lease(api, "b").acquire() == 12.0


async def test_quiet_is_the_time_since_the_owners_last_sign(api: Connect, server: ApiServer, clock: BootClock) -> None:
    owner, standby = lease(api, "a"), lease(api, "b")
    await standby.refresh()
    clock.now_s += 3.0
    assert standby.quiet_s() == 3.0, "nobody had it; we look since then"
    await owner.acquire()
    await standby.refresh()
    assert standby.quiet_s() == 0.0
    clock.now_s += 5.0
    await standby.refresh()
    assert standby.quiet_s() == 5.0
    await owner.renew()
    await owner.release()
    await standby.refresh()
    assert (standby.quiet_s(), standby.is_free()) == (0.0, True)


def test_waits_are_judged_from_when_it_was_seen() -> None:
    seen = SeenLease(version="1", holder="a", epoch=1, lease_s=10.0, since_s=100.0)
    assert wait_s(seen, me="b", now_s=105.0) == 7.0
    assert wait_s(seen, me="a", now_s=105.0) == 0.0
    assert wait_s(SeenLease(), me="b", now_s=105.0) == 0.0


def test_settings_choose_where_it_is_kept(tmp_path: Path) -> None:
    assert isinstance(build_lease(OrderSettings(directory=tmp_path, ownership="cluster"), "101"), ClusterLease)
    assert isinstance(build_lease(OrderSettings(directory=tmp_path), "101"), FileLease)


async def test_a_standby_asks_the_api_server_once_a_second_at_most(tmp_path: Path) -> None:
    lease = ClusterLease(AsyncClient, "lease", lease_s=15)
    assert lease.poll_every_s == 1.0
    assert await acquire(lease, [ColourPolicy(tmp_path / "labels", "broker.role/colour")]) == 1.0


@pytest.mark.parametrize(("microsecond", "written"), [(0, 1), (1, 1), (999_999, 999_999)])
def test_time_of_a_lease_is_never_a_whole_second(microsecond: int, written: int) -> None:
    moment = datetime(2026, 1, 5, 10, 0, 7, microsecond, tzinfo=UTC)
    assert with_fraction(moment) == moment.replace(microsecond=written)


@pytest.mark.parametrize(
    "front",
    [
        web.Response(status=200, text="{}", content_type="application/json"),
        web.Response(status=200, text='{"metadata": {"name": "broker-101"}}', content_type="application/json"),
        web.Response(status=200, text="<html>Sign in</html>", content_type="text/html"),
        web.Response(status=200),
        web.Response(status=302),
        web.Response(status=404, text="<html>no such site</html>", content_type="text/html"),
        web.Response(status=409, text="{}", content_type="application/json"),
        web.Response(status=403, text="{", content_type="application/json"),
        web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html"),
    ],
    ids=["empty object", "no version", "page", "empty", "redirect", "404 page", "409 object", "cut", "502 page"],
)
async def test_an_answer_of_something_in_front_renews_nothing_and_frees_nothing(
    api: Connect, server: ApiServer, clock: BootClock, front: web.Response
) -> None:
    owner, standby = lease(api, "a"), lease(api, "b")
    await owner.acquire()
    assert await standby.acquire() == 12.0
    server.front = front
    clock.now_s += 7.0
    assert await owner.renew(), "its own time runs"
    assert await standby.acquire() > 0
    clock.now_s += 1.5
    assert not owner.holds(), "nobody has renewed it"
    server.front = None
    assert await standby.acquire() == pytest.approx(3.5)


async def test_a_lease_that_was_deleted_is_made_anew_by_its_owner(
    api: Connect, server: ApiServer, clock: BootClock
) -> None:
    owner, standby = lease(api, "a"), lease(api, "b")
    await owner.acquire()
    await standby.acquire()
    server.leases.clear()
    clock.now_s += 5.0
    assert await standby.acquire() == pytest.approx(7.0), "who was seen to hold it may trade still"
    assert await owner.renew()
    assert await standby.acquire() == 12.0
    assert server.leases[LEASE]["spec"]["leaseTransitions"] == 1


async def test_a_standby_makes_a_deleted_lease_once_its_term_is_over_with_the_next_epoch(
    api: Connect, server: ApiServer, clock: BootClock
) -> None:
    owner, standby = lease(api, "a"), lease(api, "b")
    await owner.acquire()
    await standby.acquire()
    server.leases.clear()
    clock.now_s += 12.0
    assert await standby.acquire() == 0.0
    assert (standby.epoch, owner.holds(), await owner.renew()) == (2, False, False)


async def test_an_owner_whose_deleted_lease_a_rival_made_stops_at_once(
    api: Connect, server: ApiServer, clock: BootClock
) -> None:
    owner, rival = lease(api, "a"), lease(api, "b")
    await owner.acquire()
    server.leases.clear()
    assert await rival.acquire() == 0.0, "it has never seen the owner"
    assert not await owner.renew()
    assert not owner.holds()


async def test_the_api_server_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {token: t}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    made: dict[str, Any] = {}
    monkeypatch.setattr("lightkube.AsyncClient", lambda *_, **options: made.update(options))
    found = build_lease(OrderSettings(directory=tmp_path, ownership="cluster"), "101")
    assert isinstance(found, ClusterLease)
    await found.refresh()
    assert made["trust_env"] is False
