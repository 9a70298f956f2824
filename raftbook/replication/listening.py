"""The addresses that a node listens on: bound before it opens its files, so that a taken port changes nothing."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, NamedTuple

from raftbook.errors import AddressInUseError, ConfigError

if TYPE_CHECKING:
    from raftbook.errors import RaftbookError


class ListenAddress(NamedTuple):
    """An address, and how an operator knows it."""

    host: str
    port: int
    callers: str
    configured_as: str
    """Key and node, as in `peer_address of node n1`, or the option."""
    process: str
    """Which process it is of."""

    @classmethod
    def for_peers(cls, node_id: str, address: tuple[str, int]) -> ListenAddress:
        return cls(*address, "peers", f"peer_address of node {node_id}", f"node {node_id}")

    @classmethod
    def for_clients(cls, node_id: str, address: tuple[str, int]) -> ListenAddress:
        return cls(*address, "clients", f"api_address of node {node_id}", f"node {node_id}")

    @classmethod
    def for_gateway(cls, address: tuple[str, int]) -> ListenAddress:
        return cls(*address, "clients", "--listen", "a gateway")

    def bind(self) -> socket.socket:
        """A socket that is bound and does not listen yet, so that nobody gets in before the node is ready.

        Raises AddressInUseError where another process listens, ConfigError where the address is not this machine's.
        """
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # The old connections of a process that has ended do not hold a port, one that listens does.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise self.failure(error) from error
        listener.setblocking(False)
        return listener

    def failure(self, error: OSError) -> RaftbookError:
        """What to tell the operator when binding or listening failed."""
        place = f"cannot listen for {self.callers} on {self.host}:{self.port}"
        if error.errno == errno.EADDRINUSE:
            return AddressInUseError(
                f"{place}: another process does. Stop it (is {self.process} running already?), "
                f"or change {self.configured_as}"
            )
        reason = error.strerror or str(error)
        return ConfigError(f"{place}: {reason}. Set {self.configured_as} to an address of this machine")
