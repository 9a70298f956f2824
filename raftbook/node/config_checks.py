"""What has to hold between the keys of a configuration: each check raises ConfigError with the place and the cure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from raftbook.engine.api_keys import fault_of_accounts
from raftbook.engine.instrument import Instrument
from raftbook.engine.limits import instrument_of
from raftbook.engine.types import ALL_ACCOUNTS, MAX_INTEGER, MOST_ACCOUNTS_OF_KEY, SYMBOL_PATTERN, Role
from raftbook.errors import ConfigError
from raftbook.node.config import DECIMAL_PATTERN, Address, decimal_number, parse_address
from raftbook.node.toml_tables import shortened
from raftbook.security.certificates import HOST_NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.node.config import (
        Config,
        InstrumentConfig,
        KeyConfig,
        LimitsConfig,
        NodeConfig,
        RaftConfig,
        SecurityConfig,
    )
    from raftbook.node.toml_tables import Table

TLS_FILE_KEYS: Final = ("ca_file", "certificate_file", "key_file")
_TLS_FILE_EXAMPLES: Final = {
    "ca_file": "certs/ca.pem",
    "certificate_file": "certs/{id}.pem",
    "key_file": "certs/{id}.key",
}

MAX_NODES: Final = 9
"""Each node more is one more disk and link to wait for; nine survive the loss of any four."""


def check_limits(limits: LimitsConfig, table: Table) -> None:
    # A request that could never be taken whole would be told to try again for ever, and one that is larger than what
    # is kept would find its first reports forgotten.
    for smaller, larger in (
        ("max_commands_per_request", "reports_kept"),
        ("max_commands_per_request", "account_max_items"),
        ("account_max_items", "intake_max_items"),
        ("max_body_bytes", "intake_max_bytes"),
        ("max_body_bytes", "max_held_body_bytes_per_address"),
        ("max_held_body_bytes_per_address", "max_held_body_bytes"),
    ):
        value, bound = getattr(limits, smaller), getattr(limits, larger)
        if value > bound:
            raise ConfigError(
                f"{table.where(smaller)}: {value} is more than {larger}, {bound}; lower it, or raise {larger}"
            )


def check_raft(raft: RaftConfig, table: Table) -> None:
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


def check_security(security: SecurityConfig, table: Table, node_count: int) -> None:
    missing = [key for key in TLS_FILE_KEYS if getattr(security, key) is None]
    if missing and (len(missing) < len(TLS_FILE_KEYS) or security.require_client_certificates):
        why = "TLS needs all three files" if len(missing) < len(TLS_FILE_KEYS) else "client certificates are for TLS"
        raise ConfigError(
            f"{table.where(missing[0])}: it is missing, and {why}; make them with `raftbook certs init` and "
            f'`raftbook certs node ID`, and write {missing[0]} = "{_TLS_FILE_EXAMPLES[missing[0]]}"'
        )
    for key in ("certificate_file", "key_file"):
        path = getattr(security, key)
        if path is not None and "{id}" not in path and node_count > 1 and key not in table.variables:
            raise ConfigError(
                f"{table.where(key)}: {shortened(path)} is the same file for all {node_count} nodes; write {{id}} "
                f'where the id of the node belongs: {key} = "{_TLS_FILE_EXAMPLES[key]}"'
            )


def check_nodes(nodes: Sequence[tuple[NodeConfig, Table]], security: SecurityConfig, file: str) -> None:
    if not nodes:
        raise ConfigError(f"{file}: it names no node; add a [[nodes]] table with id, peer_address and api_address")
    if len(nodes) > MAX_NODES:
        raise ConfigError(f"{file}: it names {len(nodes)} nodes; at most {MAX_NODES} are supported, so remove some")
    _check_unique(((node.id, table) for node, table in nodes), "id")
    taken: dict[Address, str] = {}
    for node, table in nodes:
        for key, text in (("peer_address", node.peer_address), ("api_address", node.api_address)):
            address = _checked_address(text, security, table.where(key))
            if address in taken:
                raise ConfigError(f"{table.where(key)}: {text} is also the {taken[address]}; give each its own port")
            taken[address] = f"{key} of node {node.id}"


def _checked_address(text: str, security: SecurityConfig, where: str) -> Address:
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
    if ip is not None and ip.is_loopback:
        return Address(str(ip), address.port)
    if not (security.has_tls and security.require_keys):
        lacking = " and ".join(
            words
            for words, is_there in (
                ("ca_file, certificate_file and key_file (made by `raftbook certs init`)", security.has_tls),
                ("require_keys = true", security.require_keys),
            )
            if not is_there
        )
        raise ConfigError(
            f"{where}: {shortened(address.host)} is no loopback address; listening beyond this machine needs TLS and "
            f'keys: add {lacking} to [security], or write "127.0.0.1:{address.port}"'
        )
    if ip is not None and (ip.is_unspecified or ip.is_multicast):
        raise ConfigError(
            f"{where}: {address.host} is no address of one machine, and others dial it; write the address or the name "
            "under which they reach this machine"
        )
    if ip is None and not HOST_NAME_PATTERN.fullmatch(address.host):
        raise ConfigError(f"{where}: {shortened(address.host)} is no host name; write one such as n1.example.com")
    return Address(str(ip) if ip is not None else address.host.lower(), address.port)


def check_instruments(instruments: Sequence[tuple[InstrumentConfig, Table]]) -> None:
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
            units = decimal_number(text).to_units(decimals) if DECIMAL_PATTERN.fullmatch(text) else None
            if units is None or not 0 < units <= MAX_INTEGER:
                smallest = f"0.{'1':0>{decimals}}" if decimals else "1"
                raise ConfigError(
                    f"{table.where(key)}: {shortened(text)} is no positive number of at most {decimals} decimals "
                    f'within 64 bits; the smallest is {key} = "{smallest}"'
                )
        for key in _DECIMAL_LIMITS:
            limit = getattr(instrument, key)
            if limit is not None and not DECIMAL_PATTERN.fullmatch(limit):
                raise ConfigError(f'{table.where(key)}: {shortened(limit)} is no decimal number; write one such as "5"')
        judged = instrument_of(instrument.to_command())
        if not isinstance(judged, Instrument):
            raise ConfigError(f"{table.file}: {table.header} {judged.detail}; correct it there")
    _check_unique(((instrument.symbol, table) for instrument, table in instruments), "symbol")


def check_keys(keys: Sequence[tuple[KeyConfig, Table]]) -> None:
    for key, table in keys:
        command = key.to_command()
        accounts = command.accounts
        fault = fault_of_accounts(command.role, accounts)
        if fault is None and len(accounts) > MOST_ACCOUNTS_OF_KEY:
            fault = f"{len(accounts)} accounts are more than the {MOST_ACCOUNTS_OF_KEY} that a key may have"
        if fault is None and len(accounts) > 1 and (ALL_ACCOUNTS in accounts or len(set(accounts)) < len(accounts)):
            fault = f'name each account once, or "{ALL_ACCOUNTS}" alone for all'
        if fault is not None:
            raise ConfigError(f'{table.where("accounts")}: {fault}; write such as accounts = ["alice"]')
    _check_unique(((key.id, table) for key, table in keys), "id")
    _check_unique(((key.public_key, table) for key, table in keys), "public_key")


def check_founding_admin(config: Config) -> None:
    """Before a node starts: where keys are required, somebody must have one with which to make the others."""
    if config.security.require_keys and not any(key.role == Role.ADMIN.label for key in config.keys):
        raise ConfigError(
            "[security] require_keys is true and no [[keys]] table has the role admin, so nobody could do anything; "
            "make one with `raftbook account create NAME --role admin --offline`, and put the table that it prints "
            "into the configuration of every node"
        )


_DECIMAL_LIMITS: Final = ("min_quantity", "max_quantity", "min_notional", "price_band", "market_protection")


def _check_unique(values: Iterable[tuple[str, Table]], key: str) -> None:
    seen: set[str] = set()
    for value, table in values:
        if value in seen:
            raise ConfigError(f"{table.where(key)}: {value!r} is there twice; give each its own {key}")
        seen.add(value)
