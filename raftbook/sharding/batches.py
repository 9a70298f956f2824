"""Commands split by shard, and the reports put back where their commands stood.

What a shard executes in which order is as the batch has it; of two shards nobody can say which was first. A report is
the shard's own, with two things added: `shard`, and in front of its `origin` that name, since every cluster has an n1.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from raftbook.errors import InvalidCommandError, OutcomeUnknownError, ProblemError, RaftbookError
from raftbook.gateway.submissions import refused_report
from raftbook.sharding.shard_map import Routed

if TYPE_CHECKING:
    from raftbook.json_format import Json

Element: TypeAlias = Routed | InvalidCommandError | ProblemError
"""A command with its shards found, or why it goes nowhere."""
ShardReport: TypeAlias = Mapping[str, Any]
Outcome: TypeAlias = Sequence[ShardReport] | RaftbookError
"""Of one shard: its reports in order; or why it took nothing, or, as OutcomeUnknownError, what is known of each."""


def split(elements: Sequence[Element]) -> dict[str, list[int]]:
    """Shard -> the positions of its commands, in order. O(elements)."""
    positions: dict[str, list[int]] = {}
    for position, element in enumerate(elements):
        if isinstance(element, Routed):
            for shard in element.shards:
                positions.setdefault(shard, []).append(position)
    return positions


def join(elements: Sequence[Element], outcomes: Mapping[str, Outcome]) -> list[Json]:
    """The reports of all `elements`, in order; `outcomes` has every shard that `split` named.

    A command of a shard that took nothing has a report that says so. Raises:
        OutcomeUnknownError: of some commands nobody can say whether their shard took them; it has what is known.
        RaftbookError: that of a shard which took nothing, where nothing else was to be done.
    """
    positions = split(elements)
    if len(positions) == 1 and sum(map(len, positions.values())) == len(elements):
        (outcome,) = outcomes.values()
        if isinstance(outcome, RaftbookError) and not isinstance(outcome, OutcomeUnknownError):
            raise outcome
    of_element: list[dict[str, Json | None]] = [{} for _ in elements]
    for shard, places in positions.items():
        for place, report in zip(places, _reports(shard, outcomes[shard], len(places)), strict=True):
            of_element[place][shard] = report
    joined = [
        _one_report(element, reports) if isinstance(element, Routed) else refused_report(element)
        for element, reports in zip(elements, of_element, strict=True)
    ]
    unknown = [place for place, report in enumerate(joined) if report is None]
    if unknown:
        raise _outcome_unknown(elements, joined, unknown, outcomes)
    return [report for report in joined if report is not None]


def qualified(shard: str, report: ShardReport) -> Json:
    """A shard's report as the gateway tells it."""
    told = {**report, "shard": shard}
    origin, sequence = report.get("origin"), report.get("origin_sequence")
    if origin is not None:
        told["origin"] = qualified_origin = f"{shard}:{origin}"
        if "next" in report:
            told["next"] = f"/v1/submissions/{qualified_origin}/{sequence}"
    return told


def _reports(shard: str, outcome: Outcome, count: int) -> list[Json | None]:
    """None for what nobody can tell of."""
    if isinstance(outcome, OutcomeUnknownError):
        known = outcome.reports or [None] * count
        return [None if report is None else qualified(shard, report) for report in known]
    if isinstance(outcome, RaftbookError):
        refusal = outcome if isinstance(outcome, ProblemError) else ProblemError(503, outcome.code, str(outcome))
        return [{**refused_report(refusal), "shard": shard} for _ in range(count)]
    return [qualified(shard, report) for report in outcome]


def _one_report(element: Routed, of_shard: Mapping[str, Json | None]) -> Json | None:
    """The report of a command, that of its one shard or of all of them; None where some shard's is unknown."""
    reports = [of_shard[shard] for shard in element.shards]
    told = [report for report in reports if report is not None]
    if len(told) < len(reports):
        return None
    return told[0] if len(told) == 1 else _of_all_shards(told)


def _of_all_shards(reports: Sequence[Json]) -> Json:
    """Accepted where all shards did, rejected where one did not, pending while one is; each shard's stands within.

    It has no place in any one log, so no log index and no origin; `reason`, `detail` and `next` are of the first shard
    that has one.
    """
    statuses = [report["status"] for report in reports]
    status = next((status for status in ("pending", "rejected") if status in statuses), "accepted")
    joined: Json = {
        "status": status,
        "origin": None,
        "origin_sequence": None,
        "log_index": None,
        "order": None,
        "events": [event for report in reports for event in _events(report)],
    }
    for name in ("reason", "detail", "next"):
        value = next((report[name] for report in reports if report.get(name) is not None), None)
        if value is not None:
            joined[name] = value
    return {**joined, "shards": list(reports)}


def _events(report: Json) -> Sequence[object]:
    events = report["events"]
    assert isinstance(events, Sequence)
    return events


def _outcome_unknown(
    elements: Sequence[Element],
    joined: Sequence[Json | None],
    unknown: Sequence[int],
    outcomes: Mapping[str, Outcome],
) -> OutcomeUnknownError:
    causes = [f"{shard}: {outcome}" for shard, outcome in outcomes.items() if isinstance(outcome, OutcomeUnknownError)]
    orders = [element.order for place in unknown if isinstance(element := elements[place], Routed)]
    return OutcomeUnknownError(
        f"{len(unknown)} of {len(elements)} command(s) have no definite answer ({'; '.join(causes)})",
        positions=unknown,
        client_order_ids=[order.client_order_id for order in orders if order is not None],
        reports=joined,
    )
