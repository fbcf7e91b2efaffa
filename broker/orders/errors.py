"""Errors of the order service: requests that it does not take, and the advice to their callers."""

from __future__ import annotations

from collections.abc import Mapping


class OrderServiceError(Exception):
    """The service did not take a request; nothing was sent to the venue."""


class ClientIdConflictError(OrderServiceError):
    """The key belongs to another operation, or to another request. Use a new one."""

    def __init__(self, message: str, **used_for: str | None) -> None:
        super().__init__(message)
        self.used_for = used_for
        """`operation`, `target` and `order_id` of its first use."""


class NotReadyError(OrderServiceError):
    """The service cannot trade now. Try again after `retry_after_s`."""

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class DrainingError(NotReadyError):
    """The process ends. Try again after `retry_after_s`, at its successor."""

    def __init__(self, retry_after_s: float = 5.0) -> None:
        super().__init__("draining", retry_after_s)


class HedgingAccountError(Exception):
    """The account holds long and short positions side by side, which the broker's books and limits cannot show."""

    def __init__(self, account: str) -> None:
        super().__init__(
            f"account {account} has hedging on (hedgingEnabled), which is not supported: name an account without it "
            "in venue.account, or turn hedging off at the venue"
        )


class UnknownOrderError(OrderServiceError):
    """No order of this id is known here."""


class UnknownPositionError(OrderServiceError):
    """There is no position or trade to close."""


class TradeMismatchError(OrderServiceError):
    """Fields of an order differ from those of its trade. Leave them out, or give the trade's."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field} {message}" for field, message in faults.items()))
        self.faults = faults
