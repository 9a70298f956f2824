"""The asynchronous client: commands with definite answers, and reads, at whichever node serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, cast, overload
from urllib.parse import quote

from raftbook.client.addresses import checked_urls_of, is_https, urls_of_members
from raftbook.client.authentication import Authenticator
from raftbook.client.delivery import Delivery, with_not_after
from raftbook.client.feed import RECONNECT_TIMEOUT_S, Feed
from raftbook.client.http import HttpExchange
from raftbook.client.live_book import LiveBook
from raftbook.client.nodes import Nodes
from raftbook.client.reading import Reading, document_of, documents_of, given, read_parameters, read_wait_s, text
from raftbook.client.session import MAX_OUTSTANDING, Session
from raftbook.client.stream_connection import Encoding, OpenStreams, Streams
from raftbook.client.submitting import Submitting
from raftbook.errors import ConfigError
from raftbook.pipelining import CommandLike, as_document, pipeline
from raftbook.security.tls import client_context
from raftbook.verification import Verification, verify

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self, Unpack

    import httpx

    from raftbook.client.documents import (
        ApiKey,
        Book,
        Changes,
        Cluster,
        Instrument,
        Node,
        Order,
        OrderBook,
        ReadOptions,
        Report,
        Tickers,
        Trade,
    )
    from raftbook.client.http import Answer

DEFAULT_WAIT_S: Final = 6.0
"""How long a definite answer is waited for; a little longer than a command lives by default."""
ORDERS_PER_PAGE: Final = 10_000


class RaftbookClient:
    """Talks to a cluster through one node at a time; close it with `aclose` or as a context manager.

    `urls` name one or more nodes ("http://127.0.0.1:8101"; several in one string are separated by commas). The others
    are learned from the first that answers. The client stays with a node that serves, and goes to the next one when it
    is unreachable, leaves, has not caught up or answers 503.

    `timeout_s` bounds each answer, on top of the time that the request itself asks the node to wait. `api_key` is the
    string that `raftbook account create` printed. For https URLs, `ca_file` holds the cluster's CA (else the system's
    count), `certificate_file` and `key_file` the client's own certificate where nodes ask for one. `encoding`, "json"
    or "cbor", is what WebSockets speak. `transport` stands in for the network of all but these (httpx.ASGITransport
    runs against an application in the same process).

    Raises ConfigError (CertificateError, InvalidKeyError) where one of these is of no use.
    """

    log_index: int
    """The highest log index that an answer named; pass it as `at_least` to read your own writes at any node."""

    def __init__(
        self,
        *urls: str | Iterable[str],
        api_key: str | None = None,
        timeout_s: float = 10.0,
        ca_file: Path | str | None = None,
        certificate_file: Path | str | None = None,
        key_file: Path | str | None = None,
        encoding: Encoding = "json",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        checked_urls = checked_urls_of(urls)
        self._nodes = Nodes(checked_urls)
        self.log_index = 0
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        if any(map(is_https, checked_urls)) or any((ca_file, certificate_file, key_file)):
            self._tls = client_context(ca_file, certificate_file, key_file)
        self._encoding = encoding
        self._open_streams = OpenStreams()
        self._http = HttpExchange(Authenticator(api_key), self._tls, transport)
        self._knows_cluster = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections, and ends the feeds and sessions that nobody closed."""
        await self._open_streams.aclose()
        await self._http.aclose()

    @property
    def url(self) -> str:
        """Of the node that the client talks to now."""
        return self._nodes.current

    @property
    def urls(self) -> tuple[str, ...]:
        """Of all nodes that the client knows, from that one on."""
        return tuple(self._nodes.round())

    def at(self, url: str) -> Self:
        """A client of that node alone, which shares this one's connections and key; close only this one."""
        checked_urls = checked_urls_of([url])
        if self._tls is None and any(map(is_https, checked_urls)):
            raise ConfigError(f"{url}: this client was made for http alone; make one with an https URL and its ca_file")
        other = object.__new__(type(self))
        other._nodes = Nodes(checked_urls)
        other.log_index = 0
        other._timeout_s, other._tls, other._encoding = self._timeout_s, self._tls, self._encoding
        other._http, other._open_streams = self._http, self._open_streams
        other._knows_cluster = True
        return other

    # ---------------------------------------------------------------- submissions

    async def submit(self, command: CommandLike, *, wait_s: float = DEFAULT_WAIT_S) -> Report:
        """The report of one command. A new order without a client order id gets a random one.

        Raises as `submit_many` does.
        """
        (report,) = await self.submit_many([command], wait_s=wait_s)
        return report

    async def submit_many(self, commands: Sequence[CommandLike], *, wait_s: float = DEFAULT_WAIT_S) -> list[Report]:
        """The definite reports of `commands`, in order; a node takes all of them, and executes them in order.

        Where a node dies with them, or does not execute them in time, they go to the next one as delivery.py says, for
        as long as `wait_s`. All copies of a command carry one `not_after`: 5 s from now, unless it has its own. While
        a node is busy (nothing was taken) this waits and tries again, for as long as `timeout_s`.

        Raises:
            OutcomeUnknownError: some have no definite answer; it names them.
            UnreachableError, ProblemError: no node took anything.
        """
        if not commands:
            return []
        await self._learn_cluster()
        now_ns = time.time_ns()
        delivery = Delivery([with_not_after(as_document(command), now_ns) for command in commands])
        return await self._submitting().deliver(delivery, wait_s=wait_s)

    async def submit_once(
        self, commands: Sequence[CommandLike], *, wait_s: float = 0.0, busy_timeout_s: float | None = None
    ) -> list[Report]:
        """Hands `commands` to one node, once; the reports of those that it did not execute within `wait_s` are pending.

        `collect` fetches these later. A node that takes nothing is passed over for the next one; while one is busy this
        waits and tries again, for as long as `busy_timeout_s` (`timeout_s` by default).

        Raises:
            OutcomeUnknownError: the answer is lost.
            UnreachableError, ProblemError: no node took anything.
        """
        await self._learn_cluster()
        documents = [as_document(command) for command in commands]
        patience_s = self._timeout_s if busy_timeout_s is None else busy_timeout_s
        return await self._submitting().send_once(documents, wait_s=wait_s, busy_timeout_s=patience_s)

    async def collect(self, origin: str, first_sequence: int, count: int, *, wait_s: float = 0.0) -> list[Report]:
        """The reports of `count` consecutive submissions, after waiting up to `wait_s` for those still pending.

        Any node knows them once it has executed them, whichever took them.
        """
        path = f"/v1/submissions/{quote(origin, safe='')}/{first_sequence}"
        answer = await self._get(path, {"count": str(count), "wait_s": f"{wait_s:.3f}"}, wait_s=wait_s)
        return cast("list[Report]", documents_of(answer))

    async def pipeline(
        self,
        commands: Iterable[CommandLike] | AsyncIterable[CommandLike],
        *,
        window: int = 4_000,
        batch: int = 250,
        stall_timeout_s: float = 60.0,
    ) -> AsyncIterator[tuple[int, Report]]:
        """Submits `commands` in order and yields (position in the input, report) in the same order.

        Up to `window` commands are under way at once, sent in requests of up to `batch`, all to the same node, since
        that is what keeps the order. OutcomeUnknownError names the positions whose answer is missing when the
        connection breaks, or when nothing was executed for `stall_timeout_s`; commands after the last of them were
        never sent.
        """
        await self._learn_cluster()
        node = self.at(self.url)
        reports = pipeline(node, commands, window=window, batch=batch, stall_timeout_s=stall_timeout_s)
        try:
            async for position, report in reports:
                self.log_index = max(self.log_index, report["log_index"] or 0)
                yield position, report
        finally:
            await reports.aclose()

    async def cancel(self, account: str, *, client_order_id: str | None = None, order_id: int | None = None) -> Report:
        """Cancels the order that exactly one of `client_order_id` and `order_id` names."""
        return await self.submit({"op": "cancel", **_order_name(account, client_order_id, order_id)})

    async def cancel_all(self, account: str, *, symbol: str | None = None, side: str | None = None) -> Report:
        return await self.submit({"op": "cancel_all", "account": account, **given(symbol=symbol, side=side)})

    async def replace(
        self,
        account: str,
        *,
        client_order_id: str | None = None,
        order_id: int | None = None,
        **changes: Unpack[Changes],
    ) -> Report:
        """Changes what is given of the order that exactly one of `client_order_id` and `order_id` names."""
        name = _order_name(account, client_order_id, order_id)
        given = {field: value for field, value in changes.items() if value is not None}
        return await self.submit({"op": "replace", **name, **given})

    async def add_instrument(self, instrument: CommandLike) -> Report:
        """Adds the instrument that an AddInstrument, or the fields of one, describes."""
        return await self.submit(
            {"op": "add_instrument", **instrument} if not isinstance(instrument, tuple) else instrument
        )

    async def set_status(self, symbol: str, status: str) -> Report:
        """Changes the trading status: "trading", "auction", "halted" or "closed"."""
        return await self.submit({"op": "set_status", "symbol": symbol, "status": status})

    async def uncross(self, symbol: str, status: str = "trading") -> Report:
        """Ends the instrument's auction with its trades; `status`, "trading" or "closed", follows."""
        return await self.submit({"op": "uncross", "symbol": symbol, "status": status})

    # ---------------------------------------------------------------- reads

    async def order(
        self,
        *,
        order_id: int | None = None,
        account: str | None = None,
        client_order_id: str | None = None,
        **read: Unpack[ReadOptions],
    ) -> Order:
        """One order, by `order_id` or by `account` and `client_order_id`. ProblemError `unknown_order`."""
        if order_id is not None:
            return cast("Order", await self._read(f"/v1/orders/{order_id}", given(account=account), read))
        if account is None or client_order_id is None:
            raise ValueError("name the order by order_id, or by account and client_order_id")
        path = f"/v1/orders/by-client-id/{quote(account, safe='')}/{quote(client_order_id, safe='')}"
        return cast("Order", await self._read(path, {}, read))

    async def orders(
        self,
        *,
        account: str | None = None,
        symbol: str | None = None,
        side: str | None = None,
        status: str | None = None,
        **read: Unpack[ReadOptions],
    ) -> list[Order]:
        """Orders by rising order id: the open and untriggered ones, or those of `status` ("expired", …, "all").

        Fetched in pages, so beyond 10,000 orders what is answered may span several log indexes.
        """
        parameters = given(account=account, symbol=symbol, side=side, status=status, limit=str(ORDERS_PER_PAGE))
        orders: list[Order] = []
        while True:
            answer = await self._get("/v1/orders", {**parameters, **read_parameters(read)}, wait_s=read_wait_s(read))
            orders += cast("list[Order]", documents_of(answer))
            following = answer.headers.get("Raftbook-Next-Order-Id")
            if following is None:
                return orders
            parameters = {**parameters, "from_order_id": following}

    @overload
    async def book(
        self, symbol: str, *, depth: int | None = None, level: Literal[2] = 2, **read: Unpack[ReadOptions]
    ) -> Book: ...

    @overload
    async def book(
        self, symbol: str, *, depth: int | None = None, level: Literal[3], **read: Unpack[ReadOptions]
    ) -> OrderBook: ...

    async def book(
        self, symbol: str, *, depth: int | None = None, level: Literal[2, 3] = 2, **read: Unpack[ReadOptions]
    ) -> Book | OrderBook:
        """The best `depth` levels of both sides, or all: sums by price (level 2), or orders in priority (level 3)."""
        parameters = given(depth=text(depth), level=str(level))
        document = await self._read(f"/v1/book/{quote(symbol, safe='')}", parameters, read)
        return cast("Book", document) if level == 2 else cast("OrderBook", document)

    async def trades(
        self,
        symbol: str,
        *,
        from_trade_id: int | None = None,
        limit: int | None = None,
        **read: Unpack[ReadOptions],
    ) -> list[Trade]:
        """Trades by rising id: the latest ones, or those from `from_trade_id` on."""
        parameters = {**given(from_trade_id=text(from_trade_id), limit=text(limit)), **read_parameters(read)}
        answer = await self._get(f"/v1/trades/{quote(symbol, safe='')}", parameters, wait_s=read_wait_s(read))
        return cast("list[Trade]", documents_of(answer))

    async def instruments(self, **read: Unpack[ReadOptions]) -> list[Instrument]:
        answer = await self._get("/v1/instruments", read_parameters(read), wait_s=read_wait_s(read))
        return cast("list[Instrument]", documents_of(answer))

    async def keys(self, **read: Unpack[ReadOptions]) -> list[ApiKey]:
        """The API keys, in the order in which they were created, revoked ones too; for admin keys alone."""
        answer = await self._get("/v1/keys", read_parameters(read), wait_s=read_wait_s(read))
        return cast("list[ApiKey]", documents_of(answer))

    async def tickers(self, **read: Unpack[ReadOptions]) -> Tickers:
        """All markets at a glance, and what the exchange has done altogether."""
        return cast("Tickers", await self._read("/v1/tickers", {}, read))

    async def cluster(self) -> Cluster:
        """The cluster as the asked node sees it; from now on the client knows all of its nodes."""
        answer = await self._reading().anywhere("/v1/cluster", {}, wait_s=0.0)
        urls = urls_of_members(answer)
        if not self._knows_cluster:
            self._nodes.learn(urls)
            self._knows_cluster = True
        return cast("Cluster", answer.document)

    async def node(self, *, digest_at: int | None = None, state_digest: bool = False) -> Node:
        """The status of the node at `url`, with the digests that are asked for."""
        parameters = given(digest_at=text(digest_at), state_digest="true" if state_digest else None)
        return cast("Node", document_of(await self._get("/v1/node", parameters)))

    async def verify(self) -> Verification:
        """Compares the digests of all nodes of the cluster at one index."""
        return await verify(self)

    # ---------------------------------------------------------------- streams

    def feed(
        self,
        channel: Literal["book", "l3", "trades"],
        symbol: str,
        *,
        from_sequence: int | None = None,
        interval_ms: int | None = None,
        reconnect_timeout_s: float = RECONNECT_TIMEOUT_S,
    ) -> Feed:
        """The messages of a symbol's `channel`: its levels, its orders, or its trades, from now on.

        `from_sequence`: from behind that event on, which may have been seen at another node. `interval_ms` (50 to
        10,000) has updates merged. A connection that is lost is made again, at any node, for `reconnect_timeout_s`.
        """
        subscription: dict[str, object] = {"channel": channel, "symbol": symbol}
        if interval_ms is not None:
            subscription["interval_ms"] = interval_ms
        return Feed(self._streams(), subscription, from_sequence=from_sequence, reconnect_timeout_s=reconnect_timeout_s)

    def own_orders(
        self,
        account: str,
        *,
        symbol: str | None = None,
        from_sequence: int | None = None,
        reconnect_timeout_s: float = RECONNECT_TIMEOUT_S,
    ) -> Feed:
        """What becomes of the account's orders: the open ones first, then one message for each log entry with events.

        `from_sequence` is a log index.
        """
        subscription = {"channel": "orders", "account": account, **given(symbol=symbol)}
        return Feed(self._streams(), subscription, from_sequence=from_sequence, reconnect_timeout_s=reconnect_timeout_s)

    def local_book(self, symbol: str, *, level: Literal[2, 3] = 2, interval_ms: int | None = None) -> LiveBook:
        """A book of the symbol that keeps itself up to date inside `async with`; level 3 knows every order."""
        return LiveBook(symbol, self.feed("book" if level == 2 else "l3", symbol, interval_ms=interval_ms))

    def session(self, *, max_outstanding: int = MAX_OUTSTANDING) -> Session:
        """Order entry over one WebSocket, many commands under way, inside `async with`."""
        return Session(self._streams(), max_outstanding=max_outstanding)

    def _streams(self) -> Streams:
        return Streams(self._http, self._nodes, self._tls, self._encoding, self._learn_cluster, self._open_streams)

    # ---------------------------------------------------------------- one request

    def _submitting(self) -> Submitting:
        return Submitting(self._http, self._nodes, timeout_s=self._timeout_s, told=self._note)

    def _reading(self) -> Reading:
        return Reading(self._http, self._nodes, timeout_s=self._timeout_s, told=self._note)

    def _note(self, answer: Answer) -> None:
        self.log_index = max(self.log_index, answer.log_index)

    async def _learn_cluster(self) -> None:
        if not self._knows_cluster:
            await self.cluster()

    async def _read(self, path: str, parameters: dict[str, str], read: ReadOptions) -> object:
        return document_of(await self._get(path, {**parameters, **read_parameters(read)}, wait_s=read_wait_s(read)))

    async def get(self, path: str, parameters: Mapping[str, str] | None = None, *, wait_s: float = 0.0) -> Answer:
        """The answer to any GET ("/v1/candles/ACME") of the first node that gives one; `wait_s` is what it may take."""
        return await self._get(path, dict(parameters or {}), wait_s)

    async def _get(self, path: str, parameters: dict[str, str], wait_s: float = 0.0) -> Answer:
        await self._learn_cluster()
        return await self._reading().anywhere(path, parameters, wait_s)


def _order_name(account: str, client_order_id: str | None, order_id: int | None) -> dict[str, object]:
    if (client_order_id is None) == (order_id is None):
        raise ValueError("name the order by exactly one of client_order_id and order_id")
    if order_id is not None:
        return {"account": account, "order_id": order_id}
    return {"account": account, "client_order_id": client_order_id}
