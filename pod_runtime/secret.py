"""Secret texts that cannot be printed by accident.

Not a subclass of `str`: every function that takes a text would take it too, and a format, a join or a JSON encoder
would write its value without a word about it. A type checker finds each place that forgets `reveal`.

It protects from logs, tracebacks and debuggers' views of variables, not from somebody who reads the process's memory:
Python copies texts at will and cannot erase them. That is why `run` allows no core file.
"""

from __future__ import annotations

import hmac


class Secret:
    """Secret text; every representation of it is ``***``.

    `reveal` is the one way to the value, so that a search for it finds every use. It does not pickle.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the wire or the file that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # In constant time: a comparison that ends at the first difference tells a caller how much it guessed right.
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret does not pickle: pass the file that holds it")
