"""What nodes say to each other, and its one encoding.

A message is a canonical CBOR array: its tag, then the fields in the order of the class. `decode` takes exactly
what `encode` gives and refuses everything else with a ProtocolError: another arity or type, a number out of
range, CBOR tags, indefinite lengths, deep nesting, numbers written longer than need be, and bytes behind the
end. A peer is not trusted to be well-behaved, and its bytes never choose what code runs here.

Raft messages carry their sender's `term` first (Ongaro and Ousterhout, "In Search of an Understandable
Consensus Algorithm", figure 2; the pre-vote is section 9.6 of Ongaro's dissertation, the hand-over section 3.10).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Protocol, get_args

import cbor2
import msgspec
from msgspec import Meta

from raftbook.codec.cbor import load
from raftbook.errors import ProtocolError

PROTOCOL_VERSION: Final = 4
"""Raised with every change of a message, of the frame, or of what the entries of a log do.

Nodes of different versions refuse each other: two engines that share a log would come to different states.
"""

Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
NodeId = Annotated[str, Meta(min_length=1, max_length=36, pattern=r"^[A-Za-z0-9._:\-]+\Z")]
ClusterName = Annotated[str, Meta(min_length=1, max_length=64)]
Origin = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:\-]+\Z")]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
HexDigest = Annotated[str, Meta(max_length=64, pattern=r"^([0-9a-f]{64})?\Z")]
Role = Literal["leader", "follower", "candidate", "learner"]


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """The first message of each end of a connection.

    `start` numbers the starts of the sender's process; `fresh` says that its log is empty. `epoch` is the number
    that the sender chose for this connection: every later frame to it must carry that number.
    """

    protocol_version: Natural
    cluster: ClusterName
    node_id: NodeId
    start: Natural
    fresh: bool
    epoch: Positive


class Refusal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """The answer to a Hello that cannot be accepted, so that the log of the refused node says why."""

    reason: Annotated[str, Meta(max_length=500)]


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """`entries` are (term, command); the first has index `previous_index` + 1. Without entries, a heartbeat."""

    term: Natural
    previous_index: Natural
    previous_term: Natural
    commit_index: Natural
    entries: tuple[tuple[Natural, bytes], ...]


class AppendReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """With `success`, the sender's log agrees with the leader's up to `match_index` and is durable that far.

    Without, the append behind `match_index` did not fit, and the leader should go on from `next_index`. What a sender
    that is no voter acknowledges does not count towards a commit (see elections.py).
    """

    term: Natural
    match_index: Natural
    next_index: Natural
    success: bool
    is_voter: bool


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """With `handed_over`, the sender stands at its leader's wish: who hears that leader may vote all the same."""

    term: Natural
    last_index: Natural
    last_term: Natural
    pre_vote: bool
    handed_over: bool


class VoteReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    term: Natural
    granted: bool
    pre_vote: bool


class SnapshotChunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """Bytes `offset` and on of the snapshot at `index`, whose whole has `size_bytes` and `digest`."""

    term: Natural
    index: Natural
    snapshot_term: Natural
    size_bytes: Natural
    digest: Digest
    offset: Natural
    data: bytes


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """The sender holds the first `received_bytes` of the snapshot at `index`."""

    term: Natural
    index: Natural
    received_bytes: Natural


class RawRunMessage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Submissions of one origin with consecutive sequences from `first_sequence`, as encoded where they entered."""

    origin: Origin
    first_sequence: Positive
    raw_commands: Annotated[tuple[bytes, ...], Meta(min_length=1)]


class IntakeDelta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    runs: tuple[RawRunMessage, ...]


class NodeReport(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """How the sender stands. `digest` is the hex digest chain at `digest_index`, or empty where it has none.

    With `storage_full`, it has no room for entries.
    """

    term: Natural
    role: Role
    leader: NodeId | None
    commit_index: Natural
    applied_index: Natural
    last_index: Natural
    digest_index: Natural
    digest: HexDigest
    ready: bool
    storage_full: bool


class TermNotice(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """The sender is in `term`: for a peer whose message was of an older one."""

    term: Natural


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """The leader of `term` wishes the receiver, which holds its whole log, to stand for election at once."""

    term: Natural


class CommitNotice(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    """The leader of `term` has committed its log up to `commit_index`.

    Sent at once, so that all nodes apply at the same time. Not answered, and it may get lost: every append says it too.
    """

    term: Natural
    commit_index: Natural


Handshake = Hello | Refusal
Message = (
    AppendEntries
    | AppendReply
    | VoteRequest
    | VoteReply
    | SnapshotChunk
    | SnapshotReply
    | IntakeDelta
    | NodeReport
    | TermNotice
    | TimeoutNow
    | CommitNotice
)


class PeerTransport(Protocol):
    """Carries messages to the other nodes: TcpPeerTransport between processes, another one in the simulator.

    Messages of one connection arrive in order, each at most once; any suffix of them may be lost when the
    connection ends. What arrives is told to callbacks that the implementation gets at construction:
    `on_connected(peer, hello)`, then `on_message(peer, message)`, then `on_disconnected(peer)`. None of them is
    called from within `send` or `send_many`.
    """

    @property
    def connected(self) -> tuple[str, ...]:
        """The peers that can be sent to, sorted."""

    def send(self, peer: str, message: Message) -> bool:
        """Whether `message` was taken; False if `peer` is not connected or reads too slowly. Never blocks."""

    def send_many(self, peers: tuple[str, ...], message: Message) -> tuple[str, ...]:
        """`send` to each of `peers`, encoding once. Returns those for which it was taken."""

    def flush(self) -> None:
        """Let what was sent leave now; else it does at the end of the turn of the loop."""


def encode(message: Message | Handshake) -> bytes:
    """The canonical CBOR of `message`. O(size); 4 µs for a small one, and one copy of the bytes of a large one."""
    return cbor2.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(payload: bytes) -> Message:
    """The message of which `payload` is the encoding. O(size). Raises ProtocolError for anything else."""
    message: Message = _decode(payload, _MESSAGES)
    return message


def decode_handshake(payload: bytes) -> Handshake:
    """As `decode`, for the messages that are allowed before a connection is established."""
    message: Handshake = _decode(payload, _HANDSHAKES)
    return message


_MAX_DEPTH: Final = 4
"""Message, runs, run, raw commands."""


def _by_tag(union: Any) -> dict[int, Any]:
    return {kind.__struct_config__.tag: kind for kind in get_args(union)}


_MESSAGES: Final = _by_tag(Message)
_HANDSHAKES: Final = _by_tag(Handshake)


def _decode(payload: bytes, kinds: dict[int, Any]) -> Any:
    try:
        plain = load(payload, _MAX_DEPTH)
        # Not msgspec's conversion to the union: it puts that together anew each time, which takes 12 of 15 µs.
        kind = kinds.get(plain[0]) if isinstance(plain, list) and plain and type(plain[0]) is int else None
        if kind is None:
            raise ProtocolError(f"{len(payload)} bytes are no message: they do not begin with the tag of one")
        message = msgspec.convert(plain, kind, builtin_types=(bytes,))
    except (cbor2.CBORError, msgspec.ValidationError) as error:
        raise ProtocolError(f"{len(payload)} bytes are no message: {error}") from error
    # One message, one encoding: this finds trailing bytes and numbers written longer than need be.
    if cbor2.dumps(plain) != payload:
        raise ProtocolError(f"{len(payload)} bytes are a {type(message).__name__}, but not in its canonical encoding")
    return message
