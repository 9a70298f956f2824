"""A gateway's file, which says which shards there are: TOML, as strictly read as a cluster's configuration.

    [gateway]
    name = "two-shards"
    [[shards]]
    name = "shard-1"
    nodes = ["http://127.0.0.1:8101", "http://127.0.0.1:8102"]     # some; the others are learned from them
    symbols = ["ACME"]

The tables [limits] and [security] are as in a cluster's configuration, for the gateway's own clients; it has no keys.

Every fault is a ConfigError of one sentence: which file, which key, what is wrong, and what to write.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from raftbook.engine.types import SYMBOL_PATTERN
from raftbook.errors import ConfigError
from raftbook.node.config import LimitsConfig, SecurityConfig
from raftbook.node.config_checks import check_limits, check_security
from raftbook.node.config_file import read_named, shipped_shard_maps, with_paths_in
from raftbook.node.toml_tables import parse_document, shortened
from raftbook.sharding.shard_map import SHARD_NAME_PATTERN, Shard, ShardMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.node.toml_tables import Table

_Name = Annotated[
    str,
    Meta(
        pattern=rf"^(?:{SHARD_NAME_PATTERN.pattern})\Z",
        description="1 to 24 of a-z 0-9 -, the first a letter or digit",
        examples=["shard-1"],
    ),
]


class _Gateway(Struct, frozen=True, kw_only=True):
    name: _Name


class _Shard(Struct, frozen=True, kw_only=True):
    name: _Name
    nodes: Annotated[
        tuple[Annotated[str, Meta(max_length=256)], ...],
        Meta(min_length=1, description="a list of URLs, one at least", examples=[["http://127.0.0.1:8101"]]),
    ]
    symbols: Annotated[
        tuple[Annotated[str, Meta(pattern=rf"^(?:{SYMBOL_PATTERN.pattern})\Z")], ...],
        Meta(
            min_length=1,
            description="a list of symbols, one at least, each 1 to 24 of A-Z a-z 0-9 . _ -",
            examples=[["ACME"]],
        ),
    ]
    ca_file: Annotated[str | None, Meta(description="a path", examples=["certs/ca.pem"])] = None


class _Tables(Struct):
    gateway: _Gateway
    shards: tuple[_Shard, ...]
    limits: LimitsConfig
    security: SecurityConfig


class GatewayFile(NamedTuple):
    """`limits` and `security` are what a node has of that name, for the gateway's own clients."""

    shard_map: ShardMap
    limits: LimitsConfig
    security: SecurityConfig


def load_gateway_file(path_or_name: str | Path) -> GatewayFile:
    """That file, or the shipped one of that name ("two-shards")."""
    text, folder = read_named(path_or_name, shipped_shard_maps(), kind="shard map")
    return parse_gateway_file(text, file=str(path_or_name), folder=folder)


def parse_gateway_file(text: str, *, file: str, folder: Path = Path()) -> GatewayFile:
    """What `text` (TOML) says; `file` is what error messages call it. Paths in it are relative to `folder`."""
    document = parse_document(text, file=file, environ={}, known_tables=_Tables.__struct_fields__)
    gateway, _ = document.table("gateway", _Gateway)
    limits, limits_table = document.table("limits", LimitsConfig)
    check_limits(limits, limits_table)
    security, security_table = document.table("security", SecurityConfig)
    check_security(security, security_table, node_count=1)
    if security.require_keys:
        raise ConfigError(
            f"{security_table.where('require_keys')}: a gateway has no keys of its own; leave it out, and write "
            "require_client_certificates = true"
        )
    shards = document.list_of_tables("shards", _Shard)
    if not shards:
        raise ConfigError(f"{file}: there are no shards; write [[shards]] with name, nodes and symbols for each")
    names: set[str] = set()
    owners: dict[str, str] = {}
    for shard, table in shards:
        if shard.name in names:
            raise ConfigError(f"{table.where('name')}: {shard.name} is the name of another shard; give it its own")
        names.add(shard.name)
        for url in shard.nodes:
            _check_url(url, shard, table)
        _claim(shard.symbols, shard.name, owners, table.where("symbols"))
        _claim([url.rstrip("/") for url in shard.nodes], shard.name, owners, table.where("nodes"))
    shard_map = ShardMap(gateway.name, [_with_path_in(folder, shard) for shard, _ in shards])
    return GatewayFile(shard_map, limits, with_paths_in(folder, security, security_table))


def _check_url(url: str, shard: _Shard, table: Table) -> None:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not None
    except ValueError:  # Of a port that is none.
        is_url = False
    if not is_url or url.rstrip("/") != f"{parts.scheme}://{parts.netloc}":
        raise ConfigError(
            f"{table.where('nodes')}: {shortened(url)} is no URL of a node; write for instance http://127.0.0.1:8101"
        )
    if parts.scheme == "http" and shard.ca_file is not None:
        raise ConfigError(f"{table.where('nodes')}: {url} does without TLS; write https://, or leave out ca_file")


def _claim(values: Sequence[str], shard: str, owners: dict[str, str], where: str) -> None:
    """Each of `values` is this shard's from now on. ConfigError where it is another's, or named twice."""
    for value in values:
        owner = owners.get(value)
        if owner is not None:
            place = "here twice" if owner == shard else f"in shard {owner} too"
            raise ConfigError(f"{where}: {value} is {place}; name it once")
        owners[value] = shard


def _with_path_in(folder: Path, shard: _Shard) -> Shard:
    ca_file = None if shard.ca_file is None else str(folder / shard.ca_file)
    return Shard(shard.name, shard.nodes, shard.symbols, ca_file)
