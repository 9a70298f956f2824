"""Commands, entries and snapshots as canonical CBOR (RFC 8949, section 4.2.1), each with a version; bytes of events.

    command   [1, type, field, …]                      a field is an integer, a text, true, false, null, a number,
                                                       or an array of texts
    number    [mantissa, decimals]
    entry     [1, timestamp, [[origin, first_sequence, [h'command', …]], …]]
    snapshot  ["raftbook snapshot", 1, h'BLAKE2b-256 of the payload', h'payload']

A command is encoded once, where it enters, and its bytes are carried untouched through intake, log and peers: an
entry holds them as byte strings. So what the log holds is what the origin wrote, and every node judges the same
bytes. Nothing here trusts them:

- **A command has exactly one form.** `decode_command` encodes what it has read and compares; that alone refuses
  trailing bytes (which `cbor2.loads` passes over), lengths and integers that are not the shortest, `true` for 1, and
  whatever else is equal but not the same. Fields that came later stand at the end of the array, all of them, and only
  where one of them is set: the bytes of every other command are those of older releases.
- **No tag is ever interpreted.** A tag could build dates, fractions, regular expressions or shared references out of
  a few bytes; all of them are refused before cbor2 looks at their content.
- **What a node answers depends on the bytes alone.** `Malformed.detail` ends up in events and so in the digest chain:
  its words are fixed here, and never those of a library whose next release may say it differently.

The encoders of orders and cancels are written by hand, because cbor2 takes about 4 µs for such an array where they
take 1 to 2; tests hold them equal to cbor2's canonical form. Events are only digested (see events.py). The numbers
of the types, and the order of the fields, are part of the stored format: they never change, they only get a new
version.
"""

from __future__ import annotations

from raftbook.codec.commands import COMMAND_VERSION, MAX_COMMAND_BYTES, decode_command, encode_command
from raftbook.codec.entries import (
    ENTRY_VERSION,
    ORIGIN_PATTERN,
    RawRun,
    decode_entry,
    encode_entry,
    split_entry,
)
from raftbook.codec.events import EVENTS_VERSION, encode_events
from raftbook.codec.snapshots import SNAPSHOT_VERSION, decode_snapshot, encode_snapshot

__all__ = [
    "COMMAND_VERSION",
    "ENTRY_VERSION",
    "EVENTS_VERSION",
    "MAX_COMMAND_BYTES",
    "ORIGIN_PATTERN",
    "SNAPSHOT_VERSION",
    "RawRun",
    "decode_command",
    "decode_entry",
    "decode_snapshot",
    "encode_command",
    "encode_entry",
    "encode_events",
    "encode_snapshot",
    "split_entry",
]
