"""Why a node could not be talked to, in a few words that say what to change where something can be. Pure."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TLS_WORDS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": "it speaks plain HTTP; write http:// instead of https://",
    "RECORD_LAYER_FAILURE": "it speaks plain HTTP; write http:// instead of https://",
    "HTTP_REQUEST": "it speaks plain HTTP; write http:// instead of https://",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate; name yours with --cert-file and --cert-key-file",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the certificate shown; use one that the cluster's CA has signed",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refused the certificate shown; use one that the cluster's CA has signed",
}
_LEFT_WITHOUT_A_WORD: Final = "it closed the connection without an answer; if it speaks TLS, write https://"


def reason_of(error: BaseException) -> str:
    """From whatever a library raised, by what lies behind it."""
    for cause in _causes(error):
        words = _words(cause)
        if words is not None:
            return words
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """From the innermost to the error itself: what began it says most."""
    chain = [error]
    while (behind := chain[-1].__cause__ or chain[-1].__context__) is not None and behind not in chain:
        chain.append(behind)
    return reversed(chain)


def _words(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        what = error.verify_message or str(error)
        return f"its certificate is not trusted ({what}); name the cluster's CA certificate with --ca-file"
    if isinstance(error, ssl.SSLError):
        return _TLS_WORDS.get(error.reason or "", f"TLS failed ({error.reason or error})")
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError) or type(error).__name__ == "RemoteProtocolError":
        return _LEFT_WITHOUT_A_WORD
    if isinstance(error, socket.gaierror):
        return f"no such host: {error.strerror}"
    if isinstance(error, TimeoutError) or type(error).__name__.endswith("Timeout"):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return None
