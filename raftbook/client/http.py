"""One request to one node over HTTP, and its answer or what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import httpx
import msgspec

from raftbook.client.nodes import unreachable
from raftbook.client.reasons import reason_of
from raftbook.errors import ProblemError, RaftbookError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from raftbook.client.authentication import Authenticator


class LostAnswerError(RaftbookError):
    """A request was sent, or part of it, and its answer did not come. Not for users: it becomes another error."""

    code = "answer_lost"


class Answer(NamedTuple):
    """A success: its decoded body, and who gave it."""

    url: str
    document: object
    headers: httpx.Headers

    @property
    def log_index(self) -> int:
        return int(self.headers.get("Raftbook-Log-Index", "0"))


class HttpExchange:
    """Kept-alive connections to any number of nodes; close it with `aclose`.

    `tls` is for https URLs; `transport` stands in for the network.
    """

    def __init__(
        self, authenticator: Authenticator, tls: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._authenticator = authenticator
        self._has_tls = tls is not None
        self._http = httpx.AsyncClient(
            verify=False if tls is None else tls,  # Without a context `_send` takes no https URL.
            transport=transport,
            trust_env=False,  # A proxy of the environment has no business between a client and its node.
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def request(
        self,
        url: str,
        method: str,
        path: str,
        parameters: dict[str, str],
        content: bytes | None = None,
        *,
        timeout_s: float,
    ) -> Answer:
        """`timeout_s` bounds every wait for the network, the one for the answer included.

        Raises:
            UnreachableError: nothing was sent.
            LostAnswerError: something may have been.
            ProblemError: the node refused, or what answers is no node.
        """
        headers = {} if content is None else {"Content-Type": "application/json"}
        request = self._http.build_request(
            method, url + path, params=parameters, content=content, headers=headers, timeout=httpx.Timeout(timeout_s)
        )
        target = request.url.raw_path.decode("ascii")
        response = await self._authenticated(url, request, target, content or b"")
        if response.status_code == 401 and self._authenticator.heard(url, response.headers):
            # Another node lives there now; what was signed named the one before.
            response = await self._authenticated(url, request, target, content or b"")
        self._authenticator.heard(url, response.headers)
        return _answer(url, response)

    async def stream_headers(self, url: str, target: str) -> dict[str, str]:
        """Those by which a WebSocket's handshake at the node is authenticated. Raises as `request` does."""
        return await self._authenticator.headers(url, "GET", target, b"", self.ask_who)

    def heard(self, url: str, headers: Mapping[str, str]) -> bool:
        """A node answered by another way; True where it is another node than was known to live there."""
        return self._authenticator.heard(url, headers)

    async def ask_who(self, url: str) -> None:
        """Learns which node answers at `url`."""
        response = await self._send(url, self._http.build_request("GET", url + "/healthz", timeout=httpx.Timeout(3.0)))
        self._authenticator.heard(url, response.headers)

    async def _authenticated(self, url: str, request: httpx.Request, target: str, body: bytes) -> httpx.Response:
        request.headers.update(await self._authenticator.headers(url, request.method, target, body, self.ask_who))
        return await self._send(url, request)

    async def _send(self, url: str, request: httpx.Request) -> httpx.Response:
        assert self._has_tls or request.url.scheme == "http", f"{url} is to be asked without checking who it is"
        try:
            return await self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise unreachable({url: reason_of(error)}) from error
        except httpx.TransportError as error:
            raise LostAnswerError(f"{url} did not answer ({reason_of(error)})") from error


def _answer(url: str, response: httpx.Response) -> Answer:
    """The decoded answer. ProblemError where it is a problem, or nothing that a raftbook node would say."""
    try:
        document = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        document = None
    if response.is_success and isinstance(document, dict | list):
        return Answer(url, document, response.headers)
    raise problem_from(document) or unexpected_answer(url, response.status_code)


def problem_from(document: object) -> ProblemError | None:
    """The error that a problem document tells of; None where it is no such document."""
    if not isinstance(document, dict):
        return None
    code, status = document.get("code"), document.get("status")
    if not isinstance(code, str) or not isinstance(status, int):
        return None
    known = ("type", "title", "status", "detail", "code", "retry_after_s")
    retry_after_s = document.get("retry_after_s")
    return ProblemError(
        status,
        code,
        str(document.get("detail", "")),
        title=str(document.get("title", code)),
        members={name: value for name, value in document.items() if name not in known},
        retry_after_s=float(retry_after_s) if isinstance(retry_after_s, int | float) else None,
    )


def unexpected_answer(url: str, status: int) -> ProblemError:
    return ProblemError(
        status, "unexpected_answer", f"what answers at {url} (status {status}) is no raftbook node; check the URL"
    )
