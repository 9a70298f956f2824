"""Does the simulator see what it is for? Each remedy against a fault is switched off, one at a time, and some seed must
show what it prevents. DESIGN.md beside this file has the table; `raftbook simulate --remedies` makes it anew.

A remedy is switched off by putting the fault in its place, in the very objects that production runs. The rows are
those of the table of PySyncObj's faults in ARCHITECTURE.md's words; "own" marks what raftbook itself must get right.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raftbook.engine import orders
from raftbook.engine.exchange import Exchange
from raftbook.errors import StorageError
from raftbook.member.gossip import Gossip
from raftbook.member.storage_folder import StorageFolder
from raftbook.replication import guard, log_records, raft_node, write_ahead_log
from raftbook.replication.elections import Standing
from raftbook.replication.guard import Mismatch, Verified
from raftbook.replication.journal import Journal
from raftbook.replication.log_records import SegmentReader
from raftbook.replication.messages import AppendReply
from raftbook.replication.outbox import Outbox
from raftbook.replication.raft_core import RaftCore
from raftbook.replication.raft_node import RaftNode
from raftbook.replication.replicator import Replicator
from raftbook.replication.write_ahead_log import SEGMENT_SIZE_BYTES, WriteAheadLog
from raftbook.simulation.life import live
from raftbook.simulation.writers import SimulatedWriters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from raftbook.engine.commands import Command, Entry, NewOrder
    from raftbook.engine.events import Execution, OrderState
    from raftbook.engine.order import Order
    from raftbook.replication.disk import Disk
    from raftbook.replication.log_segments import LogImage
    from raftbook.replication.messages import Message
    from raftbook.replication.write_ahead_log import RecoveredLog

REMEDY_STEPS: Final = 150
MAX_SEEDS: Final = 300
MAX_WORDS: Final = 120


class Remedy(NamedTuple):
    """`owner.attribute` is replaced by `fault`. `source` is what the remedy answers to.

    `besides` is switched off as well: as long as it is on, this one has nothing to do.
    """

    name: str
    source: str
    owner: Any
    attribute: str
    fault: object
    besides: Remedy | None = None


class Finding(NamedTuple):
    """The first seed that shows the fault, and what the simulator said; `seed` None where none of `tried` did."""

    remedy: Remedy
    seed: int | None
    tried: int
    words: str


@contextmanager
def without(remedy: Remedy) -> Iterator[None]:
    """The whole process runs without this remedy."""
    present = vars(remedy.owner)[remedy.attribute]
    with nullcontext() if remedy.besides is None else without(remedy.besides):
        setattr(remedy.owner, remedy.attribute, remedy.fault)
        try:
            yield
        finally:
            setattr(remedy.owner, remedy.attribute, present)


def shows(remedy: Remedy, seed: int, steps: int = REMEDY_STEPS) -> str | None:
    """What breaks in the life of that seed without the remedy; None if nothing does."""
    with without(remedy):
        try:
            live(seed, steps=steps)
        except AssertionError as error:
            return str(error).split("\n", maxsplit=1)[0] or "an assertion of the code itself"
    return None


def find(remedy: Remedy, max_seeds: int = MAX_SEEDS, on_seed: Callable[[int], None] = lambda _seed: None) -> Finding:
    """Try seeds from 1 on."""
    for seed in range(1, max_seeds + 1):
        on_seed(seed)
        words = shows(remedy, seed)
        if words is not None:
            return Finding(remedy, seed, seed, words)
    return Finding(remedy, None, max_seeds, "")


def find_all(processes: int, on_finding: Callable[[Finding], None] = lambda _finding: None) -> list[Finding]:
    """One finding for each of REMEDIES, in their order; `on_finding` is called as they come."""
    # Spawned, so that each process has the remedies that it does not switch off.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_find_numbered, number): number for number in range(len(REMEDIES))}
        findings: dict[int, Finding] = {}
        for future in as_completed(futures):
            number = futures[future]
            seed, tried, words = future.result()
            findings[number] = Finding(REMEDIES[number], seed, tried, words)
            on_finding(findings[number])
    return [findings[number] for number in range(len(REMEDIES))]


def _find_numbered(number: int) -> tuple[int | None, int, str]:
    return find(REMEDIES[number])[1:]


def as_markdown(findings: Sequence[Finding]) -> str:
    """The table of DESIGN.md."""
    lines = ["| without this remedy | against | seed | it shows |", "|---|---|---:|---|"]
    for finding in findings:
        seed = f"none of {finding.tried}" if finding.seed is None else str(finding.seed)
        words = finding.words.replace("|", "\\|")
        words = words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"
        lines.append(f"| {finding.remedy.name} | {finding.remedy.source} | {seed} | {words} |")
    return "\n".join(lines) + "\n"


# What stands in the place of each remedy.

_review = guard.review_append


def _truncating_review(
    log: Journal,
    own_commit_index: int,
    previous: tuple[int, int],
    leader_commit_index: int,
    entries: Sequence[tuple[int, bytes]],
) -> Mismatch | Verified:
    """Hands everything on: the core truncates behind `previous`, conflict or not."""
    review = _review(log, own_commit_index, previous, leader_commit_index, entries)
    if isinstance(review, Mismatch) or previous[0] < log.base_index:
        return review
    fresh = [(command, previous[0] + 1 + offset, term) for offset, (term, command) in enumerate(entries)]
    return Verified(review.verified_index, review.commit_index, previous, fresh)


def _committing_review(
    log: Journal,
    own_commit_index: int,
    previous: tuple[int, int],
    leader_commit_index: int,
    entries: Sequence[tuple[int, bytes]],
) -> Mismatch | Verified:
    """Believes the leader's commit index over entries that nobody compared."""
    review = _review(log, own_commit_index, previous, leader_commit_index, entries)
    if isinstance(review, Mismatch):
        return review
    return review._replace(commit_index=min(leader_commit_index, max(log.last_index, review.verified_index)))


def _boastful_answer(node: RaftNode, peer: str, index: int, next_index: int, *, success: bool) -> None:
    """Acknowledges the whole log."""
    index = max(index, node._journal.last_index) if success else index
    is_voter = node._standing.is_voter
    node._outbox.send(peer, AppendReply(node._core.term, index, next_index, success=success, is_voter=is_voter))


def _send_at_once(outbox: Outbox, peer: str, message: Message) -> None:
    outbox._transport.send(peer, message)


def _match_without_own_disk(replicator: Replicator, peer: str) -> int:
    progress = replicator.progress(peer)
    return progress.match_index if progress.is_voter else 0


_begin_standing = Standing.__init__


def _always_voter(standing: Standing, member_count: int, *, is_voter: bool, is_empty: bool) -> None:  # noqa: ARG001
    _begin_standing(standing, member_count, is_voter=True, is_empty=is_empty)


_begin_journal = Journal.__init__


def _forgetful_journal(journal: Journal, wal: WriteAheadLog, recovered: RecoveredLog) -> None:
    _begin_journal(journal, wal, recovered)
    journal.voted_for = None


class _NoChecksum:
    """In the place of google_crc32c."""

    @staticmethod
    def value(_data: bytes) -> int:
        return 0


def _no_contradiction(_reader: SegmentReader) -> int | None:
    """Everything broken is a torn tail."""
    return None


_sync = WriteAheadLog._sync


def _sync_that_forgives(wal: WriteAheadLog, on_durable: Callable[[], None] = lambda: None) -> None:
    """A failed sync is tried again, and the second time it succeeds."""
    try:
        _sync(wal, on_durable)
    except StorageError:
        with suppress(StorageError):
            _sync(wal, on_durable)


_write_snapshot = SimulatedWriters._write_snapshot


def _compact_first(writers: SimulatedWriters, index: int, term: int, body: bytes) -> None:
    """The log goes before the snapshot that covers it is on disk."""
    writers.compact(writers._member.snapshot_written(index))
    writers._node.later(0.1, lambda: _write_snapshot(writers, index, term, body))


def _campaign_at_once(node: RaftNode) -> None:
    """No pre-vote."""
    if node._standing.is_voter:
        node._ballot.open(node._core.term + 1, node._node_id)
        node._core.campaign()


_begin_core = RaftCore.__init__


def _stubborn_core(core: RaftCore, **arguments: Any) -> None:
    """A leader leads on, whoever answers."""
    _begin_core(core, **{**arguments, "fallback_timeout_s": 1e9})


def _leads_and_means_to_stay(node: RaftNode) -> bool:
    """It proposes at once, not knowing yet what of the entries that it holds has been executed."""
    return node.leads and node._core.noop_index is not None and not node.is_handing_over


_apply = Exchange.apply


def _apply_everything(exchange: Exchange, log_index: int, entry: Entry) -> list[Execution]:
    """Whatever stands in the log is executed, as often as it stands there."""
    before = dict(exchange.watermarks)
    for run in entry.runs:
        exchange.watermarks[run.origin] = run.first_sequence - 1
    executions = _apply(exchange, log_index, entry)
    for origin, sequence in before.items():
        exchange.watermarks[origin] = max(sequence, exchange.watermarks[origin])
    return executions


_new_order = orders.new_order


def _another_order(exchange: Exchange, command: NewOrder, _known: Order) -> OrderState | None:
    """A repeated order is one more order."""
    return _new_order(exchange, command._replace(client_order_id=f"{command.client_order_id}-again"))


def _trusting_rewrite(_disk: Disk, image: LogImage) -> None:
    """What can be read is taken to be on the disk."""
    image.is_vouched_for = True


_open_folder = StorageFolder.__init__


def _repeated_origin(
    folder: StorageFolder,
    disk: Disk,
    cluster: str,
    node_id: str,
    start_ns: int,
    *,
    segment_size_bytes: int = SEGMENT_SIZE_BYTES,
) -> None:
    """Every start of a node numbers its submissions from 1 on, under one name."""
    _open_folder(folder, disk, cluster, node_id, start_ns, segment_size_bytes=segment_size_bytes)
    folder.origin = f"{node_id}.1"


def _never_late(_exchange: Exchange, _command: Command) -> bool:
    return False


def _forgetful_gossip(_gossip: Gossip, _now: float) -> None:
    """What was sent once is not sent again."""


_NO_HASTE: Final = Remedy(
    "a leader proposes when it has applied what it found",
    "own",
    RaftNode,
    "ready_to_propose",
    property(_leads_and_means_to_stay),
)

REMEDIES: Final = (
    Remedy("only a conflict truncates", "row 1", raft_node, "review_append", _truncating_review),
    Remedy("nothing is committed that was not compared", "rows 2, 6", raft_node, "review_append", _committing_review),
    Remedy("no more is acknowledged than was compared", "row 1", RaftNode, "_answer_append", _boastful_answer),
    Remedy("promises wait for the disk", "row 4", Outbox, "send", _send_at_once),
    Remedy("the leader's own disk counts", "row 4", Replicator, "countable_match", _match_without_own_disk),
    Remedy("a vote outlives its process", "row 5", Journal, "__init__", _forgetful_journal),
    Remedy("records carry checksums", "row 7", log_records, "google_crc32c", _NoChecksum),
    Remedy("damage is no torn tail", "row 7", SegmentReader, "contradiction", _no_contradiction),
    Remedy("the log goes behind a durable snapshot only", "row 8", SimulatedWriters, "_write_snapshot", _compact_first),
    Remedy("what nobody vouched for is written anew", "row 4", write_ahead_log, "rewrite_segment", _trusting_rewrite),
    Remedy("a failed sync ends the process", "row 9", WriteAheadLog, "_sync", _sync_that_forgives),
    Remedy("pre-vote", "row 17", RaftNode, "_ask_for_pre_votes", _campaign_at_once),
    Remedy("a cut-off leader steps down", "row 17", RaftCore, "__init__", _stubborn_core),
    Remedy("an empty disk does not vote", "own", Standing, "__init__", _always_voter),
    Remedy("every start has an origin of its own", "own", StorageFolder, "__init__", _repeated_origin),
    _NO_HASTE,
    Remedy("a dot that such a leader repeats is executed once", "own", Exchange, "apply", _apply_everything, _NO_HASTE),
    Remedy("a client order id is one order", "own", orders, "_repeated_order", _another_order),
    Remedy("nothing is executed late", "own", Exchange, "is_late", _never_late),
    Remedy("what is not executed is sent again", "own", Gossip, "review", _forgetful_gossip),
)
