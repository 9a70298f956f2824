"""Accepting connections on one listener: for those ports whose owner wants to see every socket before it costs much.

asyncio's own server would run the handshake of TLS with everybody, and tell its owner afterwards.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from structlog import get_logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

_log = get_logger()

_ACCEPTED_AT_ONCE: Final = 64
"""Then the loop turns to what else there is."""
_PAUSE_S: Final = 0.5
"""When the system has no descriptor or memory for another connection, until it is asked again."""


class Acceptor:
    """Hands each connection of `listener`, and the address of its other end, to `take`, which must not raise.

    The socket is the taker's to close.
    """

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket, str], None]) -> None:
        self._listener = listener
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._is_open = False

    def start(self, backlog: int) -> None:
        """Raises OSError where the port cannot be listened on."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._is_open = True
        self._loop.add_reader(self._listener, self._accept)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Listen no more. Those that the system has accepted and this loop has not are taken: they may have sent."""
        if not self._is_open:
            return
        self._stop_accepting()
        self._is_open = False
        for connection, source in self._waiting():
            self._take(connection, source)
        self._listener.close()

    async def wait_closed(self) -> None:
        """For those who take this for an asyncio.Server."""

    def _accept(self) -> None:
        for _, (connection, source) in zip(range(_ACCEPTED_AT_ONCE), self._waiting(), strict=False):
            self._take(connection, source)

    def _waiting(self) -> Iterator[tuple[socket.socket, str]]:
        while True:
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # Its other end is gone already.
            except OSError as error:
                self._pause_after(error)
                return
            connection.setblocking(False)
            yield connection, str(address[0])

    def _pause_after(self, error: OSError) -> None:
        if self._pause is None and self._is_open:
            _log.error("a connection could not be accepted", error=str(error), pause_s=_PAUSE_S)
            self._stop_accepting()
            self._pause = self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _stop_accepting(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None


async def connect_protocol(
    connection: socket.socket,
    new_protocol: Callable[[], asyncio.Protocol],
    *,
    tls: ssl.SSLContext | None,
    handshake_timeout_s: float,
    shutdown_timeout_s: float,
) -> str | None:
    """Gives an accepted connection its protocol, after the handshake of TLS where there is one.

    Who says nothing costs a socket and a timer; what TLS needs for a connection, some 50 KB, it gets when its client
    has begun. Returns what was wrong, in a few words, where it came to nothing; the socket is closed then.
    """
    loop = asyncio.get_running_loop()
    try:
        if tls is None:
            await loop.connect_accepted_socket(new_protocol, connection)
            return None
        async with asyncio.timeout(handshake_timeout_s):
            await _first_byte(connection)
        await loop.connect_accepted_socket(
            new_protocol,
            connection,
            ssl=tls,
            ssl_handshake_timeout=handshake_timeout_s,
            ssl_shutdown_timeout=shutdown_timeout_s,
        )
    except TimeoutError as error:
        connection.close()
        return str(error) or f"it said nothing for {handshake_timeout_s:g} s"
    except OSError as error:  # ssl.SSLError and ConnectionError are among them.
        connection.close()
        return error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error) or type(error).__name__
    return None


async def _first_byte(connection: socket.socket) -> None:
    """Returns when the other end has sent something, or closed."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(connection, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(connection)
