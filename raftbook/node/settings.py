"""What a configuration means for the member that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.codec import encode_command
from raftbook.intake import IntakeLimits
from raftbook.member.member import MemberSettings
from raftbook.replication.raft_node import RaftSettings
from raftbook.replication.sequencer import SequencerLimits

if TYPE_CHECKING:
    from raftbook.node.config import Config

SNAPSHOT_LOG_BYTES: Final = 64 * 1024 * 1024
RETAIN_LOG_BYTES: Final = 32 * 1024 * 1024


def member_settings(config: Config) -> MemberSettings:
    """The member's limits and founding commands."""
    limits, raft = config.limits, config.raft
    return MemberSettings(
        raft=RaftSettings(
            heartbeat_s=raft.heartbeat_s,
            election_timeout_min_s=raft.election_timeout_min_s,
            election_timeout_max_s=raft.election_timeout_max_s,
            fallback_timeout_s=raft.fallback_timeout_s,
            # Not more: an entry goes whole, and a message that holds it must stay below the transport's bound.
            append_limit_bytes=max(1024 * 1024, limits.max_entry_bytes),
        ),
        intake=IntakeLimits(
            max_items=limits.intake_max_items,
            max_bytes=limits.intake_max_bytes,
            account_max_items=limits.account_max_items,
            peer_max_items=limits.intake_max_items * len(config.nodes),
            peer_max_bytes=limits.intake_max_bytes * len(config.nodes),
        ),
        sequencer=SequencerLimits(max_in_flight=limits.max_in_flight_entries, max_entry_bytes=limits.max_entry_bytes),
        founding_commands=(
            *(encode_command(instrument.to_command()) for instrument in config.instruments),
            *(encode_command(key.to_command()) for key in config.keys),
        ),
        snapshot_entries=limits.snapshot_entries,
        snapshot_log_bytes=SNAPSHOT_LOG_BYTES + RETAIN_LOG_BYTES,
        retain_entries=limits.log_retain_entries,
        retain_log_bytes=RETAIN_LOG_BYTES,
        storage_margin_bytes=limits.storage_reserve_bytes,
    )
