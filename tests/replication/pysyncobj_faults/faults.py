"""The faults of PySyncObj 0.3.17 that are shown here, each by scenarios of the stock library and by what raftbook does.

Rows are those of the table of faults in the project's design notes. What the table says of the stock library is held
by a test beside each scenario: should a later release mend a fault, that test fails, and raftbook's remedy can be
looked at again.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    row: int
    what: str
    scenarios: tuple[str, ...]
    """Of stock PySyncObj, as module.function of this folder."""
    raftbook: tuple[str, ...]
    """Tests, as pytest names them, from the folder of all tests."""


_HERE = "replication/pysyncobj_faults"
_LOG = "replication/test_write_ahead_log.py"
_RAFT_NODE = "replication/test_raft_node.py"
_TRANSPORT = "replication/test_transport.py"
_CRASHES = "system/test_crashes.py"
_PARTITIONS = "system/test_partitions.py"

FAULTS = (
    Fault(
        1,
        "acknowledgements of a pipeline set the leader back; what it sends again truncates what is committed",
        ("stock_replication.pipelined_acknowledgements", "stock_replication.slow_round_trip"),
        (
            f"{_HERE}/test_replication.py::TestPipelinedAcknowledgements::test_raftbook_keeps_it",
            "replication/test_guard.py::test_the_guard_does_what_raft_says",
            f"{_RAFT_NODE}::TestReplication::test_late_and_repeated_acknowledgements_change_nothing",
        ),
    ),
    Fault(
        2,
        "a message of the snapshot path commits a tail that nobody compared",
        ("stock_replication.snapshot_path",),
        (
            f"{_HERE}/test_replication.py::TestSnapshotPath::test_raftbook_replaces_them",
            f"{_HERE}/test_replication.py::TestSnapshotPath::test_a_heartbeat_without_a_previous_entry_commits_nothing",
        ),
    ),
    Fault(
        3,
        "acknowledgements carry no term",
        ("stock_replication.stale_acknowledgements",),
        (
            f"{_HERE}/test_replication.py::TestStaleAcknowledgements::test_raftbook_does_not",
            "replication/test_frames.py::test_a_frame_of_another_connection_is_refused",
        ),
    ),
    Fault(
        4,
        "nothing is ever synced",
        ("stock_storage.no_sync",),
        (
            f"{_HERE}/test_storage.py::TestNoSync::test_raftbook_has_it_when_all_lose_their_power_at_once",
            f"{_RAFT_NODE}::TestReplication::test_nothing_is_committed_while_the_disks_of_a_majority_stall",
            f"{_RAFT_NODE}::TestReplication::test_nothing_is_committed_while_the_leaders_own_disk_stalls",
            "replication/test_disk.py::test_only_fsync_syncs",
        ),
    ),
    Fault(
        5,
        "a torn file of term and vote is read as term 0, and the node votes twice",
        ("stock_storage.torn_meta_file",),
        (
            f"{_HERE}/test_storage.py::TestTornVote::test_raftbook_remembers_a_vote_that_it_gave",
            f"{_LOG}::test_the_last_segment_cut_anywhere_gives_a_state_that_once_was",
        ),
    ),
    Fault(
        6,
        "the commit index exceeds the log after a loss of power, and a leader commits alone",
        ("stock_replication.commit_index_past_log",),
        (f"{_HERE}/test_replication.py::TestCommitIndexPastTheLog::test_raftbook_commits_nothing_alone",),
    ),
    Fault(
        7,
        "a flipped bit of the journal or of a dump is taken for the truth",
        ("stock_storage.flipped_bit", "stock_storage.altered_dump"),
        (
            f"{_LOG}::test_every_single_flipped_bit_is_found_or_touches_only_the_last_mark",
            "replication/test_snapshot_store.py::test_every_single_flipped_bit_and_every_cut_is_refused",
            "system/test_bad_start.py::test_a_log_with_a_flipped_byte_before_its_end",
        ),
    ),
    Fault(
        7,
        "offsets have 32 bits: behind 4 GiB orders are executed and not kept",
        ("stock_storage.beyond_4_gib",),
        (f"{_LOG}::test_many_segments_are_one_log",),
    ),
    Fault(
        8,
        "compaction rewrites the journal in place; a kill meanwhile loses what was acknowledged",
        ("stock_storage.killed_while_compacting",),
        (
            f"{_HERE}/test_storage.py::TestCompaction::test_raftbook_loses_nothing_wherever_it_is_killed",
            "replication/test_write_ahead_log_crashes.py::test_power_fails_after_every_single_operation",
            "system/test_catch_up.py::test_all_nodes_are_killed_while_they_compact_and_restarted_from_their_snapshots",
        ),
    ),
    Fault(
        9,
        "a full disk is a SIGBUS, or memory ahead of the file",
        ("stock_storage.full_disks_of_followers", "stock_storage.full_disk_of_memory_map"),
        (
            f"{_HERE}/test_storage.py::TestFullDisk::test_raftbook_promises_nothing_that_the_disk_did_not_take",
            "replication/test_disk.py::test_a_full_disk_says_so",
            "node/test_storage.py::TestLogWriter::test_a_disk_that_fails_halts_the_node",
        ),
    ),
    Fault(
        10,
        "a snapshot that does not load is answered with success",
        ("stock_replication.bad_snapshot",),
        (
            f"{_HERE}/test_replication.py::TestBadSnapshot::test_raftbook_gives_it_up_and_changes_nothing",
            "replication/test_snapshot_store.py::test_a_whole_with_another_digest_is_dropped",
        ),
    ),
    Fault(
        11,
        "after an exception a command is executed twice, or for ever",
        ("stock_commands.raising_callback", "stock_commands.raising_command"),
        (
            f"{_HERE}/test_commands.py::TestExceptions::test_raftbook_hands_it_to_whoever_drives_the_node",
            "node/test_runner.py::test_an_exception_in_a_callback_halts_the_node",
        ),
    ),
    Fault(
        12,
        "the answer to a request of an earlier process is taken for that to a new one",
        ("stock_commands.late_reply",),
        (f"{_HERE}/test_commands.py::TestAnswers::test_raftbook_answers_only_what_was_executed",),
    ),
    Fault(
        12,
        "a command is said to have failed, and is executed",
        ("stock_commands.failure_of_what_is_executed",),
        (
            f"{_HERE}/test_commands.py::TestAnswers::test_raftbook_says_what_became_of_it_whoever_leads",
            f"{_CRASHES}::test_an_order_resubmitted_elsewhere_after_its_node_died_gets_the_first_answer",
        ),
    ),
    Fault(
        12,
        "what a snapshot covers is never answered",
        ("stock_commands.callback_lost_over_snapshot",),
        ("node/test_publisher.py::test_a_snapshot_wakes_those_whose_executions_it_covers",),
    ),
    Fault(
        12,
        "a command that could not be sent is forgotten",
        ("stock_commands.failed_send",),
        (
            f"{_HERE}/test_commands.py::TestAnswers::test_raftbook_sends_it_when_the_connection_is_back",
            f"{_PARTITIONS}::test_orders_entered_at_a_follower_that_is_cut_off_are_executed_once_when_it_is_back",
        ),
    ),
    Fault(
        13,
        "bytes of strangers and of every file are unpickled, and so may run anything",
        ("stock_sockets.unpickled",),
        (
            f"{_HERE}/test_sockets.py::TestPickle::test_to_raftbook_a_pickle_in_the_log_is_bytes_like_any_other",
            f"{_HERE}/test_sockets.py::TestPickle::test_an_entry_of_every_kind_that_the_core_knows_is_passed_over_or_handed_on",
            f"{_HERE}/test_sockets.py::TestPickle::test_nothing_of_raftbook_unpickles_or_evaluates",
            f"{_TRANSPORT}::test_what_is_no_hello_is_cut_off_at_once",
            "replication/test_messages.py::test_any_bytes_give_a_message_or_a_protocol_error",
        ),
    ),
    Fault(
        14,
        "a node is who it says it is, and so is an administrator",
        ("stock_sockets.self_declared_peer", "stock_sockets.served_strangers"),
        (
            "replication/test_transport_tls.py::test_a_node_without_its_certificate_is_refused",
            f"{_TRANSPORT}::test_a_hello_that_does_not_fit_is_refused_with_the_reason",
            f"{_TRANSPORT}::test_a_hello_alone_does_not_connect",
        ),
    ),
    Fault(
        15,
        "idle connections never expire",
        ("stock_sockets.idle_connections",),
        (
            f"{_TRANSPORT}::test_a_stranger_that_stays_silent_is_cut_off",
            f"{_TRANSPORT}::test_idle_strangers_do_not_keep_a_peer_out",
        ),
    ),
    Fault(
        15,
        "without a file descriptor left the node stops to listen, for good",
        ("stock_sockets.no_descriptor_left",),
        (
            f"{_HERE}/test_sockets.py::TestConnections::test_raftbook_listens_on",
            "node/test_runner.py::test_a_listener_that_is_out_of_descriptors_does_not",
        ),
    ),
    Fault(
        16,
        "any number of members is added at once, before any of them is committed",
        ("stock_elections.four_adds_at_once",),
        (
            f"{_HERE}/test_elections.py::TestMembers::test_raftbooks_are_those_of_its_configuration_whatever_the_log_says",
        ),
    ),
    Fault(
        17,
        "votes are counted as they come, whoever they are of",
        ("stock_elections.vote_counted_twice",),
        (
            f"{_RAFT_NODE}::TestElections::test_a_vote_counts_once",
            "replication/test_raft_node_snapshots.py::test_a_ballot_counts_each_voter_once_and_only_for_its_term",
        ),
    ),
    Fault(
        17,
        "who comes back with a higher term unseats a leader whose majority was never in doubt",
        ("stock_elections.rejoining_minority",),
        (
            f"{_HERE}/test_elections.py::TestRejoining::test_raftbooks_leads_on",
            "replication/test_leadership.py::TestComingBack::test_one_that_lost_its_connection_to_the_leader_alone_unseats_nobody",
        ),
    ),
    Fault(
        18,
        "a leader that is cut off goes on as one for half a minute, and what is read there is out of date",
        ("stock_elections.two_leaders",),
        (
            f"{_HERE}/test_elections.py::TestTwoLeaders::test_raftbooks_leads_no_longer_than_its_fallback_timeout",
            f"{_PARTITIONS}::test_reads_in_a_minority_are_local_or_refused_and_right_in_the_majority",
        ),
    ),
    Fault(
        19,
        "the last piece of a large entry is marked too early, and the follower fails on a healthy order",
        ("stock_replication.premature_finish",),
        (f"{_HERE}/test_replication.py::TestLargeEntries::test_with_raftbook_it_arrives_whole",),
    ),
    Fault(
        19,
        "for a follower that is far behind every send copies the whole log",
        ("stock_replication.whole_log_in_every_send",),
        (
            f"{_HERE}/test_replication.py::TestFarBehind::test_raftbook_sends_bounded_pieces_within_a_window",
            "replication/test_journal.py::test_a_batch_is_as_long_as_its_limit_allows_and_never_empty",
        ),
    ),
    Fault(
        20,
        "all that is committed is executed in one tick, and heartbeats wait",
        ("stock_commands.long_replay",),
        (f"{_HERE}/test_commands.py::TestLongReplay::test_raftbook_leaves_room_for_heartbeats",),
    ),
    Fault(
        21,
        "the order of sends depends on the hash seed",
        ("stock_replication.order_of_sends",),
        ("simulation/test_lives.py::test_one_seed_is_one_story_under_every_hash_seed",),
    ),
    Fault(
        22,
        "while a dump is being written the leader sends empty messages until its clock stops it",
        ("stock_replication.empty_snapshot_messages",),
        (f"{_HERE}/test_replication.py::TestSnapshotUnderWay::test_raftbook_sends_the_one_before",),
    ),
)
