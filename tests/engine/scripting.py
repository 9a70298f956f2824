"""The language of tests/engine/scripts: commands, a line `----`, and what the exchange answered.

    closed_orders_kept 3                                first line only: so few that forgetting can be watched
    most_keys 3                                         likewise
    at 50                                               the log time of what follows; `1d` is the first midnight, `1d-1`
    instrument ACME price_decimals=2 quantity_decimals=0 tick_size=0.01 lot_size=1 [min_quantity=1 …, any limit]
    status ACME halted                                  trading, auction, halted, closed
    uncross ACME [trading|closed]
    alice buy 5 ACME @ 100.25 id=a1 [gtc|ioc|fok|day|gtd expire=90] [post_only] [display=2] [stp=cancel_newest]
    alice sell 5 ACME market id=a2 [not_after=60]
    alice buy 5 ACME stop=101.00 id=a3                  a stop
    alice buy 5 ACME @ 102.00 stop=101.00 id=a4         a stop_limit; [limit|market|stop|stop_limit] names any type
    alice replace a1 [price=100.30] [quantity=4] [stop=…] [display=…] [expire=…]
    alice cancel a1                                     an order is named by its client order id, or by #ORDER_ID
    alice cancel_all [ACME] [buy|sell]
    key key00001 trade alice bob [name=ann] [public=…]  creates an API key; its public key is made of its id
    key revoke key00001
    tick
    malformed no such bytes
    pass                                                an entry without commands
    book ACME                                           shows the book, every order as quantity (client order id)
    order alice a1                                      shows one order
    next_expiry                                         shows when the next order expires

Each command is an entry of its own; an indented one belongs to the entry of the line above.

A line of the answer opens with the event's symbol and sequence, `-` where it has none. Behind the events of a
command that traded stands the order as it ended, and with it every stop that was elected on the way.
"""

from __future__ import annotations

from raftbook.engine import Entry, Exchange, Execution, OrderStatus, Rejection, Run
from raftbook.engine.types import NO_ORIGIN
from tests.engine.script_answers import render_book, render_execution, render_order, render_time
from tests.engine.script_commands import parse_command, parse_time

SEPARATOR = "----"


def run_script(text: str, session: Session | None = None) -> tuple[str, list[Execution]]:
    """The script with the answers that the exchange gives now, and all executions."""
    session = session or Session()
    blocks = []
    for block in text.strip().split("\n\n"):
        questions, _, _ = block.partition(f"\n{SEPARATOR}")
        lines = questions.splitlines()
        steps = []
        for line in lines:
            if line.startswith(" "):
                steps[-1].append(line.strip())
            elif line and not line.startswith("#"):
                steps.append([line])
        if not steps:
            blocks.append(questions)
            continue
        answers = [answer for step in steps for answer in session.run(step)]
        session.restart_from_snapshot()
        blocks.append("\n".join([*lines, SEPARATOR, *answers]))
    return "\n\n".join(blocks) + "\n", session.executions


class Session:
    def __init__(self):
        self.time = 0
        self.submitted = 0
        self.executions = []
        self.start()

    def start(self, **limits):
        self.exchange = Exchange(**limits)

    def restart_from_snapshot(self):
        snapshot = self.exchange.to_snapshot()
        self.exchange = Exchange.from_snapshot(snapshot)
        assert self.exchange.to_snapshot() == snapshot

    def run(self, step: list[str]) -> list[str]:
        """What one line answers, together with the indented ones below it."""
        match step[0].split():
            case ["closed_orders_kept", count]:
                assert self.submitted == 0, "set it first"
                self.start(closed_orders_kept=int(count))
                return []
            case ["most_keys", count]:
                assert self.submitted == 0, "set it first"
                self.start(most_keys=int(count))
                return []
            case ["at", time]:
                self.time = parse_time(time)
                return []
            case ["book", symbol]:
                return render_book(self.exchange, symbol)
            case ["order", account, name]:
                order = self.exchange.order_by_client_id(account, name)
                return ["none" if order is None else f"  {render_order(self.exchange, order)}"]
            case ["next_expiry"]:
                expiry = self.exchange.next_expiry
                return ["none" if expiry is None else f"  at {render_time(expiry)}"]
            case ["pass"]:
                return self.apply([])
        return self.apply([parse_command(line) for line in step])

    def apply(self, commands) -> list[str]:
        """The commands as one entry of the log."""
        runs = (Run("script", self.submitted + 1, tuple(commands)),) if commands else ()
        self.submitted += len(commands)
        executions = self.apply_entry(self.exchange.log_index + 1, Entry(self.time, runs))
        self.exchange.check()
        self.check_next_expiry()
        self.executions += executions
        assert [execution.sequence for execution in executions if execution.origin != NO_ORIGIN] == list(
            range(self.submitted - len(commands) + 1, self.submitted + 1)
        )
        for execution in executions:
            refused = any(isinstance(event, Rejection) for event in execution.events)
            assert execution.accepted is not refused
        return [line for execution in executions for line in render_execution(self.exchange, execution)]

    def apply_entry(self, log_index: int, entry: Entry) -> list[Execution]:
        return self.exchange.apply(log_index, entry)

    def check_next_expiry(self):
        live = (OrderStatus.OPEN, OrderStatus.UNTRIGGERED)
        orders = self.exchange.orders(open_only=False)
        expiries = [order.expire_time for order in orders if order.status in live and order.expire_time is not None]
        assert self.exchange.next_expiry == min(expiries, default=None)
