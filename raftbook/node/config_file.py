"""The file that every node of a cluster reads: TOML, and variables that win over it.

    config = load_config("local-3", os.environ)        # a path, or the name of a configuration that is shipped
    config.node("n1").api_address

The values are checked here, all of them and once. Every fault is a ConfigError of one sentence: which file (or
variable), which key, what is wrong with it, and what to write.

A key of the tables that occur once may also be set as RAFTBOOK_<TABLE>_<KEY>: RAFTBOOK_CLUSTER_DURABILITY,
RAFTBOOK_LIMITS_MAX_BODY_BYTES, RAFTBOOK_RAFT_HEARTBEAT_S.
"""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from raftbook.errors import ConfigError
from raftbook.node.config import (
    ClusterConfig,
    Config,
    InstrumentConfig,
    KeyConfig,
    LimitsConfig,
    NodeConfig,
    RaftConfig,
    SecurityConfig,
)
from raftbook.node.config_checks import (
    TLS_FILE_KEYS,
    check_instruments,
    check_keys,
    check_limits,
    check_nodes,
    check_raft,
    check_security,
)
from raftbook.node.toml_tables import format_value, nearest, parse_document, variable_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from msgspec import Struct

    from raftbook.node.toml_tables import Table

MAX_FILE_BYTES: Final = 1 << 20

_SHIPPED_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_VARIABLE_TABLES: Final[Mapping[str, type[Struct]]] = {
    "cluster": ClusterConfig,
    "limits": LimitsConfig,
    "raft": RaftConfig,
    "security": SecurityConfig,
}


def load_config(path_or_name: str | Path, environ: Mapping[str, str]) -> Config:
    """The configuration in that file, or the shipped one of that name ("local-3"); `environ` is the environment."""
    text, folder = read_named(path_or_name, shipped_configs(), kind="configuration")
    return parse_config(text, file=str(path_or_name), environ=environ, folder=folder)


def read_named(path_or_name: str | Path, shipped: Mapping[str, Traversable], *, kind: str) -> tuple[str, Path]:
    """The text of that file, or of the shipped one of that name; and the folder to which its paths are relative."""
    file = str(path_or_name)
    if Path(path_or_name).is_file() or not _SHIPPED_NAME.fullmatch(file):
        return _read(Path(path_or_name), file), Path(path_or_name).parent
    if file not in shipped:
        raise ConfigError(
            f"no {kind} {file!r}: give the path of a TOML file or the name of a shipped one ({', '.join(shipped)})"
        )
    return _read(shipped[file], file), Path()


def parse_config(text: str, *, file: str, environ: Mapping[str, str], folder: Path = Path()) -> Config:
    """The configuration that `text` (TOML) and `environ` give; `file` is what error messages call the text.

    The paths in it are relative to `folder`.
    """
    document = parse_document(text, file=file, environ=environ, known_tables=Config.__struct_fields__)
    _check_variables(environ)
    cluster, _ = document.table("cluster", ClusterConfig)
    limits, limits_table = document.table("limits", LimitsConfig)
    raft, raft_table = document.table("raft", RaftConfig)
    security, security_table = document.table("security", SecurityConfig)
    nodes = document.list_of_tables("nodes", NodeConfig)
    instruments = document.list_of_tables("instruments", InstrumentConfig)
    keys = document.list_of_tables("keys", KeyConfig)
    check_limits(limits, limits_table)
    check_raft(raft, raft_table)
    check_security(security, security_table, len(nodes))
    check_nodes(nodes, security, file)
    check_instruments(instruments)
    check_keys(keys)
    return Config(
        cluster=cluster,
        nodes=tuple(node for node, _ in nodes),
        instruments=tuple(instrument for instrument, _ in instruments),
        keys=tuple(key for key, _ in keys),
        limits=limits,
        raft=raft,
        security=with_paths_in(folder, security, security_table),
    )


def dumps(config: Config) -> str:
    """`config` as TOML text, every key that has a value written out; parse_config makes an equal one of it."""
    lines: list[str] = []
    for name, value in msgspec.structs.asdict(config).items():
        for table in value if isinstance(value, tuple) else (value,):
            lines.append(f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]")
            keys = msgspec.structs.asdict(table)
            lines += [f"{key} = {format_value(item)}" for key, item in keys.items() if item is not None]
            lines.append("")
    return "\n".join(lines)


def with_paths_in(folder: Path, security: SecurityConfig, table: Table) -> SecurityConfig:
    """`security` with its paths as the process needs them: relative to `folder`, unless variables gave them."""
    given = {key: getattr(security, key) for key in TLS_FILE_KEYS if key not in table.variables}
    return msgspec.structs.replace(
        security, **{key: str(folder / path) for key, path in given.items() if path is not None}
    )


def _read(source: Path | Traversable, file: str) -> str:
    try:
        with source.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise ConfigError(f"{file}: larger than {MAX_FILE_BYTES} bytes; give a raftbook configuration")
        return raw.decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{file}: cannot be read ({reason}); give the path of a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8 text") from error


def shipped_configs() -> dict[str, Traversable]:
    """Name -> file. They lie inside the installed package, and beside it in a source checkout."""
    return _toml_files(_shipped_folder())


def shipped_shard_maps() -> dict[str, Traversable]:
    """Name -> file, as above; raftbook/sharding reads them."""
    return _toml_files(_shipped_folder() / "shards")


def _shipped_folder() -> Traversable:
    package = importlib.resources.files("raftbook")
    folder = package / "cluster_configs"
    return folder if folder.is_dir() else Path(str(package)).parent / "cluster_configs"


def _toml_files(folder: Traversable) -> dict[str, Traversable]:
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def _check_variables(environ: Mapping[str, str]) -> None:
    known = [
        variable_name(table, key) for table, struct in _VARIABLE_TABLES.items() for key in struct.__struct_fields__
    ]
    prefixes = tuple(variable_name(table, "") for table in _VARIABLE_TABLES)
    for variable in sorted(environ):
        if variable.startswith(("RAFTBOOK_NODES_", "RAFTBOOK_INSTRUMENTS_", "RAFTBOOK_KEYS_")):
            raise ConfigError(f"variable {variable}: nodes, instruments and keys are set in the file only; unset it")
        if variable.startswith(prefixes) and variable not in known:
            raise ConfigError(f"variable {variable}: there is no such variable; {nearest(variable, known)}")
