from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from broker.domain import OrderStatus
from broker.orders.model.lifecycle import TABLE, OrderEvent
from tools.reference import order_life_cycle as document
from tools.reference.order_life_cycle_drawing import PLACES, drawing

SVG = "{http://www.w3.org/2000/svg}"


def elements(table: dict[tuple[OrderStatus, OrderEvent], OrderStatus], name: str) -> list[ET.Element]:
    return list(ET.fromstring(drawing(table)).iter(SVG + name))  # noqa: S314 - we drew it ourselves


def test_picture_in_the_documentation_is_the_table() -> None:
    assert document.main(["--check"]) == 0


def test_another_picture_is_drift_until_it_is_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "PICTURE", tmp_path / "picture.svg")
    assert document.main(["--check"]) == 1
    (tmp_path / "picture.svg").write_text("<svg/>")
    assert document.main(["--check"]) == 1
    assert document.main([]) == 0
    assert document.main(["--check"]) == 0


def test_every_move_is_drawn_and_told() -> None:
    moves = [item for item in elements(dict(TABLE), "path") if "move" in item.get("class", "")]
    # What leads from one status to itself or to one in its own column is one line, whatever the event.
    same = [(start, end) for (start, _), end in TABLE.items() if PLACES[start][0] == PLACES[end][0]]
    assert len(moves) == len(TABLE) - len(same) + len(set(same))
    (words,) = elements(dict(TABLE), "desc")
    assert "From submitted lose leads to unknown." in str(words.text)
    assert str(words.text).count(" leads to ") == len(TABLE)


def test_every_status_has_a_box() -> None:
    names = [item.text for item in elements(dict(TABLE), "text") if item.get("class") == "name"]
    assert sorted(map(str, names)) == sorted(OrderStatus)


def test_what_comes_by_one_event_comes_in_at_one_place() -> None:
    table = {
        (OrderStatus.SUBMITTED, OrderEvent.FILL): OrderStatus.FILLED,
        (OrderStatus.UNKNOWN, OrderEvent.FILL): OrderStatus.FILLED,
    }
    ends = {item.get("d", "").rpartition(" ")[2] for item in elements(table, "path") if item.get("class")}
    assert ends == {str(PLACES[OrderStatus.FILLED][1] + 26)}


def test_a_status_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tools.reference.order_life_cycle_drawing.PLACES", {OrderStatus.RECEIVED: PLACES[OrderStatus.RECEIVED]}
    )
    with pytest.raises(KeyError):
        drawing(TABLE)
