"""PySyncObj's Raft core, and the only file that imports PySyncObj or names its private parts.

What is PySyncObj's: roles, terms, votes, elections, the follower's append and truncation, the commit rule (a
majority's match, and only entries of the current term). What is not, because version 0.3.17 gets it wrong
(each with the reason in ARCHITECTURE.md): its transport, journal, sending of entries, handling of acknowledgements,
snapshots, compaction, command forwarding, callbacks, pickling and threads. Those parts are cut off here, by
overriding the private methods that lead to them; the class `RaftCore` offers what is left under plain names.

The private names hold for one version only: `check_version` refuses any other, and the constructor checks that
every name is there.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import Journal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raftbook.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SUPPORTED_VERSION: Final = "0.3.17"

REGULAR_COMMAND: Final = b"\x00"
"""First byte of a proposed command in the core's log; every other first byte (a leader's no-op) is the core's own."""

_NEVER_S: Final = 1e12
_REVIEWS_A_HEARTBEAT: Final = 10

FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2

_PRIVATE_ATTRIBUTES: Final = (
    "_SyncObj__lastResponseTime",
    "_SyncObj__needLoadDumpFile",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__noopIDx",
    "_SyncObj__raftCommitIndex",
    "_SyncObj__raftCurrentTerm",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftLastApplied",
    "_SyncObj__raftLeader",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__raftState",
)
"""What is read and set of PySyncObj's own; a test holds this list and the next against the rest of the file."""

_PRIVATE_METHODS: Final = (
    "_SyncObj__applyLogEntries",
    "_SyncObj__doApplyCommand",
    "_SyncObj__generateRaftTimeout",
    "_SyncObj__loadDumpFile",
    "_SyncObj__onMessageReceived",
    "_SyncObj__onNodeConnected",
    "_SyncObj__onNodeDisconnected",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__sendNextNodeIdx",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__tryLogCompaction",
    "_applyCommand",
    "_checkCommandsToApply",
)
"""What is called or overridden."""


class CoreJournal(Protocol):
    """What the core asks of its log: a sequence of (command, index, term), never empty, oldest first."""

    def add(self, command: bytes, index: int, term: int) -> None: ...
    def delete_from_offset(self, offset: int) -> None: ...
    def record_vote(self, term: int, voted_for: str | None) -> None: ...
    def __getitem__(self, item: int | slice) -> object: ...
    def __len__(self) -> int: ...
    @property
    def base_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def voted_for(self) -> str | None: ...


class CoreCallbacks(Protocol):
    """What the core needs done by others."""

    def send_vote_request(self, peer: str, message: Mapping[str, object]) -> None: ...
    def send_vote_reply(self, peer: str, message: Mapping[str, object]) -> None: ...
    def replicate(self) -> None: ...
    def apply_committed(self) -> bool:
        """Apply some committed entries; True where the followers should be sent something for it at once."""
        ...


def check_version() -> None:
    """Refuse to run on a PySyncObj whose private names nobody has looked at.

    Raises:
        ConfigError: another version than the supported one is installed.
    """
    installed = version("pysyncobj")
    if installed != SUPPORTED_VERSION:
        message = (
            f"PySyncObj {installed} is installed, but raftbook runs on {SUPPORTED_VERSION} alone: "
            f"pip install pysyncobj=={SUPPORTED_VERSION}"
        )
        raise ConfigError(message)


def use_clock(clock: Callable[[], float]) -> Callable[[], float]:
    """Give PySyncObj another monotonic clock (seconds), for the whole process; returns the one before."""
    before: Callable[[], float] = pysyncobj.syncobj.monotonicTime
    pysyncobj.syncobj.monotonicTime = clock
    return before


class _PeerNode(Node):  # type: ignore[misc]
    """A member whose hash is its number: the core keeps peers in sets, whose order must not depend on the hash seed."""

    def __init__(self, node_id: str, number: int) -> None:
        super().__init__(node_id, number=number)

    def __hash__(self) -> int:
        return int(self.number)


class _JournalAdapter(Journal):  # type: ignore[misc]
    """PySyncObj's names for the journal's methods."""

    def __init__(self, journal: CoreJournal) -> None:
        self._journal = journal

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._journal.add(command, idx, term)

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 (PySyncObj's name)
        self._journal.delete_from_offset(entryFrom)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803 (PySyncObj's name)
        message = f"compaction is the journal's own affair, not the core's (to {entryTo})"
        raise AssertionError(message)

    def clear(self) -> None:
        raise AssertionError("the core does not install snapshots")

    def __getitem__(self, item: int | slice) -> object:
        return self._journal[item]

    def __len__(self) -> int:
        return len(self._journal)

    def _destroy(self) -> None:
        pass

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803 (PySyncObj's name)
        """Raft's commit index need not survive: a leader tells it anew, and a stored one can exceed the log."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802 (PySyncObj's name)
        return self._journal.base_index

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803 (PySyncObj's name)
        self._journal.record_vote(term, votedForNodeId)

    def getCurrentTerm(self) -> int:  # noqa: N802 (PySyncObj's name)
        return self._journal.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 (PySyncObj's name)
        return self._journal.voted_for


def _create_journal(journal_file: object = None) -> Journal:
    """Stand in for `pysyncobj.journal.createJournal`: the configured "file" is the journal itself."""
    assert isinstance(journal_file, _JournalAdapter)
    return journal_file


class _NullPoller:
    """The core's sockets and pipes are not used, so there is nothing to poll."""

    def poll(self, timeout: float) -> None:
        assert timeout == 0.0


def _create_poller(poller_type: str) -> _NullPoller:
    assert poller_type == "auto"
    return _NullPoller()


pysyncobj.syncobj.createJournal = _create_journal
pysyncobj.syncobj.createPoller = _create_poller
pysyncobj.syncobj.PIPE_NOTIFIER_ENABLED = False


class _VoteTransport(Transport):  # type: ignore[misc]
    """Carries votes out of the core. All else that the core would send is raftbook's own affair."""

    def __init__(self, syncobj: _Core, self_node: Node, other_nodes: object) -> None:
        super().__init__(syncobj, self_node, other_nodes)
        self._callbacks = syncobj.callbacks

    ready = True

    def tryGetReady(self) -> None:  # noqa: N802 (PySyncObj's name)
        pass

    def destroy(self) -> None:
        pass

    def send(self, node: Node, message: Mapping[str, object]) -> bool:
        kind = message["type"]
        if kind == "request_vote":
            self._callbacks.send_vote_request(node.id, message)
        elif kind == "response_vote":
            self._callbacks.send_vote_reply(node.id, message)
        else:
            raise AssertionError(f"the core tried to send {kind}, which is cut off")
        return True


class _Core(SyncObj):  # type: ignore[misc]
    """PySyncObj with the parts cut off that raftbook replaces. Name mangling is why these names look as they do."""

    def __init__(
        self, node: _PeerNode, others: Sequence[_PeerNode], conf: SyncObjConf, callbacks: CoreCallbacks
    ) -> None:
        self.callbacks = callbacks
        super().__init__(node, others, conf, nodeClass=_PeerNode, transportClass=_VoteTransport)

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802 (PySyncObj's name)
        """The core never campaigns of its own accord: see `RaftCore.campaign`."""
        return _NEVER_S

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802 (PySyncObj's name)
        return self.callbacks.apply_committed()

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802 (PySyncObj's name)
        self.callbacks.replicate()

    def _SyncObj__sendNextNodeIdx(self, *args: object, **kwargs: object) -> None:  # noqa: N802 (PySyncObj's name)
        """Acknowledgements are the guard's: the core's claim more than was verified, and before it is on disk."""

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802 (PySyncObj's name)
        """Snapshots are raftbook's own."""

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: ARG002, N802, N803 (PySyncObj's)
        raise AssertionError("the core does not install snapshots")

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: ARG002, N802 (PySyncObj's)
        raise AssertionError("commands are applied by apply_committed alone; PySyncObj's way would unpickle them")


class RaftCore:
    """One member's Raft state under plain names. Indexes start at 1; index 0 is the empty log."""

    def __init__(
        self,
        *,
        node_id: str,
        members: Sequence[str],
        journal: CoreJournal,
        callbacks: CoreCallbacks,
        clock: Callable[[], float],
        heartbeat_s: float,
        election_timeout_min_s: float,
        election_timeout_max_s: float,
        fallback_timeout_s: float,
    ) -> None:
        check_version()
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=False,
            appendEntriesPeriod=heartbeat_s,
            raftMinTimeout=election_timeout_min_s,
            raftMaxTimeout=election_timeout_max_s,
            leaderFallbackTimeout=fallback_timeout_s,
            connectionTimeout=max(3.5, election_timeout_max_s),
            journalFile=_JournalAdapter(journal),
            dynamicMembershipChange=False,
            commandsWaitLeader=False,
            logCompactionMinEntries=2**62,
            logCompactionMinTime=_NEVER_S,
        )
        nodes = {member: _PeerNode(member, number) for number, member in enumerate(sorted(members), start=1)}
        self._self_node = nodes.pop(node_id)
        self._nodes = nodes
        self._callbacks = callbacks
        self._commit_is_due = True
        self._review_at = float("-inf")
        """When the core is to look, at the latest, whether a majority still answers."""
        self._core = _Core(self._self_node, list(nodes.values()), conf, callbacks)
        self._check_names()
        self._core._SyncObj__needLoadDumpFile = False
        self._journal = journal

    def _check_names(self) -> None:
        missing = [name for name in _PRIVATE_ATTRIBUTES if name not in vars(self._core)]
        missing += [name for name in _PRIVATE_METHODS if not hasattr(SyncObj, name)]
        if missing:
            message = f"PySyncObj lacks the parts {', '.join(missing)}: reinstall pysyncobj=={SUPPORTED_VERSION}"
            raise ConfigError(message)

    # What the core knows.

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(self._nodes)

    @property
    def role(self) -> int:
        return int(self._core._SyncObj__raftState)

    @property
    def term(self) -> int:
        return int(self._core._SyncObj__raftCurrentTerm)

    @property
    def leader(self) -> str | None:
        node = self._core._SyncObj__raftLeader
        return None if node is None else str(node.id)

    @property
    def commit_index(self) -> int:
        return int(self._core._SyncObj__raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self._core._SyncObj__raftLastApplied)

    @applied_index.setter
    def applied_index(self, index: int) -> None:
        self._core._SyncObj__raftLastApplied = index

    @property
    def noop_index(self) -> int | None:
        """Index of the no-op with which this leader opened its term; None before it first led."""
        index: int | None = self._core._SyncObj__noopIDx
        return index

    def set_match_index(self, peer: str, index: int) -> None:
        self._core._SyncObj__raftMatchIndex[self._nodes[peer]] = index
        if index > self._core._SyncObj__raftCommitIndex:
            self._commit_is_due = True

    def heard_from(self, peer: str) -> None:
        """Note that a voter answered: a leader that a majority stopped answering steps down."""
        self._core._SyncObj__lastResponseTime[self._nodes[peer]] = self._clock()

    def answered_at(self, peer: str) -> float:
        """When `peer` last answered this leader, or when it began to lead, whichever is later."""
        return float(self._core._SyncObj__lastResponseTime[self._nodes[peer]])

    # What is done to the core.

    def tick(self) -> None:
        """Let the core do what is due: commit, apply, send a heartbeat, step down.

        To be called at every step, so the core is bothered only where there can be something for it: a follower has
        nothing but entries to apply, for it campaigns on demand alone; nor has a leader before an acknowledgement that
        may commit something, or the time of a heartbeat.
        """
        core = self._core
        if core._SyncObj__raftState == LEADER:
            now = self._clock()
            if self._commit_is_due or now >= self._review_at or now > core._SyncObj__newAppendEntriesTime:
                # A leader without peers commits by itself.
                self._commit_is_due = not self._nodes
                self._review_at = now + self._heartbeat_s / _REVIEWS_A_HEARTBEAT
                core.doTick(0.0)
                return
        self._callbacks.apply_committed()

    def propose(self, command: bytes) -> int:
        """Append a command to the log and send it; returns its index. The caller knows that this node leads."""
        assert self.role == LEADER
        index = self._journal.last_index + 1
        self._core._applyCommand(REGULAR_COMMAND + command, None)
        # The core takes its queue up for a time only, which a pause of the process can use up before the first command.
        while self._journal.last_index < index:
            self._core._checkCommandsToApply()
        return index

    def connected(self, peer: str) -> None:
        self._core._SyncObj__onNodeConnected(self._nodes[peer])

    def disconnected(self, peer: str) -> None:
        self._core._SyncObj__onNodeDisconnected(self._nodes[peer])

    def heartbeat_sent(self) -> None:
        self._core._SyncObj__newAppendEntriesTime = self._clock() + self._heartbeat_s

    def campaign(self) -> None:
        """Stand for election now: the core raises its term, votes for itself and asks for votes."""
        self._core._SyncObj__raftElectionDeadline = float("-inf")
        self._core.doTick(0.0)
        # Also where the core could not: it must not do so later, when nobody has granted a pre-vote.
        self._core._SyncObj__raftElectionDeadline = self._clock() + _NEVER_S

    def vote_requested(self, peer: str, term: int, last_index: int, last_term: int) -> None:
        message = {"type": "request_vote", "term": term, "last_log_index": last_index, "last_log_term": last_term}
        self._core._SyncObj__onMessageReceived(self._nodes[peer], message)

    def vote_received(self, peer: str, term: int) -> None:
        self._core._SyncObj__onMessageReceived(self._nodes[peer], {"type": "response_vote", "term": term})

    def append(
        self,
        peer: str,
        term: int,
        previous: tuple[int, int],
        commit_index: int,
        entries: Sequence[tuple[bytes, int, int]],
    ) -> None:
        """Follow `peer`, drop what stands after `previous` (index, term), append `entries` (command, index, term)."""
        message = {
            "type": "append_entries",
            "term": term,
            "commit_index": commit_index,
            "prevLogIdx": previous[0],
            "prevLogTerm": previous[1],
            "entries": entries,
        }
        self._core._SyncObj__onMessageReceived(self._nodes[peer], message)

    def adopt_term(self, term: int) -> None:
        """A peer is in a later term: join it as a follower that has not voted."""
        assert term > self.term
        self._core._SyncObj__setCurrentTerm(term, None)
        self._core._SyncObj__setState(FOLLOWER)
        self._core._SyncObj__raftLeader = None

    def follow(self, peer: str, term: int) -> None:
        """A snapshot arrives from the leader of `term`: what an append without entries would say."""
        if term > self.term:
            self.adopt_term(term)
        self._core._SyncObj__setState(FOLLOWER)
        self._core._SyncObj__raftLeader = self._nodes[peer]

    def step_down(self) -> None:
        """Lead no longer: this member could not keep what a leader promises."""
        self._core._SyncObj__setState(FOLLOWER)
        self._core._SyncObj__raftLeader = None

    def forget_leader(self) -> None:
        """The leader has not been heard for long; whoever speaks next is followed."""
        self._core._SyncObj__raftLeader = None

    def vote_for(self, leader: str) -> None:
        """A member that may vote from now on has no vote left in the term of the leader that it joined."""
        self._core._SyncObj__setCurrentTerm(self.term, leader)

    def raise_commit_index(self, index: int) -> None:
        self._core._SyncObj__raftCommitIndex = max(self.commit_index, index)

    def installed(self, index: int) -> None:
        """The state is that of a snapshot at `index`: at the start, or when one came from the leader."""
        self._core._SyncObj__raftCommitIndex = index
        self._core._SyncObj__raftLastApplied = index
