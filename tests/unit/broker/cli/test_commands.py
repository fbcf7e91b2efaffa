from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.cli import commands
from broker.cli.commands import ApiAnswerError, ApiCall

ORDER = {"id": "01J", "instrument": "EUR_USD", "side": "buy", "units": "100", "price": None, "status": "pending"}
Run = Callable[..., Result]


class FakeBroker:
    def __init__(self) -> None:
        self.calls: list[ApiCall] = []
        self.keys: list[str] = []
        self.answer: dict[str, Any] | ApiAnswerError = {}

    async def __call__(self, call: ApiCall, *, url: str, key: str, ca_file: Path | None) -> dict[str, Any]:
        self.calls.append(call)
        self.keys.append(key)
        if isinstance(self.answer, ApiAnswerError):
            raise self.answer
        return self.answer


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    made = FakeBroker()
    monkeypatch.setattr(commands, "ask", made)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    key = tmp_path / "key"
    key.write_text("the-key\n")

    def invoke(name: str, *arguments: str) -> Result:
        return CliRunner().invoke(commands.COMMANDS[name], [*arguments, "--key-file", str(key)])

    return invoke


def test_orders_are_lines_with_tabs_where_there_is_no_terminal(broker: FakeBroker, run: Run) -> None:
    broker.answer = {"orders": [ORDER]}
    result = run("orders", "--instrument", "EUR_USD")

    header, line = result.output.splitlines()
    assert header.split("\t")[:4] == ["id", "instrument", "side", "type"]
    assert line.split("\t")[:7] == ["01J", "EUR_USD", "buy", "-", "100", "-", "pending"]
    assert broker.calls == [ApiCall("GET", "/v1/orders", params={"instrument": "EUR_USD"})]
    assert broker.keys == ["the-key"]


def test_account_goes_with_every_question(broker: FakeBroker, run: Run) -> None:
    broker.answer = {"orders": []}
    run("orders", "--instrument", "EUR_USD", "--account", "101")
    assert broker.calls == [ApiCall("GET", "/v1/orders", params={"instrument": "EUR_USD", "account": "101"})]


def test_json_is_the_answer_itself(broker: FakeBroker, run: Run) -> None:
    broker.answer = {"orders": [ORDER]}

    assert json.loads(run("orders", "--json").output) == broker.answer


def test_nothing_is_said_in_words(broker: FakeBroker, run: Run) -> None:
    broker.answer = {"positions": []}

    assert run("positions").output == "no open positions\n"


@pytest.mark.parametrize(("name", "state"), [("halt", "halted"), ("reduce", "reducing"), ("resume", "active")])
def test_state_is_changed_with_a_reason(broker: FakeBroker, run: Run, name: str, state: str) -> None:
    broker.answer = {"state": state}
    result = run(name, "--reason", "news")

    assert result.output == f"the broker is {state}\n"
    assert broker.calls == [ApiCall("PUT", "/v1/admin/state", body={"state": state, "reason": "news"})]
    assert run(name).exit_code == 2


def test_mismatches_are_listed(broker: FakeBroker, run: Run) -> None:
    broker.answer = {"mismatches": [{"kind": "position", "subject": "EUR_USD", "ours": "0", "theirs": "100"}]}

    assert run("reconcile").output == "kind\tsubject\tours\ttheirs\nposition\tEUR_USD\t0\t100\n"


@pytest.mark.parametrize(("status", "code"), [(401, 77), (403, 77), (422, 1), (503, 1), (0, 69)])
def test_exit_code_says_what_kind_of_failure(broker: FakeBroker, run: Run, status: int, code: int) -> None:
    broker.answer = ApiAnswerError(status, "why it failed")
    result = run("orders")

    assert result.exit_code == code
    assert "why it failed" in result.output


def test_smoke_buys_one_unit_and_sells_it(broker: FakeBroker, run: Run) -> None:
    broker.answer = ORDER | {"status": "filled"}
    assert run("smoke").exit_code == 0
    assert [(call.path, call.body) for call in broker.calls] == [
        ("/v1/orders", {"instrument": "EUR_USD", "side": side, "type": "market", "units": "1"})
        for side in ("buy", "sell")
    ]


@pytest.mark.parametrize("status", ["pending", "cancelled", "unknown"])
def test_smoke_fails_where_an_order_is_not_filled(broker: FakeBroker, run: Run, status: str) -> None:
    broker.answer = ORDER | {"status": status}
    assert run("smoke").exit_code == 1


@pytest.mark.parametrize(
    ("status", "preview", "code"), [(409, [], 1), (403, ["--preview"], 77), (0, ["--preview"], 69)]
)
def test_smoke_fails_where_the_broker_refuses(
    broker: FakeBroker, run: Run, status: int, preview: list[str], code: int
) -> None:
    broker.answer = ApiAnswerError(status, "refused")
    assert run("smoke", *preview).exit_code == code


def test_a_previews_smoke_places_nothing_and_asks_the_owner(broker: FakeBroker, run: Run) -> None:
    broker.answer = {"would_be_sent": True, "check": None}
    assert run("smoke", "--preview").exit_code == 0
    assert [(call.method, call.path) for call in broker.calls] == [
        ("POST", "/v1/orders/test"),
        ("POST", "/v1/orders/test"),
        ("GET", "/v1/orders"),
    ]


@pytest.mark.parametrize(("check", "code"), [("tradeable", 0), ("collar", 1)])
def test_a_closed_market_is_no_fault_of_a_preview(broker: FakeBroker, run: Run, check: str, code: int) -> None:
    broker.answer = {"would_be_sent": False, "check": check, "reason": "WHY", "message": "words"}
    result = run("smoke", "--preview")
    assert result.exit_code == code
    assert ("WHY" in result.output) is (code == 1)


def test_smoke_goes_on_for_its_rounds(broker: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("broker.cli.commands.time.sleep", pauses.append)
    broker.answer = {"would_be_sent": True, "check": None}
    assert run("smoke", "--preview", "--rounds", "3").exit_code == 0
    assert (pauses, len(broker.calls)) == ([1.0, 1.0], 9)


def test_a_watch_asks_again_until_it_is_interrupted(
    broker: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("broker.cli.commands.time.sleep", sleep)
    broker.answer = {"orders": []}
    result = run("orders", "--watch")
    assert (result.exit_code, result.output) == (0, "no open orders\n" * 2)
    assert slept == [1.0, 1.0]


def test_a_watch_in_json_is_a_document_a_line(broker: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("broker.cli.commands.time.sleep", interrupt)
    broker.answer = {"positions": [{"instrument": "EUR_USD"}]}
    assert json.loads(run("positions", "--watch", "--json").output) == broker.answer


KILLED = {
    "complete": True,
    "state": "halted",
    "id": "101",
    "results": [{"subject": "EUR_USD", "outcome": "done", "reason": None, "message": None, "order": None}],
}


def test_kill_confirms_the_account_that_it_asked_for(broker: FakeBroker, run: Run) -> None:
    broker.answer = KILLED
    result = run("kill", "--reason", "wrong prices", "--yes", "--key", "k")

    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "the broker is halted")
    body, headers = {"confirm": "101", "reason": "wrong prices"}, {"Idempotency-Key": "k"}
    assert broker.calls[1:] == [ApiCall("POST", "/v1/admin/kill", body=body, headers=headers)]


def test_kill_without_a_terminal_needs_yes(broker: FakeBroker, run: Run) -> None:
    broker.answer = KILLED
    result = run("kill", "--reason", "wrong prices")

    assert (result.exit_code, "--yes" in result.output) == (2, True)
    assert [call.path for call in broker.calls] == ["/v1/account"]


def test_kill_that_leaves_something_open_ends_with_an_error(broker: FakeBroker, run: Run) -> None:
    broker.answer = {**KILLED, "complete": False}
    result = run("kill", "--reason", "wrong prices", "--yes")

    assert (result.exit_code, "not everything" in result.output) == (1, True)


@pytest.mark.parametrize(("name", "path"), [("cancel-all", "/v1/orders/cancel"), ("close-all", "/v1/positions/close")])
def test_mass_command_tells_each_outcome(broker: FakeBroker, run: Run, name: str, path: str) -> None:
    broker.answer = KILLED
    result = run(name, "--instrument", "EUR_USD", "--yes")

    assert result.exit_code == 0
    assert result.output.splitlines()[1].split("\t") == ["EUR_USD", "done", "-", "-"]
    assert broker.calls == [ApiCall("POST", path, body={"instrument": "EUR_USD"})]
