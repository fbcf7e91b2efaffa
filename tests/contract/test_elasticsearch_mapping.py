from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from broker.events import CATALOGUE

TEMPLATES = Path(__file__).resolve().parents[2] / "otel-collector" / "elasticsearch"


def template(name: str) -> dict[str, Any]:
    return dict(json.loads((TEMPLATES / f"{name}.json").read_text()))


MAPPED = template("broker-logs@attributes")["template"]["mappings"]["properties"]["attributes"]["properties"]


def logged_types() -> dict[str, set[type]]:
    found: dict[str, set[type]] = defaultdict(set)
    for event in CATALOGUE.events:
        if event.log is not None:
            for column in event.columns:
                found[column.name].add(column.type)
    return found


def test_an_attribute_with_two_types_has_one_in_the_engine() -> None:
    assert {name for name, types in logged_types().items() if len(types) > 1} - MAPPED.keys() == set()


def test_a_number_with_a_fraction_is_never_indexed_as_a_whole_one() -> None:
    fractions = {name for name, types in logged_types().items() if types == {float}}
    assert {name: MAPPED.get(name) for name in fractions} == {name: {"type": "double"} for name in fractions}


def test_every_attribute_that_is_mapped_is_one_of_the_broker_s() -> None:
    assert MAPPED.keys() - logged_types().keys() == {"log.record.uid"}


def test_the_index_template_is_composed_of_the_components_that_ship() -> None:
    index = template("broker-logs")
    # The life-cycle is the provisioner's (k8s/logging): a node without its engine takes the template all the same.
    shipped = set(index["composed_of"]) - set(index.get("ignore_missing_component_templates", ()))
    assert shipped == {path.stem for path in TEMPLATES.glob("*@*.json")}
