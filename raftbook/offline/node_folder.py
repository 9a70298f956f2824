"""Which folder is a node's: the one that was named, or the only one in it."""

from __future__ import annotations

import os
from pathlib import Path

from raftbook.errors import DataFolderError, StorageError
from raftbook.replication.log_segments import is_segment_name


def find_node_folder(data_dir: Path) -> Path:
    """`data_dir` itself where it holds a log; otherwise the only folder in it that does.

    Raises:
        DataFolderError: there is no such folder, or none that holds a log, or several.
        StorageError: it cannot be read.
    """
    if not data_dir.is_dir():
        raise DataFolderError(f"there is no folder {data_dir}; name a node's own, such as data/n1, with --data-dir")
    try:
        if _holds_a_log(data_dir):
            return data_dir
        held = sorted(Path(entry.path) for entry in os.scandir(data_dir) if entry.is_dir() and _holds_a_log(entry.path))
    except OSError as error:
        raise StorageError(
            f"cannot read {error.filename or data_dir}: {error.strerror}; check who may read it"
        ) from error
    if not held:
        raise DataFolderError(
            f"{data_dir} holds no node's log (files named log-…), nor does a folder in it; name a node's own folder, "
            "such as data/n1, with --data-dir"
        )
    if len(held) > 1:
        names = ", ".join(folder.name for folder in held)
        raise DataFolderError(
            f"{data_dir} holds the folders of several nodes ({names}); name one: --data-dir {held[0]}"
        )
    return held[0]


def _holds_a_log(folder: Path | str) -> bool:
    with os.scandir(folder) as entries:
        return any(is_segment_name(entry.name) for entry in entries)
