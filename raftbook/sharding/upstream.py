"""One shard as the gateway talks to it: a client of its cluster, and what its failures are to the gateway's clients.

All connections are the client's: a node that dies, leaves or is behind is passed over for another one, and what was on
its way is sent again as raftbook/client/delivery.py says. So whoever talks to the gateway hears of a failover only that
an answer took longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.client import RaftbookClient
from raftbook.errors import OutcomeUnknownError, ProblemError, RaftbookError
from raftbook.gateway.responses import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from raftbook.client import Report
    from raftbook.client.http import Answer
    from raftbook.sharding.shard_map import OrderName, Shard

TIMEOUT_S: Final = 5.0
"""For an answer, on top of what the request asks to wait; and for how long a shard that is busy is asked again."""


class Upstream:
    """`api_key` is the gateway's own, under which it does whatever it is asked; None where no keys are required.

    `transport` is that of RaftbookClient.
    """

    def __init__(
        self, shard: Shard, *, api_key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.name = shard.name
        self.client = RaftbookClient(
            shard.nodes, api_key=api_key, timeout_s=TIMEOUT_S, ca_file=shard.ca_file, transport=transport
        )
        self._told_index = 0

    async def aclose(self) -> None:
        await self.client.aclose()

    def told(self, report: Mapping[str, object]) -> None:
        """A report was passed on: what is read from now on for the gateway's own ends is no older."""
        log_index = report.get("log_index")
        if isinstance(log_index, int):
            self._told_index = max(self._told_index, log_index)

    async def submit(self, documents: Sequence[Mapping[str, object]], *, wait_s: float) -> list[Report]:
        """Reports of all of them, in order; of those that nobody waits for (`wait_s` 0) pending ones.

        Raises as RaftbookClient.submit_many does, the problems as `problem_from` has them.
        """
        try:
            if wait_s == 0:
                return await self.client.submit_once(documents)
            reports = await self.client.submit_many(documents, wait_s=wait_s)
        except OutcomeUnknownError:
            raise
        except RaftbookError as error:
            raise problem_from(self.name, error) from error
        for report in reports:
            self.told(report)
        return reports

    async def read(self, path: str, parameters: Mapping[str, str] | None = None, *, wait_s: float = 0.0) -> Answer:
        """A node's answer to a GET. Raises ProblemError."""
        try:
            return await self.client.get(path, parameters, wait_s=wait_s)
        except RaftbookError as error:
            raise problem_from(self.name, error) from error

    async def has_order(self, order: OrderName) -> bool:
        """Does the account have, or had it lately, an order of that name here? ProblemError: it cannot tell."""
        path = f"/v1/orders/by-client-id/{order.account}/{order.client_order_id}"
        try:
            await self.read(path, {"at_least": str(self._told_index)}, wait_s=TIMEOUT_S)
        except ProblemError as problem:
            if problem.code == "unknown_order":
                return False
            raise
        return True


def problem_from(shard: str, error: RaftbookError) -> ProblemError:
    """What a shard's refusal, or its silence, is to a client of the gateway; `shard` among its members says whose.

    A lost answer is a 504: a 503 says that nothing was taken.
    """
    if isinstance(error, OutcomeUnknownError):
        members = {"positions": error.positions, "client_order_ids": error.client_order_ids, "reports": error.reports}
        return ProblemError(504, error.code, f"{shard}: {error}", members={**members, "shard": shard})
    problem = problem_of(error)
    status, code, detail = problem.status, problem.code, problem.detail
    if status == 401:
        status, code = 503, "gateway_not_let_in"
        detail = f"{shard} does not let the gateway in ({detail}); start it with RAFTBOOK_API_KEY, a key of all shards"
    if code == "unreachable":
        code, detail = "shard_unreachable", f"no node of {shard} answers; try again when it runs ({detail})"
    return ProblemError(
        status, code, detail, members={**problem.members, "shard": shard}, retry_after_s=problem.retry_after_s
    )
