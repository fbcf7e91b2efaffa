"""Operations of the order API, one method each.

Generated from the order API's OpenAPI document: change that, and run `python -m tools.client`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Literal

from broker_client import models
from broker_client.event_stream import StreamEvent
from broker_client.transport import Transport, segment


class Operations(Transport):
    """Each operation of the order API. All raise OrderApiError; see `broker_client.errors` for its subclasses.

    `account` is the id of an account, needed where the broker trades several. `idempotency_key` names the request: the
    same key is the same order, however often it is sent; the client makes one where there is none. `traceparent` is
    the caller's W3C trace context.
    """

    async def cancel_orders(
        self,
        body: models.CancelAllBody | None = None,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OutcomeList:
        """Cancel all orders.

        Cancels every open order of yours, those on their way included; with the scope `admin` those of all
        clients.

        Accepted in every trading state and while the broker drains. Take-profits and stops are orders, too:
        `keep_exits` leaves them. The same Idempotency-Key means the same orders.
        """
        return await self._ask(
            "POST",
            "/v1/orders/cancel",
            models.OutcomeList,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def close_positions(
        self,
        body: models.CloseAllBody | None = None,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OutcomeList:
        """Close all positions.

        Closes every position, or that of one instrument, each by an order of its own; needs no price.

        The same Idempotency-Key means the same orders.
        """
        return await self._ask(
            "POST",
            "/v1/positions/close",
            models.OutcomeList,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def kill(
        self,
        body: models.KillBody,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.KillView:
        """Kill switch.

        Halts trading, cancels every order that may open a position, and closes every position. Trading stays
        halted.

        Works in every trading state and without prices. Take-profits and stops end with their trades; if a
        position cannot be closed, its stop stays. `confirm` must be the account's id.
        """
        return await self._ask(
            "POST",
            "/v1/admin/kill",
            models.KillView,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def place_order(
        self,
        body: models.OrderBody,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OrderView:
        """Place an order.

        Sends an order to the venue, once for its Idempotency-Key or client_order_id, and waits for its first
        result.

        Sending it again with the same id gives the same order; with another body it is a 409.
        """
        return await self._ask(
            "POST",
            "/v1/orders",
            models.OrderView,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def list_orders(
        self,
        *,
        instrument: str | None = None,
        client: str | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
    ) -> models.OrderList:
        """Orders that are open.

        Orders that rest, are on their way, or are unknown, the oldest first. `/v1/history/orders` has the others.

        `client`: Id of the API key.

        `client_order_id`: Your own order of this id, open or not.
        """
        return await self._ask(
            "GET",
            "/v1/orders",
            models.OrderList,
            query={
                "instrument": instrument,
                "client": client,
                "client_order_id": client_order_id,
                "account": account or self.account,
            },
        )

    async def try_order(self, body: models.OrderBody, *, account: str | None = None) -> models.TrialView:
        """Try an order without sending it.

        Takes an order through every check up to the venue's socket. Nothing is sent, journaled or counted.

        The replica that is asked answers, whoever trades the account; it asks the venue for the price with its own
        token. A path of its own, not a parameter: a misspelt parameter would place the order.
        """
        return await self._ask(
            "POST", "/v1/orders/test", models.TrialView, query={"account": account or self.account}, body=body
        )

    async def replace_order(
        self,
        order_id: str,
        body: models.OrderBody,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OrderView:
        """Replace a resting order.

        Cancels a resting order and places another in its stead, in one step of the venue's.

        `order_id`: The broker's id of the order.
        """
        return await self._ask(
            "PUT",
            f"/v1/orders/{segment(order_id)}",
            models.OrderView,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def get_order(self, order_id: str, *, account: str | None = None) -> models.OrderView:
        """One order.

        An order as it stands, from memory or the history.

        `order_id`: The broker's id of the order.
        """
        return await self._ask(
            "GET", f"/v1/orders/{segment(order_id)}", models.OrderView, query={"account": account or self.account}
        )

    async def cancel_order(self, order_id: str, *, account: str | None = None) -> models.OrderView:
        """Cancel an order.

        Cancels a resting order, or its rest. 409 if it has ended otherwise: `order` shows its end.

        `order_id`: The broker's id of the order.
        """
        return await self._ask(
            "DELETE", f"/v1/orders/{segment(order_id)}", models.OrderView, query={"account": account or self.account}
        )

    async def change_order_extensions(
        self, order_id: str, body: models.ExtensionsBody, *, account: str | None = None
    ) -> models.OrderView:
        """Change an order's tag and comment.

        Sets tag and comment of a resting order at the venue; may be sent twice without harm.

        `order_id`: The broker's id of the order.
        """
        return await self._ask(
            "PUT",
            f"/v1/orders/{segment(order_id)}/extensions",
            models.OrderView,
            query={"account": account or self.account},
            body=body,
        )

    async def close_position(
        self,
        instrument: str,
        body: models.ClosePositionBody | None = None,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OrderView:
        """Close a position.

        Closes all of a position, or some units of it. Answers with the order that does.
        """
        return await self._ask(
            "POST",
            f"/v1/positions/{segment(instrument)}/close",
            models.OrderView,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def close_trade(
        self,
        trade_id: str,
        body: models.CloseTradeBody | None = None,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OrderView:
        """Close a trade.

        Closes all of a trade, or some units of it. Answers with the order that does.
        """
        return await self._ask(
            "POST",
            f"/v1/trades/{segment(trade_id)}/close",
            models.OrderView,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def list_trades(
        self, *, instrument: str | None = None, client: str | None = None, account: str | None = None
    ) -> models.TradeList:
        """Open trades.

        Open trades with their take-profits and stops, as the venue says now, the oldest first.

        `client`: Id of the API key whose orders opened them.
        """
        return await self._ask(
            "GET",
            "/v1/trades",
            models.TradeList,
            query={"instrument": instrument, "client": client, "account": account or self.account},
        )

    async def get_trade(self, trade_id: str, *, account: str | None = None) -> models.TradeView:
        """One trade.

        A trade, open or closed, as the venue says now.

        `trade_id`: The venue's id of the trade.
        """
        return await self._ask(
            "GET", f"/v1/trades/{segment(trade_id)}", models.TradeView, query={"account": account or self.account}
        )

    async def change_trade_orders(
        self,
        trade_id: str,
        body: models.TradeOrdersBody,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> models.OutcomeList:
        """Change a trade's take-profit and stops.

        Places, moves or cancels (null) each order that the body names; the others stay.

        Each is an order with an outcome of its own. The same Idempotency-Key means the same orders.

        `trade_id`: The venue's id of the trade.
        """
        return await self._ask(
            "PUT",
            f"/v1/trades/{segment(trade_id)}/orders",
            models.OutcomeList,
            query={"account": account or self.account},
            headers={"traceparent": traceparent},
            body=body,
            idempotency_key=idempotency_key or self._key_for(body),
        )

    async def change_trade_extensions(
        self, trade_id: str, body: models.ExtensionsBody, *, account: str | None = None
    ) -> models.TradeView:
        """Change a trade's tag and comment.

        Sets tag and comment at the venue; may be sent twice without harm.

        `trade_id`: The venue's id of the trade.
        """
        return await self._ask(
            "PUT",
            f"/v1/trades/{segment(trade_id)}/extensions",
            models.TradeView,
            query={"account": account or self.account},
            body=body,
        )

    async def get_account(self, *, account: str | None = None) -> models.AccountView:
        """The account's summary.

        Balance, result, margin and counts, as the venue says now.
        """
        return await self._ask("GET", "/v1/account", models.AccountView, query={"account": account or self.account})

    async def list_positions(self, *, account: str | None = None) -> models.PositionList:
        """Open positions.

        Net holdings, as the venue says now.
        """
        return await self._ask("GET", "/v1/positions", models.PositionList, query={"account": account or self.account})

    async def list_prices(self, *, instruments: str | None = None, account: str | None = None) -> models.PriceList:
        """Latest prices.

        The latest price of each instrument, from memory. One without a price yet is left out.

        `instruments`: Names, separated by commas; all that are streamed where it is absent.
        """
        return await self._ask(
            "GET",
            "/v1/prices",
            models.PriceList,
            query={"instruments": instruments, "account": account or self.account},
        )

    async def get_key(self) -> models.KeyView:
        """The key of the request.

        Id and scopes of the key, and the accounts that it may be used for. Needs no scope.
        """
        return await self._ask("GET", "/v1/key", models.KeyView)

    async def list_instruments(self, *, account: str | None = None) -> models.InstrumentsView:
        """Instruments.

        The account's instruments: precision, sizes, margin, financing.
        """
        return await self._ask(
            "GET", "/v1/instruments", models.InstrumentsView, query={"account": account or self.account}
        )

    async def get_instrument(self, instrument: str, *, account: str | None = None) -> models.InstrumentView:
        """One instrument.

        Precision, sizes, margin and financing of an instrument.

        `instrument`: Name of the instrument.
        """
        return await self._ask(
            "GET",
            f"/v1/instruments/{segment(instrument)}",
            models.InstrumentView,
            query={"account": account or self.account},
        )

    async def list_candles(
        self,
        instrument: str,
        *,
        granularity: Literal[
            "S5",
            "S10",
            "S15",
            "S30",
            "M1",
            "M2",
            "M4",
            "M5",
            "M10",
            "M15",
            "M30",
            "H1",
            "H2",
            "H3",
            "H4",
            "H6",
            "H8",
            "H12",
            "D",
            "W",
            "M",
        ]
        | None = None,
        price: str | None = None,
        count: int | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        smooth: bool | None = None,
        include_first: bool | None = None,
        daily_alignment: int | None = None,
        alignment_timezone: str | None = None,
        weekly_alignment: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
        | None = None,
        units: Decimal | None = None,
        account: str | None = None,
    ) -> models.CandleList:
        """Candles.

        Candles of an instrument, the oldest first: at most 5000, so longer ranges in parts.

        `instrument`: Name of the instrument.

        `granularity`: Span of a candle: seconds (S5), minutes (M1), hours (H1), D, W or M.

        `price`: Any of M (mid), B (bid) and A (ask).

        `count`: 500 where it is absent; never with both from and to.

        `from_`: From this time on.

        `to`: Before this time.

        `smooth`: Open each candle at the close of the one before.

        `include_first`: Of from: also the candle that contains it.

        `daily_alignment`: Hour at which days begin; usually 17.

        `alignment_timezone`: Zone of that hour; usually America/New_York.

        `weekly_alignment`: Day on which weeks begin; usually friday.

        `units`: Units for which bid and ask are volume-weighted.
        """
        return await self._ask(
            "GET",
            f"/v1/instruments/{segment(instrument)}/candles",
            models.CandleList,
            query={
                "granularity": granularity,
                "price": price,
                "count": count,
                "from": from_,
                "to": to,
                "smooth": smooth,
                "include_first": include_first,
                "daily_alignment": daily_alignment,
                "alignment_timezone": alignment_timezone,
                "weekly_alignment": weekly_alignment,
                "units": units,
                "account": account or self.account,
            },
        )

    async def get_depth(self, instrument: str, *, account: str | None = None) -> models.DepthView:
        """Price levels.

        Bids and asks with the units that each is good for, as the venue says now.

        `instrument`: Name of the instrument.
        """
        return await self._ask(
            "GET",
            f"/v1/instruments/{segment(instrument)}/depth",
            models.DepthView,
            query={"account": account or self.account},
        )

    async def get_order_book(
        self, instrument: str, *, time: datetime | None = None, account: str | None = None
    ) -> models.BookView:
        """Order book.

        Orders of all of the venue's clients around the price. The venue takes a snapshot every few minutes.

        `instrument`: Name of the instrument.

        `time`: The book in force then; the newest if it is absent.
        """
        return await self._ask(
            "GET",
            f"/v1/instruments/{segment(instrument)}/order-book",
            models.BookView,
            query={"time": time, "account": account or self.account},
        )

    async def get_position_book(
        self, instrument: str, *, time: datetime | None = None, account: str | None = None
    ) -> models.BookView:
        """Position book.

        Open positions of all of the venue's clients by their price.

        `instrument`: Name of the instrument.

        `time`: The book in force then; the newest if it is absent.
        """
        return await self._ask(
            "GET",
            f"/v1/instruments/{segment(instrument)}/position-book",
            models.BookView,
            query={"time": time, "account": account or self.account},
        )

    async def list_conversions(
        self, *, instruments: str | None = None, account: str | None = None
    ) -> models.ConversionList:
        """Factors to the account's currency.

        Factors from the base and quote currencies of instruments to the account's currency, as the venue says now.

        `instruments`: Names, separated by commas; all of the account where it is absent.
        """
        return await self._ask(
            "GET",
            "/v1/conversions",
            models.ConversionList,
            query={"instruments": instruments, "account": account or self.account},
        )

    def stream_events(
        self,
        *,
        types: str | None = None,
        instruments: str | None = None,
        client: str | None = None,
        after: str | None = None,
        account: str | None = None,
    ) -> AbstractAsyncContextManager[AsyncGenerator[StreamEvent, None]]:
        """Changes and prices as they happen.

        Events from now on, or those since Last-Event-ID: orders, transactions and states once and in their order.

        The id of an event is its place in the order journal. If the journal does not reach back to it, `gap` comes
        first: read /v1/orders and /v1/history then. Prices and summaries of the account have no id and are not
        sent again.

        `types`: Which events.

        `instruments`: Of these only.

        `client`: Orders of this API key's id only.

        `after`: As Last-Event-ID, for who cannot send headers.
        """
        return self._stream(
            "/v1/events",
            {
                "types": types,
                "instruments": instruments,
                "client": client,
                "after": after,
                "account": account or self.account,
            },
        )

    async def list_past_orders(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        instrument: str | None = None,
        status: models.OrderStatus | None = None,
        client: str | None = None,
        client_order_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> models.PastOrders:
        """Orders, finished ones too.

        Orders by the time they were taken. Those not yet written to the history are missing: see its backlog.

        `since`: From this time on.

        `until`: Before this time.

        `limit`: Rows of a page.

        `cursor`: `next` of the page before.
        """
        return await self._ask(
            "GET",
            "/v1/history/orders",
            models.PastOrders,
            query={
                "since": since,
                "until": until,
                "instrument": instrument,
                "status": status,
                "client": client,
                "client_order_id": client_order_id,
                "limit": limit,
                "cursor": cursor,
                "account": account or self.account,
            },
        )

    async def list_past_fills(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        instrument: str | None = None,
        order_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> models.PastFills:
        """Fills.

        Trades that our orders made, by the venue's time.

        `since`: From this time on.

        `until`: Before this time.

        `limit`: Rows of a page.

        `cursor`: `next` of the page before.
        """
        return await self._ask(
            "GET",
            "/v1/history/fills",
            models.PastFills,
            query={
                "since": since,
                "until": until,
                "instrument": instrument,
                "order_id": order_id,
                "limit": limit,
                "cursor": cursor,
                "account": account or self.account,
            },
        )

    async def list_past_transactions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        instrument: str | None = None,
        type: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> models.PastTransactions:
        """The account's transactions.

        The venue's own log of the account, as far as the broker has read it.

        `since`: From this time on.

        `until`: Before this time.

        `limit`: Rows of a page.

        `cursor`: `next` of the page before.
        """
        return await self._ask(
            "GET",
            "/v1/history/transactions",
            models.PastTransactions,
            query={
                "since": since,
                "until": until,
                "instrument": instrument,
                "type": type,
                "limit": limit,
                "cursor": cursor,
                "account": account or self.account,
            },
        )

    async def get_state(self, *, account: str | None = None) -> models.StateView:
        """Trading state.

        `active` trades, `reducing` takes only what makes a position smaller, `halted` takes cancels only.
        """
        return await self._ask("GET", "/v1/admin/state", models.StateView, query={"account": account or self.account})

    async def put_state(self, body: models.StateBody, *, account: str | None = None) -> models.StateView:
        """Halt, reduce or resume.

        Takes effect at once and outlives a restart. The log names the client and the reason.
        """
        return await self._ask(
            "PUT", "/v1/admin/state", models.StateView, query={"account": account or self.account}, body=body
        )

    async def reconcile(self, *, account: str | None = None) -> models.ReconcileView:
        """Compare with the venue.

        Compares orders, trades, positions and balance with the venue now, and adopts what the venue has.
        """
        return await self._ask(
            "POST", "/v1/admin/reconcile", models.ReconcileView, query={"account": account or self.account}
        )

    async def list_conditions(self, *, account: str | None = None) -> models.ConditionList:
        """The broker's own health.

        Each named condition, with its reason and since when. Probes are the sidecar's.
        """
        return await self._ask(
            "GET", "/v1/admin/conditions", models.ConditionList, query={"account": account or self.account}
        )
