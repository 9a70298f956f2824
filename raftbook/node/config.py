"""A cluster's configuration: one TOML file that every node of the cluster reads, and variables that win over it.

    config = load_config("local-3", os.environ)        # a path, or the name of a configuration that is shipped
    config.node("n1").api_address

The values are checked here, all of them and once, so that the rest of the code need not doubt them. Every fault is
a ConfigError of one sentence: which file (or variable), which key, what is wrong with it, and what to write.

A key of the tables that occur once may also be set as RAFTBOOK_<TABLE>_<KEY>: RAFTBOOK_CLUSTER_DURABILITY,
RAFTBOOK_LIMITS_MAX_BODY_BYTES, RAFTBOOK_RAFT_HEARTBEAT_S.
"""

from __future__ import annotations

import importlib.resources
import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from raftbook.engine.commands import AddInstrument
from raftbook.engine.instrument import Instrument
from raftbook.engine.limits import instrument_of
from raftbook.engine.types import MAX_DECIMALS, MAX_INTEGER, SYMBOL_PATTERN, Number, SelfTradePrevention
from raftbook.errors import ConfigError
from raftbook.node.toml_tables import Table, format_value, nearest, parse_document, shortened, variable_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib.resources.abc import Traversable

MAX_FILE_BYTES: Final = 1 << 20
MAX_NODES: Final = 9
"""Each node more is one more disk and link to wait for; nine survive the loss of any four."""

_DECIMAL: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,18}))?", re.ASCII)
_SHIPPED_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)


class Durability(StrEnum):
    """When a node may say that it has an entry."""

    FSYNC = "fsync"
    """When its disk has it: survives power loss."""
    OS = "os"
    """When its operating system has it: survives a killed process, not power loss."""


class Address(NamedTuple):
    host: str
    port: int


class ClusterConfig(Struct, frozen=True, kw_only=True):
    """`data_dir` is relative to the folder in which the node starts; the node `n1` keeps its files in data_dir/n1."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
            description="1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit",
            examples=["local-3"],
        ),
    ]
    data_dir: Annotated[str, Meta(min_length=1, max_length=1024)] = "data"
    durability: Durability = Durability.FSYNC


class NodeConfig(Struct, frozen=True, kw_only=True):
    """Addresses are HOST:PORT; `peer_address` is for the other nodes, `api_address` for clients."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z",
            description="1 to 32 of a-z 0-9 -, the first a letter or digit",
            examples=["n1"],
        ),
    ]
    peer_address: Annotated[str, Meta(examples=["127.0.0.1:7101"])]
    api_address: Annotated[str, Meta(examples=["127.0.0.1:8101"])]

    @property
    def peer(self) -> Address:
        return parse_address(self.peer_address)

    @property
    def api(self) -> Address:
        return parse_address(self.api_address)


_PREVENTIONS: Final[Mapping[str, SelfTradePrevention]] = {mode.label: mode for mode in SelfTradePrevention}


class InstrumentConfig(Struct, frozen=True, kw_only=True):
    """An instrument that the first leader of a new cluster adds through the log; sizes are decimal numbers.

    The limits, all that has a default of None, are what engine/SEMANTICS.md says; `price_band` and `market_protection`
    are percent.
    """

    symbol: Annotated[str, Meta(examples=["ACME"])]
    price_decimals: Annotated[int, Meta(ge=0, le=MAX_DECIMALS, examples=[2])]
    quantity_decimals: Annotated[int, Meta(ge=0, le=MAX_DECIMALS)] = 0
    tick_size: Annotated[str, Meta(examples=["0.01"])]
    lot_size: Annotated[str, Meta(examples=["1"])]
    min_quantity: Annotated[str | None, Meta(description="a decimal number as text", examples=["1"])] = None
    max_quantity: Annotated[str | None, Meta(description="a decimal number as text", examples=["10000"])] = None
    min_notional: Annotated[str | None, Meta(description="a decimal number as text", examples=["10"])] = None
    price_band: Annotated[str | None, Meta(description="percent as text", examples=["5"])] = None
    market_protection: Annotated[str | None, Meta(description="percent as text", examples=["2.5"])] = None
    max_open_orders: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_INTEGER)] | None, Meta(description="a whole number above zero", examples=[200])
    ] = None
    self_trade_prevention: Annotated[
        Annotated[str, Meta(pattern=rf"^(?:{'|'.join(_PREVENTIONS)})\Z")] | None,
        Meta(description=" or ".join(f'"{label}"' for label in _PREVENTIONS), examples=["cancel_oldest"]),
    ] = None

    def to_command(self) -> AddInstrument:
        prevention = self.self_trade_prevention
        return AddInstrument(
            symbol=self.symbol,
            price_decimals=self.price_decimals,
            quantity_decimals=self.quantity_decimals,
            tick_size=_decimal(self.tick_size),
            lot_size=_decimal(self.lot_size),
            min_quantity=_optional_decimal(self.min_quantity),
            max_quantity=_optional_decimal(self.max_quantity),
            min_notional=_optional_decimal(self.min_notional),
            price_band=_optional_decimal(self.price_band),
            market_protection=_optional_decimal(self.market_protection),
            max_open_orders=self.max_open_orders,
            self_trade_prevention=None if prevention is None else _PREVENTIONS[prevention],
        )


class LimitsConfig(Struct, frozen=True, kw_only=True):
    """The bounds of everything that could grow. What happens at each: see the comments."""

    # A request beyond either is refused whole (413, and 400 for too many commands); nothing of it is taken.
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 28)] = 4 << 20
    max_commands_per_request: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000

    # Submissions that the log does not hold yet, on one node. Beyond any of them the answer is `busy` (429).
    intake_max_items: Annotated[int, Meta(ge=1, le=100_000_000)] = 200_000
    intake_max_bytes: Annotated[int, Meta(ge=1024, le=1 << 36)] = 64 << 20
    account_max_items: Annotated[int, Meta(ge=1, le=100_000_000)] = 50_000

    # What the leader packs into one entry, and how many entries may be under way before the next has to wait.
    # An entry goes to the followers in one message, of 8 MiB at the most.
    max_entry_bytes: Annotated[int, Meta(ge=4096, le=4 << 20)] = 256 << 10
    max_in_flight_entries: Annotated[int, Meta(ge=1, le=1024)] = 8

    # Executed submissions that can still be asked for; the oldest is forgotten (`not_held`).
    reports_kept: Annotated[int, Meta(ge=1, le=100_000_000)] = 50_000

    # With less than this free on its file system, a node takes nothing new (`storage_full`, 507); reads go on. Up to
    # 64 MiB of it stand in the file `reserve`, for what must be written all the same.
    storage_reserve_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 256 << 20

    # A snapshot is written every so many entries; then the log keeps this many before it, so that a node which was
    # away for a moment catches up from the log and needs no snapshot.
    snapshot_entries: Annotated[int, Meta(ge=1, le=1 << 40)] = 20_000
    log_retain_entries: Annotated[int, Meta(ge=0, le=1 << 40)] = 10_000


class RaftConfig(Struct, frozen=True, kw_only=True):
    """Times of the election, in seconds.

    A follower that hears nothing from a leader for a time drawn anew from [min, max] stands for election; a leader
    that hears from no majority for `fallback_timeout_s` steps down.
    """

    heartbeat_s: Annotated[float, Meta(ge=0.005, le=10)] = 0.05
    election_timeout_min_s: Annotated[float, Meta(ge=0.02, le=60)] = 0.4
    election_timeout_max_s: Annotated[float, Meta(ge=0.02, le=120)] = 0.8
    fallback_timeout_s: Annotated[float, Meta(ge=0.02, le=300)] = 1.5


class Config(Struct, frozen=True, kw_only=True):
    cluster: ClusterConfig
    nodes: tuple[NodeConfig, ...]
    instruments: tuple[InstrumentConfig, ...] = ()
    limits: LimitsConfig = LimitsConfig()
    raft: RaftConfig = RaftConfig()

    def node(self, node_id: str) -> NodeConfig:
        """The node of that id. ConfigError lists the ids there are."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        known = ", ".join(node.id for node in self.nodes)
        raise ConfigError(f"cluster {self.cluster.name} has no node {shortened(node_id)}; its nodes are {known}")

    def node_folder(self, node_id: str, data_dir: str | Path | None = None) -> Path:
        """Where that node keeps its files; `data_dir`, where given, wins over the configured one."""
        return Path(data_dir if data_dir is not None else self.cluster.data_dir) / self.node(node_id).id


_VARIABLE_TABLES: Final[Mapping[str, type[Struct]]] = {
    "cluster": ClusterConfig,
    "limits": LimitsConfig,
    "raft": RaftConfig,
}


def load_config(path_or_name: str | Path, environ: Mapping[str, str]) -> Config:
    """The configuration in that file, or the shipped one of that name ("local-3"); `environ` is the environment."""
    file = str(path_or_name)
    source: Path | Traversable = Path(path_or_name)
    if not Path(path_or_name).is_file() and _SHIPPED_NAME.fullmatch(file):
        shipped = _shipped_configs()
        if file not in shipped:
            raise ConfigError(
                f"no configuration {file!r}: give the path of a TOML file or the name of a shipped one "
                f"({', '.join(shipped)})"
            )
        source = shipped[file]
    return parse_config(_read(source, file), file=file, environ=environ)


def parse_config(text: str, *, file: str, environ: Mapping[str, str]) -> Config:
    """The configuration that `text` (TOML) and `environ` give; `file` is what error messages call the text."""
    document = parse_document(text, file=file, environ=environ, known_tables=Config.__struct_fields__)
    _check_variables(environ)
    cluster, _ = document.table("cluster", ClusterConfig)
    limits, limits_table = document.table("limits", LimitsConfig)
    raft, raft_table = document.table("raft", RaftConfig)
    nodes = document.list_of_tables("nodes", NodeConfig)
    instruments = document.list_of_tables("instruments", InstrumentConfig)
    _check_limits(limits, limits_table)
    _check_raft(raft, raft_table)
    _check_nodes(nodes, file)
    _check_instruments(instruments)
    return Config(
        cluster=cluster,
        nodes=tuple(node for node, _ in nodes),
        instruments=tuple(instrument for instrument, _ in instruments),
        limits=limits,
        raft=raft,
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


def parse_address(text: str) -> Address:
    """Splits HOST:PORT, where an IPv6 host stands in brackets ("[::1]:7101"). ConfigError if it is none."""
    host, _, port_text = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    port = int(port_text) if re.fullmatch(r"[0-9]{1,5}", port_text, re.ASCII) else 0
    if not host or bracketed != (":" in host) or not 1 <= port <= 65535:
        raise ConfigError(f"{shortened(text)} is no HOST:PORT with a port of 1 to 65535")
    return Address(host, port)


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


def _shipped_configs() -> dict[str, Traversable]:
    """Name -> file. They lie inside the installed package, and beside it in a source checkout."""
    package = importlib.resources.files("raftbook")
    folder = package / "cluster_configs"
    if not folder.is_dir():
        folder = Path(str(package)).parent / "cluster_configs"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}


def _check_variables(environ: Mapping[str, str]) -> None:
    known = [
        variable_name(table, key) for table, struct in _VARIABLE_TABLES.items() for key in struct.__struct_fields__
    ]
    prefixes = tuple(variable_name(table, "") for table in _VARIABLE_TABLES)
    for variable in sorted(environ):
        if variable.startswith(("RAFTBOOK_NODES_", "RAFTBOOK_INSTRUMENTS_")):
            raise ConfigError(f"variable {variable}: nodes and instruments are set in the file only; unset it")
        if variable.startswith(prefixes) and variable not in known:
            raise ConfigError(f"variable {variable}: there is no such variable; {nearest(variable, known)}")


def _check_limits(limits: LimitsConfig, table: Table) -> None:
    # A request that could never be taken whole would be told to try again for ever, and one that is larger than what
    # is kept would find its first reports forgotten.
    for smaller, larger in (
        ("max_commands_per_request", "reports_kept"),
        ("max_commands_per_request", "account_max_items"),
        ("account_max_items", "intake_max_items"),
        ("max_body_bytes", "intake_max_bytes"),
    ):
        value, bound = getattr(limits, smaller), getattr(limits, larger)
        if value > bound:
            raise ConfigError(
                f"{table.where(smaller)}: {value} is more than {larger}, {bound}; lower it, or raise {larger}"
            )


def _check_raft(raft: RaftConfig, table: Table) -> None:
    # Two lost heartbeats must not start an election, and a leader that is alone must not step down before the
    # others have had the time to elect another.
    for key, times, smaller in (
        ("election_timeout_min_s", 3, "heartbeat_s"),
        ("election_timeout_max_s", 1, "election_timeout_min_s"),
        ("fallback_timeout_s", 1, "election_timeout_max_s"),
    ):
        value, bound = getattr(raft, key), times * getattr(raft, smaller)
        if value <= bound:
            words = f"{times} times {smaller}" if times > 1 else smaller
            raise ConfigError(f"{table.where(key)}: {value} is not more than {words}; raise it above {bound:g}")


def _check_nodes(nodes: Sequence[tuple[NodeConfig, Table]], file: str) -> None:
    if not nodes:
        raise ConfigError(f"{file}: it names no node; add a [[nodes]] table with id, peer_address and api_address")
    if len(nodes) > MAX_NODES:
        raise ConfigError(f"{file}: it names {len(nodes)} nodes; at most {MAX_NODES} are supported, so remove some")
    _check_unique(((node.id, table) for node, table in nodes), "id")
    taken: dict[Address, str] = {}
    for node, table in nodes:
        for key, text in (("peer_address", node.peer_address), ("api_address", node.api_address)):
            address = _loopback(text, table.where(key))
            if address in taken:
                raise ConfigError(f"{table.where(key)}: {text} is also the {taken[address]}; give each its own port")
            taken[address] = f"{key} of node {node.id}"


def _loopback(text: str, where: str) -> Address:
    """`text` as an address in a form in which equal ones compare equal."""
    try:
        address = parse_address(text)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}; write for instance "127.0.0.1:7101"') from error
    if address.host == "localhost":
        return Address("127.0.0.1", address.port)
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:
        ip = None
    if ip is None or not ip.is_loopback:
        raise ConfigError(
            f"{where}: {shortened(address.host)} is no loopback address; listening beyond this machine needs TLS and "
            f'keys, which this version does not have, so write "127.0.0.1:{address.port}"'
        )
    return Address(str(ip), address.port)


def _check_instruments(instruments: Sequence[tuple[InstrumentConfig, Table]]) -> None:
    # The engine would reject these as well, but only when the cluster runs and nobody looks.
    for instrument, table in instruments:
        if not SYMBOL_PATTERN.fullmatch(instrument.symbol):
            raise ConfigError(
                f"{table.where('symbol')}: {shortened(instrument.symbol)} is no symbol; "
                "use 1 to 24 of A-Z a-z 0-9 . _ -"
            )
        for key, text, decimals in (
            ("tick_size", instrument.tick_size, instrument.price_decimals),
            ("lot_size", instrument.lot_size, instrument.quantity_decimals),
        ):
            units = _decimal(text).to_units(decimals) if _DECIMAL.fullmatch(text) else None
            if units is None or not 0 < units <= MAX_INTEGER:
                smallest = f"0.{'1':0>{decimals}}" if decimals else "1"
                raise ConfigError(
                    f"{table.where(key)}: {shortened(text)} is no positive number of at most {decimals} decimals "
                    f'within 64 bits; the smallest is {key} = "{smallest}"'
                )
        for key in _DECIMAL_LIMITS:
            limit = getattr(instrument, key)
            if limit is not None and not _DECIMAL.fullmatch(limit):
                raise ConfigError(f'{table.where(key)}: {shortened(limit)} is no decimal number; write one such as "5"')
        judged = instrument_of(instrument.to_command())
        if not isinstance(judged, Instrument):
            raise ConfigError(f"{table.file}: {table.header} {judged.detail}; correct it there")
    _check_unique(((instrument.symbol, table) for instrument, table in instruments), "symbol")


_DECIMAL_LIMITS: Final = ("min_quantity", "max_quantity", "min_notional", "price_band", "market_protection")


def _check_unique(values: Iterable[tuple[str, Table]], key: str) -> None:
    seen: set[str] = set()
    for value, table in values:
        if value in seen:
            raise ConfigError(f"{table.where(key)}: {value!r} is there twice; give each its own {key}")
        seen.add(value)


def _optional_decimal(text: str | None) -> Number | None:
    return None if text is None else _decimal(text)


def _decimal(text: str) -> Number:
    match = _DECIMAL.fullmatch(text)
    assert match is not None, "checked when the configuration was read"
    whole, fraction = match.group(1), match.group(2) or ""
    return Number(int(whole + fraction), len(fraction))
