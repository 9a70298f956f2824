"""An asynchronous client of one node's HTTP interface.

    async with RaftbookClient("http://127.0.0.1:8101") as client:
        order = {"op": "new", "symbol": "ACME", "account": "alice", "side": "buy", "price": "100.25", "quantity": "5"}
        report = await client.submit(order)
        book = await client.book("ACME", depth=5, at_least=report["log_index"])

Commands are dicts in the JSON form or values of raftbook.engine.commands; answers are the JSON documents as dicts.
A report whose `status` is "rejected" is an answer like any other; an exception means that there was none.

Errors, all of raftbook/errors.py: UnreachableError (nothing was sent), OutcomeUnknownError (something was sent and
its answer lost: submit it again under the same client order id, which is safe), ProblemError (any other refusal).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

import httpx
import msgspec

from raftbook.errors import ConfigError, OutcomeUnknownError, ProblemError, UnreachableError
from raftbook.pipelining import CommandLike, as_document, named_order_ids, pipeline
from raftbook.verification import Verification, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self


Document: TypeAlias = dict[str, object]
"""A JSON object as contract and API describe it: a report, an order, a trade, a book."""
Consistency: TypeAlias = Literal["local", "linearizable"]

DEFAULT_URL: Final = "http://127.0.0.1:8101"
DEFAULT_WAIT_S: Final = 6.0
"""How long a submission waits for its execution; a little longer than it lives by default."""
_ORDERS_PER_PAGE: Final = 10_000


class _Answer(NamedTuple):
    document: object
    headers: httpx.Headers


class RaftbookClient:
    """Talks to the node at `url` over kept-alive connections; close it with `aclose` or as a context manager.

    `timeout_s` bounds each answer, on top of the time that the request itself asks the node to wait.
    `transport` stands in for the network (httpx.ASGITransport runs against an application in the same process).
    """

    log_index: int
    """The highest log index that an answer named; pass it as `at_least` to another node to read your own writes."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self.log_index = 0
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            transport=transport,
            trust_env=False,  # A proxy of the environment has no business between a client and its node.
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    # ---------------------------------------------------------------- submissions

    async def submit(self, command: CommandLike, *, wait_s: float = DEFAULT_WAIT_S) -> Document:
        """The report of one command. A new order without a client order id gets a random one."""
        (report,) = await self.submit_many([command], wait_s=wait_s)
        return report

    async def submit_many(self, commands: Sequence[CommandLike], *, wait_s: float = DEFAULT_WAIT_S) -> list[Document]:
        """The reports of `commands`, in order; the node takes all of them, and executes them in order.

        A report is still `pending` where the node could not execute its command within `wait_s`. While the node is
        busy (nothing was taken) this waits and tries again, for as long as `timeout_s`.
        """
        return await self._post_commands(
            [as_document(command) for command in commands], {"wait_s": f"{wait_s:.3f}"}, wait_s
        )

    async def submit_pending(
        self, commands: Sequence[CommandLike], *, busy_timeout_s: float | None = None
    ) -> list[Document]:
        """Hands `commands` in without waiting for their execution; `collect` fetches the reports.

        While the node is busy this waits and tries again, for as long as `busy_timeout_s` (`timeout_s` by default).
        """
        documents = [as_document(command) for command in commands]
        return await self._post_commands(documents, {"wait": "pending"}, 0.0, busy_timeout_s)

    async def collect(self, origin: str, first_sequence: int, count: int, *, wait_s: float = 0.0) -> list[Document]:
        """The reports of `count` consecutive submissions, after waiting up to `wait_s` for those still pending."""
        path = f"/v1/submissions/{quote(origin, safe='')}/{first_sequence}"
        answer = await self._get(path, {"count": str(count), "wait_s": f"{wait_s:.3f}"}, wait_s=wait_s)
        return self._documents(answer)

    def pipeline(
        self,
        commands: Iterable[CommandLike] | AsyncIterable[CommandLike],
        *,
        window: int = 4_000,
        batch: int = 250,
        stall_timeout_s: float = 60.0,
    ) -> AsyncIterator[tuple[int, Document]]:
        """Submits `commands` in order and yields (position in the input, report) in the same order.

        Up to `window` commands are under way at once, sent in requests of up to `batch`. OutcomeUnknownError names
        the positions whose answer is missing when the connection breaks, or when nothing was executed for
        `stall_timeout_s`; commands after the last of them were never sent.
        """
        return pipeline(self, commands, window=window, batch=batch, stall_timeout_s=stall_timeout_s)

    async def cancel(
        self, account: str, *, client_order_id: str | None = None, order_id: int | None = None
    ) -> Document:
        """Cancels the order that exactly one of `client_order_id` and `order_id` names."""
        return await self.submit({"op": "cancel", **_order_name(account, client_order_id, order_id)})

    async def cancel_all(self, account: str, *, symbol: str | None = None, side: str | None = None) -> Document:
        return await self.submit({"op": "cancel_all", "account": account, **_given(symbol=symbol, side=side)})

    async def replace(
        self,
        account: str,
        *,
        client_order_id: str | None = None,
        order_id: int | None = None,
        price: str | None = None,
        quantity: str | None = None,
        stop_price: str | None = None,
        display_quantity: str | None = None,
        expire_time: int | None = None,
    ) -> Document:
        """Changes what is given. `display_quantity` "0" shows the whole order; `expire_time` is in nanoseconds."""
        changes: dict[str, object] = {
            **_given(price=price, quantity=quantity, stop_price=stop_price, display_quantity=display_quantity)
        }
        if expire_time is not None:
            changes["expire_time"] = expire_time
        name = _order_name(account, client_order_id, order_id)
        return await self.submit({"op": "replace", **name, **changes})

    async def add_instrument(self, instrument: CommandLike) -> Document:
        """Adds the instrument that an AddInstrument, or the fields of one, describes."""
        return await self.submit(
            {"op": "add_instrument", **instrument} if not isinstance(instrument, tuple) else instrument
        )

    async def set_status(self, symbol: str, status: str) -> Document:
        """Changes the trading status: "trading", "auction", "halted" or "closed"."""
        return await self.submit({"op": "set_status", "symbol": symbol, "status": status})

    async def uncross(self, symbol: str, status: str = "trading") -> Document:
        """Ends the instrument's auction with its trades; `status`, "trading" or "closed", follows."""
        return await self.submit({"op": "uncross", "symbol": symbol, "status": status})

    # ---------------------------------------------------------------- reads

    async def order(
        self,
        *,
        order_id: int | None = None,
        account: str | None = None,
        client_order_id: str | None = None,
        consistency: Consistency | None = None,
        at_least: int | None = None,
    ) -> Document:
        """One order, by `order_id` or by `account` and `client_order_id`. ProblemError `unknown_order`."""
        if order_id is None:
            if account is None or client_order_id is None:
                raise ValueError("name the order by order_id, or by account and client_order_id")
            path = f"/v1/orders/by-client-id/{quote(account, safe='')}/{quote(client_order_id, safe='')}"
            return self._document(await self._read(path, {}, consistency, at_least))
        return self._document(
            await self._read(f"/v1/orders/{order_id}", _given(account=account), consistency, at_least)
        )

    async def orders(
        self,
        *,
        account: str | None = None,
        symbol: str | None = None,
        side: str | None = None,
        status: str | None = None,
        consistency: Consistency | None = None,
        at_least: int | None = None,
    ) -> list[Document]:
        """Orders by rising order id: the open and untriggered ones, or those of `status` ("expired", …, "all").

        Fetched in pages, so beyond 10,000 orders what is answered may span several log indexes.
        """
        parameters = _given(account=account, symbol=symbol, side=side, status=status, limit=str(_ORDERS_PER_PAGE))
        orders: list[Document] = []
        while True:
            answer = await self._read("/v1/orders", parameters, consistency, at_least)
            orders += self._documents(answer)
            following = answer.headers.get("Raftbook-Next-Order-Id")
            if following is None:
                return orders
            parameters = {**parameters, "from_order_id": following}

    async def book(
        self,
        symbol: str,
        *,
        depth: int | None = None,
        level: int = 2,
        consistency: Consistency | None = None,
        at_least: int | None = None,
    ) -> Document:
        parameters = _given(depth=_text(depth), level=str(level))
        return self._document(await self._read(f"/v1/book/{quote(symbol, safe='')}", parameters, consistency, at_least))

    async def trades(
        self,
        symbol: str,
        *,
        from_trade_id: int | None = None,
        limit: int | None = None,
        consistency: Consistency | None = None,
        at_least: int | None = None,
    ) -> list[Document]:
        """Trades by rising id: the latest ones, or those from `from_trade_id` on."""
        parameters = _given(from_trade_id=_text(from_trade_id), limit=_text(limit))
        return self._documents(
            await self._read(f"/v1/trades/{quote(symbol, safe='')}", parameters, consistency, at_least)
        )

    async def instruments(
        self, *, consistency: Consistency | None = None, at_least: int | None = None
    ) -> list[Document]:
        return self._documents(await self._read("/v1/instruments", {}, consistency, at_least))

    async def cluster(self) -> Document:
        return self._document(await self._get("/v1/cluster", {}))

    async def node(self, *, digest_at: int | None = None, state_digest: bool = False) -> Document:
        """The node's status, with the digests that are asked for."""
        parameters = _given(digest_at=_text(digest_at), state_digest="true" if state_digest else None)
        return self._document(await self._get("/v1/node", parameters))

    async def verify(self) -> Verification:
        """Compares the digests of all nodes of the cluster at one index."""
        return await verify(self)

    def at(self, url: str) -> RaftbookClient:
        """A client of another node that shares this one's connections and key; close only this one."""
        other = object.__new__(type(self))
        other.url, other.log_index = _checked_url(url), 0
        other._timeout_s, other._http = self._timeout_s, self._http
        return other

    # ---------------------------------------------------------------- one request

    async def _post_commands(
        self,
        documents: list[Mapping[str, object]],
        parameters: dict[str, str],
        wait_s: float,
        busy_timeout_s: float | None = None,
    ) -> list[Document]:
        content = msgspec.json.encode(documents)
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self._timeout_s if busy_timeout_s is None else busy_timeout_s)
        while True:
            try:
                response = await self._send("POST", "/v1/commands", parameters, content, wait_s)
                return self._documents(self._answer(response))
            except ProblemError as problem:
                pause_s = problem.retry_after_s or 0.1
                if problem.status != 429 or clock() + pause_s > deadline:
                    raise
                await asyncio.sleep(pause_s)
            except httpx.TransportError as error:
                raise OutcomeUnknownError(
                    f"the answer of {self.url} to {len(documents)} command(s) is lost ({_words(error)}): they may be "
                    "executed or not; submit them again with the same client order ids, each is executed once",
                    positions=range(len(documents)),
                    client_order_ids=named_order_ids(documents),
                ) from error

    async def _read(
        self, path: str, parameters: dict[str, str], consistency: Consistency | None, at_least: int | None
    ) -> _Answer:
        return await self._get(path, {**parameters, **_given(consistency=consistency, at_least=_text(at_least))})

    async def _get(self, path: str, parameters: dict[str, str], wait_s: float = DEFAULT_WAIT_S) -> _Answer:
        try:
            response = await self._send("GET", path, parameters, None, wait_s)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self.url} did not answer ({_words(error)}); is the node still running?"
            ) from error
        return self._answer(response)

    async def _send(
        self, method: str, path: str, parameters: dict[str, str], content: bytes | None, wait_s: float
    ) -> httpx.Response:
        """One exchange. UnreachableError where nothing was sent, httpx.TransportError where something may have been."""
        headers = {} if content is None else {"Content-Type": "application/json"}
        timeout = httpx.Timeout(self._timeout_s + wait_s, connect=self._timeout_s)
        try:
            return await self._http.request(
                method, self.url + path, params=parameters, content=content, headers=headers, timeout=timeout
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise UnreachableError(
                f"no node answers at {self.url} ({_words(error)}); start one with "
                "`raftbook node start --config FILE --id ID`, or name another one with --url or RAFTBOOK_URL"
            ) from error

    def _answer(self, response: httpx.Response) -> _Answer:
        """The decoded answer. ProblemError where it is a problem, or nothing that a raftbook node would say."""
        try:
            document = msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            document = None
        if response.is_success and isinstance(document, dict | list):
            self.log_index = max(self.log_index, int(response.headers.get("Raftbook-Log-Index", "0")))
            return _Answer(document, response.headers)
        if not isinstance(document, dict) or not isinstance(document.get("code"), str):
            raise self._unexpected(response.status_code)
        known = ("type", "title", "status", "detail", "code", "retry_after_s")
        retry_after_s = document.get("retry_after_s")
        raise ProblemError(
            response.status_code,
            document["code"],
            str(document.get("detail", "")),
            title=str(document.get("title", document["code"])),
            members={name: value for name, value in document.items() if name not in known},
            retry_after_s=float(retry_after_s) if isinstance(retry_after_s, int | float) else None,
        )

    def _document(self, answer: _Answer) -> Document:
        if not isinstance(answer.document, dict):
            raise self._unexpected(200)
        return answer.document

    def _documents(self, answer: _Answer) -> list[Document]:
        try:
            return msgspec.convert(answer.document, list[dict[str, object]])
        except msgspec.ValidationError:
            raise self._unexpected(200) from None

    def _unexpected(self, status: int) -> ProblemError:
        detail = f"what answers at {self.url} (status {status}) is no raftbook node; check the URL"
        return ProblemError(status, "unexpected_answer", detail)


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url!r} is no URL ({error}); write one such as {DEFAULT_URL}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ConfigError(f"{url!r} is no URL of a node; write one such as {DEFAULT_URL}")
    return url.rstrip("/")


def _order_name(account: str, client_order_id: str | None, order_id: int | None) -> dict[str, object]:
    if (client_order_id is None) == (order_id is None):
        raise ValueError("name the order by exactly one of client_order_id and order_id")
    name: dict[str, object] = {"account": account}
    if order_id is not None:
        name["order_id"] = order_id
    else:
        name["client_order_id"] = client_order_id
    return name


def _given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
