"""Give up a node's own files and let it come back from its peers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from raftbook.errors import ConfigError, DataFolderError, StorageError
from raftbook.replication.disk import FileDisk

if TYPE_CHECKING:
    from pathlib import Path

    from raftbook.node.config import Config


def set_aside(config: Config, node_id: str, data_dir: Path | None, now: datetime | None = None) -> Path:
    """Move the node's folder aside, as evidence; returns where it is now. Nothing is deleted but the reserve.

    Started afterwards, the node is a learner: it takes the state from the leader, and votes again when it holds all
    that may have been committed with its forgotten help. With a majority of the other nodes healthy, nothing is lost.

    Raises:
        ConfigError: there are no peers to come back from, or they are no majority without this node.
        DataFolderError: there is no such folder, or the node is running.
        StorageError: the folder cannot be moved.
    """
    folder = config.node_folder(node_id, data_dir)
    if len(config.nodes) == 1:
        raise ConfigError(
            f"{node_id} is the only node of cluster {config.cluster.name}, so nobody can rebuild it; restore "
            f"{folder} from a backup, or move it away to begin anew"
        )
    if len(config.nodes) - 1 <= len(config.nodes) // 2:
        # A learner has no vote, so nobody could be elected, and nothing be committed that makes it a voter again.
        raise ConfigError(
            f"without {node_id} the other node is no majority of cluster {config.cluster.name}, and a node that comes "
            f"back empty has no vote, so neither could go on; restore {folder} from a backup, or move the folders of "
            "both away to begin anew"
        )
    if not folder.is_dir():
        raise DataFolderError(f"there is no folder {folder}; start {node_id}, it takes everything from its peers")
    disk = FileDisk(folder)
    try:
        disk.lock()
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = folder.with_name(f"{folder.name}.set-aside-{stamp}")
        # It is room and nothing else, and the new folder needs it.
        disk.reserve(0)
        folder.rename(aside)
    except OSError as error:
        raise StorageError(f"cannot move {folder} aside: {error.strerror}; check who may write its parent") from error
    finally:
        disk.close()
    return aside
