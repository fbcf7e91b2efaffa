"""A client of the broker's order API.

    async with BrokerClient("https://broker:8080", api_key=key) as broker:
        body = OrderBody(instrument="EUR_USD", side=Side.BUY, type=OrderType.MARKET, units=Decimal(1000))
        order = await broker.wait_settled(await broker.place_order(body))

Models and one method for each operation are generated from the API's OpenAPI document. Numbers are `Decimal`, times
are aware. Each call has a deadline; a retry sends the same idempotency key, so that an order is never placed twice.
"""

from broker_client.client import UNSETTLED, BrokerClient, pages
from broker_client.errors import (
    ConflictError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    NotPermittedError,
    OrderApiError,
    OrderRefusedError,
    TooManyRequestsError,
    UnavailableError,
)
from broker_client.event_stream import StreamEvent
from broker_client.models import *  # noqa: F403 - all of the generated models; their `__all__` lists them
from broker_client.models import __all__ as _models
from broker_client.retry import RetryPolicy

__all__ = [  # noqa: PLE0604 - the models' names are texts
    "OrderApiError",
    "BrokerClient",
    "ConflictError",
    "InvalidRequestError",
    "NoAnswerError",
    "NotFoundError",
    "NotPermittedError",
    "OrderRefusedError",
    "RetryPolicy",
    "StreamEvent",
    "TooManyRequestsError",
    "UNSETTLED",
    "UnavailableError",
    "pages",
    *_models,
]
