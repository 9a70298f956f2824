"""A cluster's configuration: what it is made of. config_file.py reads it, and has it checked by config_checks.py.

Every field says its own bounds, and an example where an error message needs one; what has to hold between several of
them stands in config_checks.py. The code that gets a Config need not doubt it.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta, Struct

from raftbook.engine.commands import AddInstrument, CreateKey
from raftbook.engine.types import (
    ALL_ACCOUNTS,
    IDENTIFIER_PATTERN,
    KEY_ID_PATTERN,
    KEY_NAME_PATTERN,
    MAX_DECIMALS,
    MAX_INTEGER,
    PUBLIC_KEY_PATTERN,
    Number,
    Role,
    SelfTradePrevention,
)
from raftbook.errors import ConfigError
from raftbook.node.toml_tables import shortened
from raftbook.security.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

DECIMAL_PATTERN: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,18}))?", re.ASCII)


DEFAULT_KEY_REQUESTS_PER_S: Final = 5_000
DEFAULT_ADDRESS_REQUESTS_PER_S: Final = 10_000


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
            tick_size=decimal_number(self.tick_size),
            lot_size=decimal_number(self.lot_size),
            min_quantity=_optional_number(self.min_quantity),
            max_quantity=_optional_number(self.max_quantity),
            min_notional=_optional_number(self.min_notional),
            price_band=_optional_number(self.price_band),
            market_protection=_optional_number(self.market_protection),
            max_open_orders=self.max_open_orders,
            self_trade_prevention=None if prevention is None else _PREVENTIONS[prevention],
        )


_ROLES: Final[Mapping[str, Role]] = {role.label: role for role in Role}


class KeyConfig(Struct, frozen=True, kw_only=True):
    """An API key that the first leader of a new cluster creates through the log; its secret is its owner's.

    `raftbook account create NAME --role admin --offline` makes one and prints the table. `accounts` is ["*"] for all.
    """

    id: Annotated[
        str,
        Meta(pattern=rf"^{KEY_ID_PATTERN.pattern}\Z", description="8 to 32 of a-z 0-9", examples=["1f0c8a52b7d94e36"]),
    ]
    name: Annotated[
        str,
        Meta(
            pattern=rf"^{KEY_NAME_PATTERN.pattern}\Z",
            description="1 to 64 of A-Z a-z 0-9 . _ : @ -",
            examples=["operator"],
        ),
    ]
    role: Annotated[
        str,
        Meta(
            pattern=rf"^(?:{'|'.join(_ROLES)})\Z",
            description=" or ".join(f'"{label}"' for label in _ROLES),
            examples=["admin"],
        ),
    ]
    accounts: Annotated[
        tuple[Annotated[str, Meta(pattern=rf"^(?:\*|{IDENTIFIER_PATTERN.pattern})\Z")], ...],
        Meta(description='a list of accounts, each 1 to 36 of A-Z a-z 0-9 . _ : -, or ["*"]', examples=[["alice"]]),
    ] = ()
    public_key: Annotated[
        str,
        Meta(
            pattern=rf"^{PUBLIC_KEY_PATTERN.pattern}\Z",
            description="the 43 characters that `raftbook account create --offline` printed",
            examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"],
        ),
    ]

    def to_command(self) -> CreateKey:
        """An admin key that names no accounts is for all."""
        role = _ROLES[self.role]
        accounts = self.accounts or ((ALL_ACCOUNTS,) if role is Role.ADMIN else ())
        return CreateKey(self.id, self.name, role, tuple(sorted(accounts)), self.public_key)


class LimitsConfig(Struct, frozen=True, kw_only=True):
    """The bounds of everything that could grow. What happens at each stands beside it."""

    # A request beyond either is refused whole (413, and 400 for too many commands); nothing of it is taken.
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 28)] = 4 << 20
    max_commands_per_request: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000

    # Bytes that all clients together, and all of one address, may have in a node's memory: of bodies whose request has
    # no answer yet, and of WebSocket messages that are not whole yet. Beyond either a request is refused (`busy`, 429)
    # and its connection closed; a WebSocket is closed (1013).
    max_held_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 36)] = 256 << 20
    max_held_body_bytes_per_address: Annotated[int, Meta(ge=1024, le=1 << 36)] = 128 << 20

    # Requests a second, and a second's worth at once; each command counts as one, also in POST /v1/commands and over
    # WebSocket. Beyond it the answer is `rate_limited` (429). 0 limits nothing; so does a cluster on loopback that does
    # not set them (None), while any other has DEFAULT_KEY_REQUESTS_PER_S and DEFAULT_ADDRESS_REQUESTS_PER_S.
    key_requests_per_s: Annotated[
        Annotated[int, Meta(ge=0, le=10_000_000)] | None, Meta(description="a whole number", examples=[1_000])
    ] = None
    address_requests_per_s: Annotated[
        Annotated[int, Meta(ge=0, le=10_000_000)] | None, Meta(description="a whole number", examples=[1_000])
    ] = None

    # Clients beyond either are turned away (503); as many descriptors as the node needs itself are never theirs. An
    # address is an IPv4 address, or the first 64 bits of an IPv6 one.
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_connections_per_address: Annotated[int, Meta(ge=1, le=1_000_000)] = 2_000

    # A client that takes longer is told so (408) and its connection closed; one whose header is larger gets a 431. A
    # WebSocket is none of these: it answers pings. Clients close idle connections before the node does (httpx: 5 s),
    # so that no request meets a closed end.
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1 << 20)] = 32 << 10
    tls_handshake_timeout_s: Annotated[float, Meta(ge=0.1, le=600)] = 5.0
    header_timeout_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    body_timeout_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    keep_alive_timeout_s: Annotated[float, Meta(ge=0.1, le=3600)] = 75.0
    write_timeout_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0

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

    # The latest events that subscribers can still be told one by one; who has missed more gets a snapshot.
    feed_events_kept: Annotated[int, Meta(ge=1, le=100_000_000)] = 65_536

    # What may wait for a subscriber that does not read. Beyond it the connection is closed (4008), so that it costs
    # nobody else anything; the client resumes from what it has seen.
    subscriber_backlog_bytes: Annotated[int, Meta(ge=4096, le=1 << 30)] = 4 << 20
    # A connection that wants more of either is refused it (`too_many_subscriptions`, `busy`), and goes on.
    max_subscriptions_per_connection: Annotated[int, Meta(ge=1, le=100_000)] = 64
    max_outstanding_per_connection: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000


class RaftConfig(Struct, frozen=True, kw_only=True):
    """Times of the election, in seconds.

    A follower that hears nothing from a leader for a time drawn anew from [min, max] stands for election; a leader
    that hears from no majority for `fallback_timeout_s` steps down.
    """

    heartbeat_s: Annotated[float, Meta(ge=0.005, le=10)] = 0.05
    election_timeout_min_s: Annotated[float, Meta(ge=0.02, le=60)] = 0.4
    election_timeout_max_s: Annotated[float, Meta(ge=0.02, le=120)] = 0.8
    fallback_timeout_s: Annotated[float, Meta(ge=0.02, le=300)] = 1.5


class SecurityConfig(Struct, frozen=True, kw_only=True):
    """TLS, for peers and clients alike, where the three files are given; and whether clients need keys.

    "{id}" in a path stands for the id of the node. Paths are relative to the folder of the configuration's file; of a
    shipped configuration, and in variables, to where the node starts.
    """

    # TLS, with all three: PEM files, as `raftbook certs` makes them. Without, nothing listens beyond this machine.
    ca_file: Annotated[str | None, Meta(description="a path", examples=["certs/ca.pem"])] = None
    certificate_file: Annotated[str | None, Meta(description="a path", examples=["certs/{id}.pem"])] = None
    key_file: Annotated[str | None, Meta(description="a path", examples=["certs/{id}.key"])] = None

    # Clients, too, have to show a certificate that the CA signed, on top of their keys.
    require_client_certificates: bool = False
    require_keys: bool = False

    @property
    def has_tls(self) -> bool:
        return self.ca_file is not None

    def tls_files(self, node_id: str) -> TlsFiles | None:
        """That node's files; None without TLS."""
        if self.ca_file is None or self.certificate_file is None or self.key_file is None:
            return None
        return TlsFiles(
            *(Path(path.replace("{id}", node_id)) for path in (self.ca_file, self.certificate_file, self.key_file))
        )


class Config(Struct, frozen=True, kw_only=True):
    cluster: ClusterConfig
    nodes: tuple[NodeConfig, ...]
    instruments: tuple[InstrumentConfig, ...] = ()
    keys: tuple[KeyConfig, ...] = ()
    limits: LimitsConfig = LimitsConfig()
    raft: RaftConfig = RaftConfig()
    security: SecurityConfig = SecurityConfig()

    def node(self, node_id: str) -> NodeConfig:
        """The node of that id. ConfigError lists the ids there are."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        known = ", ".join(node.id for node in self.nodes)
        raise ConfigError(f"cluster {self.cluster.name} has no node {shortened(node_id)}; its nodes are {known}")

    @property
    def key_requests_per_s(self) -> int:
        """0: without limit."""
        return self._limit(self.limits.key_requests_per_s, DEFAULT_KEY_REQUESTS_PER_S)

    @property
    def address_requests_per_s(self) -> int:
        """0: without limit."""
        return self._limit(self.limits.address_requests_per_s, DEFAULT_ADDRESS_REQUESTS_PER_S)

    def _limit(self, configured: int | None, default: int) -> int:
        if configured is not None:
            return configured
        return 0 if all(is_loopback(node.api.host) for node in self.nodes) else default

    def url(self, node_id: str) -> str:
        """Where clients reach that node."""
        return f"{'https' if self.security.has_tls else 'http'}://{self.node(node_id).api_address}"

    def node_folder(self, node_id: str, data_dir: str | Path | None = None) -> Path:
        """Where that node keeps its files; `data_dir`, where given, wins over the configured one."""
        return Path(data_dir if data_dir is not None else self.cluster.data_dir) / self.node(node_id).id


def is_loopback(host: str) -> bool:
    """Is it this machine alone that reaches `host`? A name is not, but for localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Splits HOST:PORT, where an IPv6 host stands in brackets ("[::1]:7101"). ConfigError if it is none."""
    host, _, port_text = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    port = int(port_text) if re.fullmatch(r"[0-9]{1,5}", port_text, re.ASCII) else 0
    # A zone ("::1%eth0") is another machine's address as soon as it is of another interface.
    if not host or "%" in host or bracketed != (":" in host) or not 1 <= port <= 65535:
        raise ConfigError(f"{shortened(text)} is no HOST:PORT with a port of 1 to 65535")
    return Address(host, port)


def _optional_number(text: str | None) -> Number | None:
    return None if text is None else decimal_number(text)


def decimal_number(text: str) -> Number:
    match = DECIMAL_PATTERN.fullmatch(text)
    assert match is not None, "checked when the configuration was read"
    whole, fraction = match.group(1), match.group(2) or ""
    return Number(int(whole + fraction), len(fraction))
