"""Argo Rollouts' analysis conditions, as far as the manifests use them, over what a Prometheus answers.

Conditions are expressions of github.com/expr-lang/expr over `result`, a list of numbers for a vector. The grammar
here is the part in use: `&&`, `!`, comparisons, `len(result)`, `isNaN(result[0])`, `result[0]` and numbers. Version
1.17.6 of that library, run by hand, finds the same for a good and a bad number, an empty list and NaN.
"""

from __future__ import annotations

import math
import re

_COMPARISON = re.compile(r"^(len\(result\)|result\[0\])\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)?)$")


def holds(condition: str, result: list[float]) -> bool:
    """True if a successCondition holds; `&&` is left to right, and stops at the first that does not.

    Raises:
        ValueError: the condition is outside the grammar above.
        IndexError: it looks at a value that is not there.
    """
    return all(_term(part.strip(), result) for part in condition.split("&&"))


def _term(term: str, result: list[float]) -> bool:
    if term == "!isNaN(result[0])":
        return not math.isnan(result[0])
    match = _COMPARISON.match(term)
    if match is None:
        raise ValueError(f"a condition outside the known grammar: {term!r}")
    left = float(len(result)) if match[1] == "len(result)" else result[0]
    right = float(match[3])
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right}[
        match[2]
    ]
