"""`raftbook watch`: a node's feed as JSON lines, which goes on at another node when this one is gone."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import typer

from cli import completion, options
from cli.access import DEFAULT_ACCESS, Access, talk, talking
from cli.errors import WrongUsageError, tell
from cli.output import OutputFormat, print_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from raftbook.client import FeedMessage, RaftbookClient
    from raftbook.client.feed import Feed

app = typer.Typer()

ORDERS: Final = "orders"
TRADES: Final = "trades"
CHANNELS: Final = ["book", TRADES, "l3", ORDERS]
SHORTEST_INTERVAL_MS: Final = 50
LONGEST_INTERVAL_MS: Final = 10_000


def _interval_ms(value: str) -> int:
    interval_ms = options.whole_number(SHORTEST_INTERVAL_MS)(value)
    if interval_ms > LONGEST_INTERVAL_MS:
        raise typer.BadParameter(f"'{value}' is above {LONGEST_INTERVAL_MS}")
    return interval_ms


@app.command()
@talking
def watch(
    symbol: Annotated[
        str | None,
        typer.Argument(
            metavar="[SYMBOL]",
            autocompletion=completion.symbols,
            help="The instrument, such as ACME; of orders it may be left out.",
        ),
    ] = None,
    channel: Annotated[
        str,
        options.choice("--channel", CHANNELS, "book: price levels; l3: every order; orders: those of --account."),
    ] = "book",
    account: Annotated[
        str | None, typer.Option("--account", metavar="ACCOUNT", help="Whose orders, with --channel orders.")
    ] = None,
    from_sequence: Annotated[
        int | None,
        typer.Option(
            "--from-sequence",
            parser=options.whole_number(0),
            metavar="N",
            help="Go on behind the sequence that you saw last, instead of beginning with a snapshot.",
        ),
    ] = None,
    interval_ms: Annotated[
        int | None,
        typer.Option(
            "--interval-ms",
            parser=_interval_ms,
            metavar="MS",
            help="Merge updates: at most one in so many milliseconds, from 50 to 10000.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", parser=options.whole_number(1), metavar="N", help="End after so many messages."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for what comes, or end with what there is by now.")
    ] = True,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Prints a feed, a JSON object a line, exactly as nodes send it on WebSocket /v1/stream.

    When the node is gone it goes on at another one, without a gap or a repeat. It ends with Ctrl-C, or when the reader
    of its output goes away. With --output table each message is told in words.
    """
    if channel == ORDERS and account is None:
        raise WrongUsageError("--channel orders needs an --account: whose orders?")
    if channel != ORDERS and symbol is None:
        raise WrongUsageError(f"missing argument 'SYMBOL': of which instrument is the {channel} wanted?")
    if channel != ORDERS and account is not None:
        raise WrongUsageError(f"--account goes with --channel orders; {channel} is the whole market's")
    if interval_ms is not None and channel in (ORDERS, TRADES):
        raise WrongUsageError(f"--interval-ms goes with book and l3; each message of {channel} is sent as it happens")
    if channel == ORDERS and from_sequence is not None and not follow:
        raise WrongUsageError(
            "--no-follow: of orders nobody knows when the last came; use --limit, or `raftbook orders`"
        )
    subscription = Subscription(channel, symbol, account, interval_ms)
    write = _writer(output)
    talk(access, lambda client: print_feed(client, subscription, from_sequence, write, limit=limit, follow=follow))


class Subscription:
    """Which feed: what each attempt to follow it has in common."""

    def __init__(self, channel: str, symbol: str | None, account: str | None, interval_ms: int | None) -> None:
        self._channel = channel
        self._symbol = symbol
        self._account = account
        self._interval_ms = interval_ms

    def open(self, client: RaftbookClient, from_sequence: int | None) -> Feed:
        if self._channel == ORDERS:
            assert self._account is not None, "the command has asked for it"
            return client.own_orders(self._account, symbol=self._symbol, from_sequence=from_sequence)
        assert self._symbol is not None, "the command has asked for it"
        channel = cast("Literal['book', 'l3', 'trades']", self._channel)
        return client.feed(channel, self._symbol, from_sequence=from_sequence, interval_ms=self._interval_ms)


async def print_feed(
    client: RaftbookClient,
    subscription: Subscription,
    from_sequence: int | None,
    write: Callable[[FeedMessage], None],
    *,
    limit: int | None,
    follow: bool,
) -> None:
    count = 0
    messages = _all(client, subscription, from_sequence) if follow else _until_now(client, subscription, from_sequence)
    async with aclosing(messages):
        async for message in messages:
            write(message)
            count += 1
            if count == limit:
                return


async def _all(
    client: RaftbookClient, subscription: Subscription, from_sequence: int | None
) -> AsyncGenerator[FeedMessage]:
    """Every message; where the feed goes on at another node, that is told on standard error."""
    async with subscription.open(client, from_sequence) as feed:
        resumptions = 0
        async for message in feed:
            if feed.resumptions != resumptions:
                resumptions = feed.resumptions
                tell(f"the feed goes on at {feed.url}, with sequence {message['sequence']}")
            yield message


async def _until_now(
    client: RaftbookClient, subscription: Subscription, from_sequence: int | None
) -> AsyncGenerator[FeedMessage]:
    """The messages behind `from_sequence` that there are already; without it the snapshot alone."""
    async with subscription.open(client, None) as feed:
        snapshot = await anext(feed)
    if from_sequence is None:
        yield snapshot
        return
    newest = newest_sequence(snapshot)
    if newest <= from_sequence:
        return
    async with aclosing(_all(client, subscription, from_sequence)) as messages:
        async for message in messages:
            yield message
            if message["sequence"] >= newest:
                return


def newest_sequence(snapshot: FeedMessage) -> int:
    """The sequence of the last message that there is by now: of trades, which have not all of them, the last one's."""
    if snapshot["channel"] == TRADES:
        return max((trade["sequence"] for trade in snapshot["trades"]), default=0)
    return snapshot["sequence"]


def _writer(output: OutputFormat | None) -> Callable[[FeedMessage], None]:
    if output is OutputFormat.TABLE:
        from cli.render import feed_line

        return lambda message: print(feed_line(message), flush=True)
    return print_json  # The default on a terminal as well: a feed is for programs.
