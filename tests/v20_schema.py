"""OANDA's published description of v20 as a validator of answers (v20-openapi 3.0.25, MIT, © 2017 OANDA).

The description is of 2018: what the venue has added since is listed here, field by field, so that a name that nobody
knows is still a fault. Transactions and orders are checked as the type that they say they are.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

PUBLISHED = Path(__file__).parent / "data" / "v20" / "v20-openapi.yaml"
Schema = dict[str, Any]

DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
WHOLE = r"^[0-9]+$"
TIME = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?Z|[0-9]+\.[0-9]{9}|0)$"
PATTERNS = {
    "A decimal number encode": DECIMAL,
    "String representation of the numerical OANDA-assigned TransactionID": WHOLE,
    "The string representation of the OANDA-assigned OrderID": WHOLE,
    "The string representation of the OANDA-assigned TradeID": WHOLE,
    "The RFC 3339 representation": TIME,
    '"-"-delimited string with format': r"^[0-9]{3}-[0-9]{3}-[0-9]+-[0-9]{3}$",
    'A string containing the base currency and quote currency delimited by a "_"': r"^[A-Z0-9]+_[A-Z0-9]+$",
}

_GUARANTEED_FROM = {
    "GuaranteedStopLossOrder": "StopLossOrder",
    "GuaranteedStopLossOrderTransaction": "StopLossOrderTransaction",
    "GuaranteedStopLossOrderRejectTransaction": "StopLossOrderRejectTransaction",
}
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "string", "pattern": DECIMAL}
_ID: Schema = {"type": "string", "pattern": WHOLE}
_CONVERSION: Schema = {"type": "object", "properties": {"factor": _NUMBER}, "additionalProperties": False}
_FACTORS: Schema = {
    "type": "object",
    "properties": {
        "gainQuoteHome": _CONVERSION,
        "lossQuoteHome": _CONVERSION,
        "gainBaseHome": _CONVERSION,
        "lossBaseHome": _CONVERSION,
    },
    "additionalProperties": False,
}
_TEXT_BUCKETS: Schema = {
    "type": "array",
    "items": {"type": "object", "properties": {"price": _NUMBER, "liquidity": _NUMBER}, "additionalProperties": False},
}
_FULL_PRICE: Schema = {
    "type": "object",
    "properties": {
        "closeoutBid": _NUMBER,
        "closeoutAsk": _NUMBER,
        "time": {"type": "string", "pattern": TIME},
        "bids": _TEXT_BUCKETS,
        "asks": _TEXT_BUCKETS,
    },
    "additionalProperties": False,
}
"""Of a fill, as recorded from the venue: its liquidity is a text, unlike that of `pricing`."""
_GUARANTEED_DETAILS: Schema = {"$ref": "#/definitions/StopLossDetails"}
_ON_FILL = {"guaranteedStopLossOnFill": _GUARANTEED_DETAILS}
_ENTRY_ORDERS = ("MarketOrder", "LimitOrder", "StopOrder", "MarketIfTouchedOrder", "FixedPriceOrder")
_WAITING_ORDERS = ("LimitOrder", "StopOrder", "MarketIfTouchedOrder")
LATER: dict[str, dict[str, Schema]] = {
    **{f"{name}RejectTransaction": _ON_FILL for name in _ENTRY_ORDERS},
    **{
        f"{name}{end}": _ON_FILL | ({"partialFill": _TEXT} if name in _WAITING_ORDERS else {})
        for name in _ENTRY_ORDERS
        for end in ("", "Transaction")
    },
    **{f"GuaranteedStopLossOrder{end}": {"guaranteedExecutionPremium": _NUMBER} for end in ("", "Transaction")},
    "OrderFillTransaction": {
        "fullPrice": _FULL_PRICE,
        "requestedUnits": _NUMBER,
        "quotePL": _NUMBER,
        "quoteGuaranteedExecutionFee": _NUMBER,
        "baseFinancing": _NUMBER,
        "homeConversionFactors": _FACTORS,
    },
    "Trade": {"guaranteedStopLossOrder": {"$ref": "#/definitions/GuaranteedStopLossOrder"}},
    "TradeSummary": {"guaranteedStopLossOrderID": _ID, "trailingStopLossOrderID": _ID},
    "TradeReduce": {"baseFinancing": _NUMBER, "quoteGuaranteedExecutionFee": _NUMBER, "clientTradeID": _TEXT},
    "TradeOpen": {"quoteGuaranteedExecutionFee": _NUMBER},
    **{
        name: {
            "guaranteedStopLossOrderParameters": {"type": "object"},
            "dividendAdjustment": _NUMBER,
            "trueNAV": _NUMBER,
        }
        for name in ("Account", "AccountSummary")
    },
    "AccountChangesState": {"trueNAV": _NUMBER},
    "Instrument": {
        "guaranteedStopLossOrderMode": _TEXT,
        "minimumGuaranteedStopLossDistance": _NUMBER,
        "guaranteedStopLossOrderExecutionPremium": _NUMBER,
        "tags": {"type": "array"},
        "financing": {"type": "object"},
    },
}
"""Fields that the venue has added to definitions since (OANDA's present development guide, recorded answers)."""

LATER_WORD = "GUARANTEED_STOP_LOSS|^UNITS_MINIMUM_NOT_MET$"
"""Words that enumerations have gained since."""

_ERRORS = 400
_IDS: Schema = {"lastTransactionID": _ID, "relatedTransactionIDs": {"type": "array", "items": _ID}}
_ORDER_TYPE_NAMES = {
    "MARKET": "MarketOrder",
    "LIMIT": "LimitOrder",
    "STOP": "StopOrder",
    "MARKET_IF_TOUCHED": "MarketIfTouchedOrder",
    "TAKE_PROFIT": "TakeProfitOrder",
    "STOP_LOSS": "StopLossOrder",
    "GUARANTEED_STOP_LOSS": "GuaranteedStopLossOrder",
    "TRAILING_STOP_LOSS": "TrailingStopLossOrder",
}


def faults(method: str, path: str, status: int, body: Any) -> list[str]:
    """Faults of an answer to `method` `path` (a template of the description, below /v3)."""
    return _faults(_validator(method.lower(), path, status), body)


def definition_faults(name: str, value: Any) -> list[str]:
    """Faults of `value` as the definition `name`."""
    return _faults(_definition_validator(name), value)


def request_faults(kind: str, order: Any) -> list[str]:
    """Faults of an order that a client sends; `kind` is its type, `LIMIT`."""
    return definition_faults(f"{_ORDER_TYPE_NAMES[kind]}Request", order)


def fields(name: str) -> set[str]:
    """The fields of a definition."""
    return set(_document()["definitions"][name]["properties"])


def request_fields(kind: str) -> set[str]:
    """The fields of an order that a client sends; `kind` is its type, `LIMIT`."""
    return fields(f"{_ORDER_TYPE_NAMES[kind]}Request")


def transaction_definition(kind: str) -> str:
    """The definition of a transaction type: `LIMIT_ORDER_REJECT` is a `LimitOrderRejectTransaction`."""
    return "".join(word.capitalize() for word in kind.split("_")) + "Transaction"


def _faults(validator: Draft202012Validator, value: Any) -> list[str]:
    found = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]
    for where, definition, item in _typed(value, "$"):
        checker = _definition_validator(definition)
        found += [f"{where}{error.json_path[1:]}: {error.message[:300]}" for error in checker.iter_errors(item)]
    return found


def _typed(value: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    """Every transaction and order inside `value`, with the definition of its own type."""
    if isinstance(value, Mapping):
        kind = value.get("type")
        if isinstance(kind, str) and "batchID" in value:
            yield where, transaction_definition(kind), value
        elif isinstance(kind, str) and "createTime" in value and kind in _ORDER_TYPE_NAMES:
            yield where, _ORDER_TYPE_NAMES[kind], value
        for key, item in value.items():
            yield from _typed(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _typed(item, f"{where}[{index}]")


@functools.cache
def _document() -> Schema:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: Schema = yaml.load(PUBLISHED.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    definitions = document["definitions"]
    for name, model in _GUARANTEED_FROM.items():
        definitions[name] = copy.deepcopy(definitions[model])
    _tighten(definitions)
    for name, fields in LATER.items():
        if name in definitions:
            definitions[name]["properties"].update(fields)
    for name in ("Transaction", "Order"):
        definitions[name].pop("additionalProperties")
    return {"definitions": definitions, "paths": _tighten(document["paths"]), "responses": document["responses"]}


def _tighten(node: Any) -> Any:
    """JSON Schema from Swagger's: formats in prose become patterns, unknown fields become faults."""
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _tighten(item)
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("format"), str):
        words = node.pop("format")
        for start, pattern in PATTERNS.items():
            if words.startswith(start):
                node["pattern"] = pattern
    if isinstance(node.get("clientOrderID"), dict):
        node["clientOrderID"].pop("pattern", None)  # described as the venue's own id, which it is not
    if isinstance(node.get("enum"), list):
        node["anyOf"] = [{"enum": node.pop("enum")}, {"pattern": LATER_WORD}]
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        node["additionalProperties"] = False
    return node


@functools.cache
def _definition_validator(name: str) -> Draft202012Validator:
    if name not in _document()["definitions"]:
        raise AssertionError(f"the description knows no {name}")
    return Draft202012Validator({"$ref": f"#/definitions/{name}", "definitions": _document()["definitions"]})


@functools.cache
def _validator(method: str, path: str, status: int) -> Draft202012Validator:
    response = _document()["paths"][path][method]["responses"].get(str(status))
    if response is None:
        response = {"$ref": f"#/responses/{status}"}
    if "$ref" in response:
        response = _document()["responses"][response["$ref"].rpartition("/")[2]]
    schema = dict(response["schema"])
    if status >= _ERRORS:
        # The venue names them wherever a refusal is a transaction; the description forgets some.
        schema["properties"] = {**_IDS, **schema["properties"]}
    return Draft202012Validator({**schema, "definitions": _document()["definitions"]})
