"""The documents that nodes answer with, as types: plain dicts, whose keys an editor completes and a type checker knows.

Prices and quantities are decimal strings, times are integers in nanoseconds since the epoch. A node may send more
fields than stand here; they are kept.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict

SideName: TypeAlias = Literal["buy", "sell"]
OrderTypeName: TypeAlias = Literal["limit", "market", "stop", "stop_limit"]
TimeInForceName: TypeAlias = Literal["gtc", "ioc", "fok", "day", "gtd"]
OrderStatusName: TypeAlias = Literal["open", "filled", "canceled", "rejected", "expired", "untriggered"]
TradingStatusName: TypeAlias = Literal["trading", "halted", "closed", "auction"]
Consistency: TypeAlias = Literal["local", "linearizable"]


class Order(TypedDict):
    """An order as it stands; (`notional`, `filled_quantity`) is its average price as an exact pair."""

    order_id: int
    client_order_id: str
    account: str
    symbol: str
    side: SideName
    order_type: OrderTypeName
    time_in_force: TimeInForceName
    price: NotRequired[str]
    stop_price: NotRequired[str]
    quantity: str
    filled_quantity: str
    leaves_quantity: str
    display_quantity: NotRequired[str]
    visible_quantity: NotRequired[str]
    notional: str
    status: OrderStatusName
    post_only: NotRequired[bool]
    expire_time: NotRequired[int]
    self_trade_prevention: NotRequired[str]


class Trade(TypedDict):
    """A trade as GET /v1/trades tells it, or as the owner of one of its orders hears of it.

    Feeds leave out whose orders they were; the owner of one does not learn the account of the other.
    """

    symbol: str
    sequence: int
    log_index: int
    timestamp: int
    trade_id: int
    price: str
    quantity: str
    maker_order_id: int
    maker_client_order_id: NotRequired[str]
    maker_account: NotRequired[str]
    taker_order_id: int
    taker_client_order_id: NotRequired[str]
    taker_account: NotRequired[str]
    taker_side: SideName
    auction: NotRequired[bool]
    previous_trade_id: NotRequired[int]
    """In feeds: the trade of the symbol before this one, where there was one."""


class Event(TypedDict, total=False):
    """One event of a report, flat: beside its own fields those of the order, trade or instrument that it is about."""

    event: str
    symbol: str
    sequence: int
    log_index: int
    timestamp: int
    reason: str
    detail: str
    duplicate: bool
    prevented_by_order_id: int
    canceled_count: int
    requested_status: TradingStatusName
    order: Order
    # Of an order.
    order_id: int
    client_order_id: str
    account: str
    side: SideName
    order_type: OrderTypeName
    time_in_force: TimeInForceName
    price: str
    stop_price: str
    quantity: str
    filled_quantity: str
    leaves_quantity: str
    display_quantity: str
    visible_quantity: str
    notional: str
    status: str
    post_only: bool
    expire_time: int
    # Of a trade.
    trade_id: int
    maker_order_id: int
    maker_client_order_id: str
    maker_account: str
    taker_order_id: int
    taker_client_order_id: str
    taker_account: str
    taker_side: SideName
    auction: bool
    # Of an auction.
    imbalance_quantity: str
    imbalance_side: SideName


class Report(TypedDict):
    """What became of a submission. A `rejected` one is an answer like any other, with its `reason`.

    `pending` is one that has not been executed yet: (`origin`, `origin_sequence`) name it for `collect`. They are None
    in the report of what was no command and so got no place in the log.
    """

    status: Literal["accepted", "rejected", "pending"]
    origin: str | None
    origin_sequence: int | None
    log_index: int | None
    timestamp: NotRequired[int]
    order: Order | None
    events: list[Event]
    reason: NotRequired[str]
    detail: NotRequired[str]
    field: NotRequired[str | None]
    duplicate: NotRequired[bool]
    """A copy had been executed before; `order` is the order as it stands now."""
    next: NotRequired[str]
    """Of a pending one: where to ask again."""


class Indication(TypedDict):
    """At what an auction would trade if it ended now; without `price`, nothing would."""

    price: NotRequired[str]
    quantity: str
    imbalance_quantity: str
    imbalance_side: NotRequired[SideName]


class Book(TypedDict):
    """Levels as [price, displayed quantity], best first. `status` where it is not trading."""

    book: str
    log_index: int
    bids: list[list[str]]
    asks: list[list[str]]
    status: NotRequired[TradingStatusName]
    indication: NotRequired[Indication]


class BookOrder(TypedDict):
    """An order as the market sees it: whose it is, and what an iceberg hides, is not told."""

    order_id: int
    price: str | None
    quantity: str


class OrderBook(TypedDict):
    """Orders in priority (level 3)."""

    book: str
    log_index: int
    bids: list[BookOrder]
    asks: list[BookOrder]
    status: NotRequired[TradingStatusName]
    indication: NotRequired[Indication]


class Instrument(TypedDict):
    """`price_band` and `market_protection` are percent."""

    symbol: str
    price_decimals: int
    quantity_decimals: int
    tick_size: str
    lot_size: str
    min_quantity: NotRequired[str]
    max_quantity: NotRequired[str]
    min_notional: NotRequired[str]
    price_band: NotRequired[str]
    market_protection: NotRequired[str]
    max_open_orders: NotRequired[int]
    self_trade_prevention: NotRequired[str]
    status: TradingStatusName


class ApiKey(TypedDict):
    """An API key as the nodes have it, which is without its secret."""

    key_id: str
    name: str
    role: Literal["read", "trade", "admin"]
    accounts: list[str]
    public_key: str
    created_at: int
    revoked_at: NotRequired[int]


class ClusterNode(TypedDict):
    """A configured node as the asked one sees it; figures are None where it never heard of it."""

    id: str
    peer_address: str
    api_address: str
    reachable: bool
    role: str | None
    term: int | None
    commit_index: int | None
    applied_index: int | None
    digest: str | None
    lag: int | None
    digest_index: NotRequired[int | None]
    storage_full: NotRequired[bool | None]
    heard_s_ago: NotRequired[float | None]


class Cluster(TypedDict):
    """`quorum`: the asked node reaches a majority. `leader` is the id of one, None where it knows of none."""

    name: str
    leader: str | None
    quorum: bool
    nodes: list[ClusterNode]


class IndexedDigest(TypedDict):
    """`digest` is None where the node does not hold it any more, or not yet."""

    index: int
    digest: str | None


class Node(TypedDict):
    """A node of itself."""

    node_id: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    digest: str
    cluster: NotRequired[str]
    durable_index: NotRequired[int]
    base_index: NotRequired[int]
    intake_items: NotRequired[int]
    connected_peers: NotRequired[list[str]]
    ready: NotRequired[bool]
    draining: NotRequired[bool]
    storage_full: NotRequired[bool]
    storage_free_bytes: NotRequired[int]
    longest_stall_ms: NotRequired[float]
    digest_at: NotRequired[IndexedDigest]
    state_digest: NotRequired[IndexedDigest]


class ReadOptions(TypedDict, total=False):
    """How fresh a read is to be; both at once is an error.

    `consistency`: "local" (default), what the node has applied; "linearizable", all that was ordered before the call.
    `at_least`: the node waits until it has applied the log up to this index, so that one reads one's own writes.
    """

    consistency: Consistency | None
    at_least: int | None


class OrderChange(TypedDict):
    """One order of a level 3 update: "0" is gone; with `to_back` it joins the back of its price."""

    order_id: int
    side: SideName
    price: str
    quantity: str
    to_back: bool


class FeedMessage(TypedDict, total=False):
    """A message of a feed; `channel`, `type` and `sequence` are always there.

    A `snapshot` replaces whatever came before; an `update` says what changed since. `sequence` is the symbol's, or of
    own orders the log index. An update without further fields says that nothing changed at that number.
    """

    channel: Literal["book", "l3", "trades", "orders"]
    type: Literal["snapshot", "update"]
    symbol: str
    account: str
    first_sequence: int
    sequence: int
    log_index: int
    timestamp: int
    status: TradingStatusName
    indication: Indication | None
    instrument: Instrument
    last_price: str | None
    bids: list[list[str]] | list[BookOrder]
    asks: list[list[str]] | list[BookOrder]
    trades: list[Trade]
    # Of l3 updates OrderChange, of the snapshot of own orders Order.
    orders: list[OrderChange] | list[Order]
    events: list[Event]
    # Of a trade.
    trade_id: int
    previous_trade_id: int
    price: str
    quantity: str
    taker_side: SideName
    maker_order_id: int
    taker_order_id: int
    auction: bool


class Day(TypedDict):
    """The trades of one day (UTC); (`notional`, `volume`) is their average price as an exact pair."""

    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    notional: str
    trade_count: int


class Ticker(TypedDict):
    """One market at a glance; `best_bid` and `best_ask` are price and quantity. `day` is the last one with a trade."""

    symbol: str
    status: TradingStatusName
    sequence: int
    best_bid: NotRequired[list[str]]
    best_ask: NotRequired[list[str]]
    last_price: NotRequired[str]
    bid_levels: int
    ask_levels: int
    resting_orders: int
    day: NotRequired[Day]


class Tickers(TypedDict):
    """All markets, and totals of the replicated state: on all nodes the same at one log index."""

    log_index: int
    timestamp: int
    submissions_executed: int
    orders_accepted: int
    trades_executed: int
    tickers: list[Ticker]


class Changes(TypedDict):
    """What `replace` may change; `display_quantity` "0" shows the whole order, `expire_time` is in nanoseconds."""

    price: NotRequired[str]
    quantity: NotRequired[str]
    stop_price: NotRequired[str]
    display_quantity: NotRequired[str]
    expire_time: NotRequired[int]
