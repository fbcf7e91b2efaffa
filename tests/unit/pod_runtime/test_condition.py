from __future__ import annotations

import json

from pod_runtime.condition import ConditionName


class ShopCondition(ConditionName):
    """Conditions of a shop."""

    OPEN = "Open", "somebody is there", "Closed", "Holiday"
    LIT = "Lit", "the lamps burn"


def spelt(name: str) -> str:
    return name


def test_a_name_is_its_own_text() -> None:
    assert spelt(ShopCondition.OPEN) == "Open"
    assert f"{ShopCondition.OPEN}:{ShopCondition.LIT}" == "Open:Lit"
    assert json.dumps({"name": ShopCondition.OPEN}) == '{"name": "Open"}'


def test_a_name_has_its_meaning_and_reasons() -> None:
    assert (ShopCondition.OPEN.meaning, ShopCondition.OPEN.reasons) == ("somebody is there", ("Closed", "Holiday"))
    assert ShopCondition.LIT.reasons == ()
