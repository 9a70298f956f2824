"""What can go wrong for an operator or a client.

    RaftbookError
    ├── ConfigError             a configuration file, key or variable; the message names file, key and fix
    ├── AddressInUseError       another process listens on a configured address
    ├── StorageError            the node's own files
    │   ├── DataFolderError     the folder belongs to another node or cluster, or another process uses it
    │   └── DamagedLogError     bytes that were once durable are wrong; the node must be rebuilt from its peers
    ├── SnapshotError           a snapshot that is truncated, altered, or of another version
    ├── ProtocolError           a peer sent what the protocol does not allow; its connection is closed
    ├── BusyError               a bounded queue is full; nothing was taken, try again later
    ├── InvalidCommandError     JSON that is no command; the message names the field and what is expected
    ├── NotReadyError           the node has not applied the log far enough in the time given
    ├── NoQuorumError           no majority answers, so nothing can be ordered now
    ├── NotHeldError            the node no longer holds (or never held) what was asked for
    ├── UnreachableError        a client found no node that answers
    └── OutcomeUnknownError     a request was sent and its answer lost; resubmit with the same client order ids

A business rejection is none of these: it is an event with a reason (engine/events.py). A programmer's mistake
is an assertion, and halts the node.
"""

from __future__ import annotations


class RaftbookError(Exception):
    """Base of every operating failure. `code` is the stable name that HTTP problems and exit messages carry."""

    code = "error"


class ConfigError(RaftbookError):
    code = "config_invalid"


class AddressInUseError(RaftbookError):
    code = "address_in_use"


class StorageError(RaftbookError):
    code = "storage_failed"


class DataFolderError(StorageError):
    code = "data_folder_mismatch"


class DamagedLogError(StorageError):
    code = "log_damaged"


class SnapshotError(RaftbookError):
    code = "snapshot_invalid"


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


class NotHeldError(RaftbookError):
    code = "not_held"


class UnreachableError(RaftbookError):
    code = "unreachable"


class OutcomeUnknownError(RaftbookError):
    code = "outcome_unknown"


class NotReadyError(RaftbookError):
    """The node has not applied the log far enough in the time given."""

    code = "not_caught_up"


class NoQuorumError(RaftbookError):
    """No majority of the cluster answers, so nothing can be ordered now."""

    code = "no_quorum"
