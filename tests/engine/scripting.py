"""The language of tests/engine/scripts: commands, a line `----`, and what the exchange answered.

    closed_orders_kept 3                                first line only: so few that forgetting can be watched
    at 50                                               the log time of what follows
    instrument ACME price_decimals=2 quantity_decimals=0 tick_size=0.01 lot_size=1
    status ACME halted
    alice buy 5 ACME @ 100.25 id=a1 [gtc|ioc|fok] [post_only] [limit|market] [not_after=60]
    alice replace a1 [price=100.30] [quantity=4]        an order is named by its client order id, or by #ORDER_ID
    alice cancel a1
    alice cancel_all [ACME] [buy|sell]
    tick
    malformed no such bytes
    book ACME                                           shows the book, every order as quantity (client order id)
    order alice a1                                      shows one order

A line of the answer opens with the event's symbol and sequence, `-` where it has none. Behind the events of a
command that traded stands the order as it ended.
"""

from __future__ import annotations

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Entry,
    Exchange,
    Execution,
    InstrumentEvent,
    Malformed,
    MassCanceled,
    NewOrder,
    Number,
    OrderEvent,
    OrderState,
    OrderType,
    Rejection,
    ReplaceOrder,
    Run,
    SetStatus,
    Side,
    Tick,
    Ticked,
    TimeInForce,
    Trade,
    TradingStatus,
)

SEPARATOR = "----"
SIDES = {side.label: side for side in Side}


def run_script(text: str) -> tuple[str, list[Execution]]:
    """The script with the answers that the exchange gives now, and all executions."""
    session = Session()
    blocks = []
    for block in text.strip().split("\n\n"):
        questions, _, _ = block.partition(f"\n{SEPARATOR}")
        lines = questions.splitlines()
        commands = [line for line in lines if line and not line.startswith("#")]
        if not commands:
            blocks.append(questions)
            continue
        answers = [answer for command in commands for answer in session.run(command)]
        session.restart_from_snapshot()
        blocks.append("\n".join([*lines, SEPARATOR, *answers]))
    return "\n\n".join(blocks) + "\n", session.executions


class Session:
    def __init__(self):
        self.exchange = Exchange()
        self.time = 0
        self.submitted = 0
        self.executions = []

    def restart_from_snapshot(self):
        snapshot = self.exchange.to_snapshot()
        self.exchange = Exchange.from_snapshot(snapshot)
        assert self.exchange.to_snapshot() == snapshot

    def run(self, line: str) -> list[str]:
        match line.split():
            case ["closed_orders_kept", count]:
                assert self.submitted == 0, "set it first"
                self.exchange = Exchange(closed_orders_kept=int(count))
                return []
            case ["at", time]:
                self.time = int(time)
                return []
            case ["book", symbol]:
                return render_book(self.exchange, symbol)
            case ["order", account, name]:
                order = self.exchange.order_by_client_id(account, name)
                return ["none" if order is None else f"  {self.render_order(order)}"]
            case words:
                return self.submit(parse_command(words))

    def submit(self, command) -> list[str]:
        self.submitted += 1
        index = self.exchange.log_index + 1
        run = Run("script", self.submitted, (command,))
        [execution] = self.exchange.apply(index, Entry(self.time, (run,)))
        self.exchange.check()
        self.executions.append(execution)
        refused = any(isinstance(event, Rejection) for event in execution.events)
        assert execution.accepted is not refused
        lines = [self.render_event(event) for event in execution.events]
        if any(isinstance(event, Trade) for event in execution.events):
            lines.append(f"  {self.render_order(execution.order)}")
        return lines

    def render_event(self, event) -> str:
        symbol, sequence = getattr(event, "symbol", None), getattr(event, "sequence", None)
        place = f"{symbol}/{sequence}" if sequence is not None else "-"
        words = [place, event.kind.label]
        match event:
            case OrderEvent():
                words += [event.reason.value] if event.reason else []
                words += ["duplicate"] if event.duplicate else []
                words.append(self.render_order(event.order))
            case Trade():
                price, quantity = self.render_numbers(event.symbol, event.price, event.quantity)
                maker = f"{event.maker_account} {event.maker_client_order_id}"
                taker = f"{event.taker_account} {event.taker_client_order_id}"
                words.append(f"{event.trade_id}: {quantity} @ {price}, maker {maker}, taker {taker}")
                words.append("buys" if event.taker_side is Side.BUY else "sells")
            case Rejection():
                words += ["duplicate"] if event.duplicate else []
                words.append(event.reason.value + (f": {event.detail}" if event.detail else ""))
                words += [f"[{self.render_order(event.order)}]"] if event.order else []
            case MassCanceled():
                words.append(str(event.canceled_count))
            case InstrumentEvent():
                words.append(event.status.label)
            case Ticked():
                words.append(f"at {event.timestamp}")
        return " ".join(words)

    def render_order(self, order: OrderState) -> str:
        price, quantity = self.render_numbers(order.symbol, order.price, order.quantity)
        _, filled = self.render_numbers(order.symbol, None, order.filled_quantity)
        _, leaves = self.render_numbers(order.symbol, None, order.leaves_quantity)
        terms = f"{quantity} @ {price}" if order.price is not None else f"{quantity} market"
        post_only = " post_only" if order.post_only else ""
        name = f"{order.account} {order.client_order_id} (#{order.order_id})"
        return (
            f"{name} {order.side.label} {terms} {order.time_in_force.label}{post_only}"
            f", filled {filled} for {order.notional}, leaves {leaves}, {order.status.label}"
        )

    def render_numbers(self, symbol, price, quantity) -> tuple[str, str]:
        instrument = self.exchange.instruments[symbol]
        shown_price = "" if price is None else decimal_text(price, instrument.price_decimals)
        return shown_price, decimal_text(quantity, instrument.quantity_decimals)


def render_book(exchange: Exchange, symbol: str) -> list[str]:
    """A table, highest price first: bids on the left, asks on the right, whoever waited longest first."""
    instrument = exchange.instruments[symbol]
    bids, asks = exchange.level3(symbol)
    rows = []
    for side in (asks, bids):
        prices = sorted({order.price for order in side}, reverse=True)
        for price in prices:
            queue = [
                f"{decimal_text(order.leaves_quantity, instrument.quantity_decimals)} ({order.client_order_id})"
                for order in side
                if order.price == price
            ]
            total = dict(exchange.depth(symbol)[0 if side is bids else 1])[price]
            cell = f"{decimal_text(total, instrument.quantity_decimals)} = {' + '.join(queue)}"
            shown_price = decimal_text(price, instrument.price_decimals)
            rows.append((cell, shown_price, "") if side is bids else ("", shown_price, cell))
    rows = rows or [("", "empty", "")]
    widths = [max(len(row[column]) for row in [("bids", symbol, "asks"), *rows]) for column in range(3)]
    table = [("bids", symbol, "asks"), *rows]
    return [f"| {bid:>{widths[0]}} | {price:^{widths[1]}} | {ask:<{widths[2]}} |" for bid, price, ask in table]


def parse_command(words: list[str]):
    named = dict(word.split("=", 1) for word in words if "=" in word)
    plain = [word for word in words if "=" not in word]
    not_after = int(named.pop("not_after")) if "not_after" in named else None
    match plain:
        case ["instrument", symbol]:
            return AddInstrument(
                symbol,
                int(named["price_decimals"]),
                int(named["quantity_decimals"]),
                number(named["tick_size"]),
                number(named["lot_size"]),
                not_after,
            )
        case ["status", symbol, status]:
            return SetStatus(symbol, TradingStatus[status.upper()], not_after)
        case ["tick"]:
            return Tick(not_after)
        case ["malformed", *detail]:
            return Malformed(" ".join(detail))
        case [account, "cancel", name]:
            return CancelOrder(account, *order_name(name), not_after)
        case [account, "cancel_all", *rest]:
            sides = [SIDES[word] for word in rest if word in SIDES]
            symbols = [word for word in rest if word not in SIDES]
            return CancelAll(account, symbols[0] if symbols else None, sides[0] if sides else None, not_after)
        case [account, "replace", name]:
            price, quantity = named.get("price"), named.get("quantity")
            return ReplaceOrder(
                account,
                *order_name(name),
                None if price is None else number(price),
                None if quantity is None else number(quantity),
                not_after,
            )
        case [account, ("buy" | "sell") as side, quantity, symbol, *rest]:
            price = None
            if "@" in rest:
                position = rest.index("@")
                price = number(rest[position + 1])
                del rest[position : position + 2]
            order_type, time_in_force, post_only = OrderType.LIMIT, TimeInForce.GTC, False
            for word in rest:
                if word == "post_only":
                    post_only = True
                elif word.upper() in OrderType.__members__:
                    order_type = OrderType[word.upper()]
                else:
                    time_in_force = TimeInForce[word.upper()]
            return NewOrder(
                symbol,
                account,
                named["id"],
                SIDES[side],
                order_type,
                time_in_force,
                price,
                number(quantity),
                post_only,
                not_after,
            )
    raise ValueError(f"no command: {' '.join(words)}")


def order_name(word: str) -> tuple[int | None, str | None]:
    return (int(word[1:]), None) if word.startswith("#") else (None, word)


def number(text: str) -> Number:
    whole, _, fraction = text.partition(".")
    return Number(int(whole + fraction), len(fraction))


def decimal_text(units: int, decimals: int) -> str:
    whole, fraction = divmod(units, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)
