"""What can go wrong for an operator or a client.

    RaftbookError
    ├── ConfigError             a configuration file, key or variable; the message names file, key and fix
    │   └── CertificateError    a certificate or its private key; the message names the command that mends it
    ├── AddressInUseError       another process listens on a configured address
    ├── StorageError            the node's own files
    │   ├── StorageFullError    no room is left, or so little that nothing new is taken
    │   ├── DataFolderError     the folder belongs to another node or cluster, or another process uses it
    │   └── DamagedLogError     bytes that were once durable are wrong; the node must be rebuilt from its peers
    ├── StateDivergedError      this node's state is not the majority's; it must be rebuilt from its peers
    ├── SnapshotError           a snapshot that is truncated, altered, or of another version
    ├── SequenceGapError        market data that does not continue what is there; start again from a snapshot
    ├── ProtocolError           a peer sent what the protocol does not allow; its connection is closed
    ├── BusyError               a bounded queue is full; nothing was taken, try again later
    ├── InvalidCommandError     JSON that is no command; the message names the field and what is expected
    ├── InvalidKeyError         text that is no API key; the message never shows a secret
    ├── NotReadyError           the node has not applied the log far enough in the time given
    ├── NoQuorumError           no majority answers, so nothing can be ordered now
    ├── NotHeldError            the node no longer holds (or never held) what was asked for
    ├── UnreachableError        a client found no node that answers
    ├── OutcomeUnknownError     a request was sent and its answer lost; resubmit with the same client order ids
    └── ProblemError            an answer of the HTTP interface that is no success (RFC 9457)

A business rejection is none of these: it is an event with a reason (engine/events.py). A programmer's mistake
is an assertion, and halts the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class RaftbookError(Exception):
    """Base of every operating failure. `code` is the stable name that HTTP problems and exit messages carry."""

    code = "error"


class ConfigError(RaftbookError):
    code = "config_invalid"


class CertificateError(ConfigError):
    code = "certificate_invalid"


class AddressInUseError(RaftbookError):
    code = "address_in_use"


class StorageError(RaftbookError):
    code = "storage_failed"


class StorageFullError(StorageError):
    """The disk is full, or nearly so. From a disk: nothing was written. From a node: nothing was taken, reads go on.

    `retry_after_s` is a hint for the client: someone has to make room first.
    """

    code = "storage_full"

    def __init__(self, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DataFolderError(StorageError):
    code = "data_folder_mismatch"


class DamagedLogError(StorageError):
    code = "log_damaged"


class StateDivergedError(RaftbookError):
    """The state of this node is not that of the majority, though both come from the same log."""

    code = "state_diverged"


class SnapshotError(RaftbookError):
    code = "snapshot_invalid"


class SequenceGapError(RaftbookError):
    """What came is not what follows what is there: events or updates are missing, or are of another book."""

    code = "sequence_gap"


class ProtocolError(RaftbookError):
    code = "protocol_error"


class BusyError(RaftbookError):
    """`retry_after_s` is a hint for the client."""

    code = "busy"

    def __init__(self, message: str, retry_after_s: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InvalidCommandError(RaftbookError):
    """`field` is the JSON field at fault, or None where the whole is."""

    code = "malformed"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidKeyError(RaftbookError):
    """Text that is no API key."""

    code = "invalid_key"


class NotHeldError(RaftbookError):
    code = "not_held"

    @classmethod
    def of_report(cls, origin: str, sequence: int) -> NotHeldError:
        """Of a submission that has been executed, too long ago or behind a snapshot."""
        return cls(
            f"submission {origin}/{sequence} has been executed, but this node does not hold its report; "
            "ask for the order by its client order id"
        )


class UnreachableError(RaftbookError):
    """`reasons` says of each URL that was tried why nobody answered there."""

    code = "unreachable"

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = {} if reasons is None else dict(reasons)


class OutcomeUnknownError(RaftbookError):
    """Some submissions may have been taken, or not; to submit orders again under the same client order ids is safe.

    `positions` are their places in what the caller handed in, `client_order_ids` the ids to submit again. `reports`,
    where it is not empty, holds what is known of each of the commands: its report, which may be pending, or None.
    """

    code = "outcome_unknown"

    def __init__(
        self,
        message: str,
        positions: Sequence[int] = (),
        client_order_ids: Sequence[str] = (),
        reports: Sequence[Mapping[str, Any] | None] = (),
    ) -> None:
        super().__init__(message)
        self.positions = tuple(positions)
        self.client_order_ids = tuple(client_order_ids)
        self.reports = tuple(reports)


class NotReadyError(RaftbookError):
    """The node has not applied the log far enough in the time given."""

    code = "not_caught_up"


class NoQuorumError(RaftbookError):
    """No majority of the cluster answers, so nothing can be ordered now."""

    code = "no_quorum"


class ProblemError(RaftbookError):
    """An answer of the HTTP interface that is no success: the gateway raises it, the client raises it again.

    `status` is the HTTP status, `code` the stable name to test for, `title` the same in words, `detail` what
    happened and what to do. `members` are the further members of the problem document, such as `field`, `near`
    or `report`; `retry_after_s` is the server's hint when to come again, where it gave one.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        members: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title if title is not None else code.replace("_", " ").capitalize()
        self.detail = detail
        self.members = {} if members is None else dict(members)
        self.retry_after_s = retry_after_s
