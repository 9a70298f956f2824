"""What the leader sends to each follower, and what the answers mean.

Takes the place of PySyncObj's sender, which copies the whole log for a follower that is far behind, goes back over
what was acknowledged, and never limits what is under way. The states are those of etcd's raft (tracker/progress.go):

- *probing*: it is unknown where the follower's log agrees; one append is under way, and repeated without entries
  while no answer comes, so that a slow link is not flooded.
- *replicating*: appends are pipelined, up to `window_bytes` without an acknowledgement.
- *snapshotting*: the follower needs entries that are no longer held; a snapshot is on its way.

A follower that is *paused*, since it has no room for more, gets heartbeats alone, whatever its state.

Invariant of each follower: 0 <= match_index < next_index <= last_index + 1.

An acknowledgement counts towards a commit only as far as the leader's own log is on disk. So leader and followers
write at the same time, and yet what is committed is on the disks of a majority, the leader's among them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raftbook.replication.messages import AppendEntries

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.journal import Journal
    from raftbook.replication.messages import AppendReply


@dataclass(slots=True)
class Progress:
    """What the leader knows of one follower."""

    next_index: int
    match_index: int = 0
    is_voter: bool = False
    """Only the acknowledgements of voters count towards a commit."""
    is_probing: bool = True
    probe_sent_at: float = float("-inf")
    needs_snapshot: bool = False
    unacknowledged: deque[tuple[int, int]] = field(default_factory=deque)
    """(last index, bytes) of each append that is under way, oldest first."""
    in_flight_bytes: int = 0

    def sent(self, last_index: int, size_bytes: int) -> None:
        self.unacknowledged.append((last_index, size_bytes))
        self.in_flight_bytes += size_bytes
        self.next_index = last_index + 1

    def acknowledged(self, match_index: int, base_index: int) -> None:
        """The follower's log agrees up to `match_index`; `base_index` is the last entry that is no longer held."""
        while self.unacknowledged and self.unacknowledged[0][0] <= match_index:
            self.in_flight_bytes -= self.unacknowledged.popleft()[1]
        self.match_index = max(self.match_index, match_index)
        if self.match_index >= self.next_index - 1:
            self.next_index = self.match_index + 1
            self.is_probing = False
            # An empty log agrees up to 0, which leads nowhere.
            self.needs_snapshot = self.match_index < base_index

    def probe_from(self, next_index: int) -> None:
        self.next_index = max(next_index, self.match_index + 1)
        self.is_probing = True
        self.probe_sent_at = float("-inf")
        self.unacknowledged.clear()
        self.in_flight_bytes = 0


class Replicator:
    """The leader's view of its followers, for one term. O(1) a message, apart from the entries it carries."""

    def __init__(
        self,
        journal: Journal,
        send: Callable[[str, AppendEntries], bool],
        *,
        heartbeat_s: float,
        append_limit_bytes: int,
        window_bytes: int,
    ) -> None:
        self._journal = journal
        self._send = send
        self._heartbeat_s = heartbeat_s
        self._append_limit_bytes = append_limit_bytes
        self._window_bytes = window_bytes
        self._progress: dict[str, Progress] = {}
        self._paused: set[str] = set()
        self._term = 0
        self._newest: tuple[tuple[int, int, int], AppendEntries, int] | None = None
        """(index, commit index, last index of the log), the append of that, and the bytes of its commands."""

    def lead(self, term: int, peers: tuple[str, ...], next_index: int) -> None:
        """Begin a term of leadership: nothing is known of anyone."""
        self._term = term
        self._newest = None
        self._progress = {peer: Progress(next_index) for peer in peers}

    @property
    def term(self) -> int:
        """The term for which `lead` was called last."""
        return self._term

    def progress(self, peer: str) -> Progress:
        return self._progress[peer]

    def pause(self, peer: str) -> None:
        """Send no more entries to `peer`, in this term and later ones, until `resume`."""
        self._paused.add(peer)

    def resume(self, peer: str) -> None:
        """The next `replicate` goes on where it was."""
        self._paused.discard(peer)

    def is_paused(self, peer: str) -> bool:
        return peer in self._paused

    def connected(self, peer: str) -> None:
        """A new connection: what was under way on the old one is lost, and the follower may have another disk."""
        progress = self._progress.get(peer)
        if progress is not None:
            self._progress[peer] = Progress(self._journal.last_index + 1)

    def replicate(self, peer: str, commit_index: int, now: float) -> None:
        """Send what the follower lacks, as far as it may and the window allows; at the least, that this node leads."""
        progress = self._progress[peer]
        if progress.next_index <= self._journal.base_index:
            progress.needs_snapshot = True
        if progress.needs_snapshot:
            self._send_heartbeat(peer, 0, commit_index)
        elif progress.is_probing:
            if progress.probe_sent_at == float("-inf"):
                progress.probe_sent_at = now
                if peer in self._paused:
                    self._send_heartbeat(peer, progress.next_index - 1, commit_index)
                else:
                    self._send_from(peer, progress.next_index, commit_index)
            elif now - progress.probe_sent_at >= self._heartbeat_s * 0.9:
                progress.probe_sent_at = now
                self._send_heartbeat(peer, progress.next_index - 1, commit_index)
        else:
            self._stream(peer, progress, commit_index)

    def _stream(self, peer: str, progress: Progress, commit_index: int) -> None:
        sent_any = False
        end_index = 0 if peer in self._paused else self._journal.last_index
        while progress.next_index <= end_index and progress.in_flight_bytes < self._window_bytes:
            sent = self._send_from(peer, progress.next_index, commit_index)
            if sent is None:
                return
            progress.sent(*sent)
            sent_any = True
        if not sent_any:
            has_room = progress.in_flight_bytes < self._window_bytes
            previous = progress.next_index - 1 if has_room else progress.match_index
            self._send_heartbeat(peer, previous, commit_index)

    def _send_heartbeat(self, peer: str, previous_index: int, commit_index: int) -> None:
        """An append without entries. Where the log no longer holds the previous entry, index 0 fits every log."""
        term = self._journal.term_at(previous_index)
        previous = (0, 0) if term is None else (previous_index, term)
        self._send(peer, AppendEntries(self._term, *previous, commit_index, ()))

    def _send_from(self, peer: str, index: int, commit_index: int) -> tuple[int, int] | None:
        """Send one append with entries from `index` on; (last index, bytes) of it, None if it could not be sent."""
        append, size_bytes = self._append_from(index, commit_index)
        if not self._send(peer, append):
            return None
        return index - 1 + len(append.entries), size_bytes

    def _append_from(self, index: int, commit_index: int) -> tuple[AppendEntries, int]:
        """An append and the bytes of its commands.

        All followers that are at the same place, as they nearly always are, get the very same object: it is put
        together once, and encoded once by the transport.
        """
        # A leader's own log only grows.
        place = (index, commit_index, self._journal.last_index)
        if self._newest is None or self._newest[0] != place:
            entries = self._journal.batch_from(index, self._append_limit_bytes)
            previous_term = self._journal.term_at(index - 1)
            assert previous_term is not None
            body = tuple([(entry.term, entry.command) for entry in entries])
            append = AppendEntries(self._term, index - 1, previous_term, commit_index, body)
            self._newest = (place, append, sum([len(entry.command) for entry in entries]))
        return self._newest[1:]

    def answered(self, peer: str, reply: AppendReply) -> bool:
        """Take a follower's answer in; True if there is something to send to it now.

        A refusal carries the index that did not fit in `match_index`. One that does not speak of the append
        that is under way is late: its cause has been dealt with.
        """
        progress = self._progress[peer]
        progress.is_voter = reply.is_voter
        if reply.success:
            if reply.match_index > self._journal.last_index:
                return False
            was_limited = progress.is_probing or progress.in_flight_bytes >= self._window_bytes
            progress.acknowledged(reply.match_index, self._journal.base_index)
            may_go_on = was_limited and not progress.needs_snapshot and peer not in self._paused
            return may_go_on and progress.next_index <= self._journal.last_index
        refused_index = reply.match_index
        if progress.needs_snapshot or refused_index <= progress.match_index:
            return False
        if progress.is_probing and refused_index != progress.next_index - 1:
            return False
        progress.probe_from(min(reply.next_index, refused_index))
        return True

    def countable_match(self, peer: str) -> int:
        """The follower's match as far as it may count towards a commit: no further than the leader's own disk."""
        if not self._progress[peer].is_voter:
            return 0
        return min(self._progress[peer].match_index, self._journal.durable_index)
