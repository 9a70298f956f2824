"""How a command reaches nodes, and as whom: the options that all talking commands share, and the conversation itself.

    @app.command()
    @talking
    def instruments(access: Access = DEFAULT_ACCESS, output: options.Output = None) -> None:
        found = talk(access, lambda client: client.instruments())

`talking` puts --url, --api-key, --ca-file, --cert-file and --cert-key-file in the place of the parameter `access`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import typer

from cli.api_key import api_key_option
from cli.errors import WrongUsageError
from raftbook.errors import CertificateError, ConfigError, InvalidKeyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from raftbook.client import RaftbookClient

Answer = TypeVar("Answer")

DEFAULT_URL: Final = "http://127.0.0.1:8101"
PANEL: Final = "Connection"


class Access(NamedTuple):
    """The addresses of nodes, of which one that answers is used; the key of whoever asks; and whom to trust.

    `ca_file` holds the certificates of those who may vouch for a node. Nodes that want to see one of the client's get
    that in `certificate_file`, whose private key is in `certificate_key_file`.
    """

    urls: tuple[str, ...]
    api_key: str | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None


DEFAULT_ACCESS: Final = Access((DEFAULT_URL,))


def _existing_file(value: str | Path) -> Path:
    path = Path(value)
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}; `raftbook certs` makes certificates")
    return path


def _urls(value: str) -> tuple[str, ...]:
    return tuple(url.strip() for url in value.split(",") if url.strip()) or (value,)


def _file_option(declaration: str, variable: str, explanation: str) -> Any:
    return typer.Option(
        declaration, envvar=variable, parser=_existing_file, metavar="FILE", help=explanation, rich_help_panel=PANEL
    )


_Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="RAFTBOOK_URL",
        metavar="URL",
        help="The node to talk to; or several, separated by commas: one that answers is used.",
        rich_help_panel=PANEL,
    ),
]
_ApiKey = Annotated[
    str | None,
    api_key_option("Who you are, where nodes ask for it: `raftbook account create` makes one.", rich_help_panel=PANEL),
]
_CaFile = Annotated[
    Path | None, _file_option("--ca-file", "RAFTBOOK_CA_FILE", "The cluster's CA certificate, for https addresses.")
]
_CertificateFile = Annotated[
    Path | None, _file_option("--cert-file", "RAFTBOOK_CERT_FILE", "Your certificate, where nodes ask for one.")
]
_CertificateKeyFile = Annotated[
    Path | None, _file_option("--cert-key-file", "RAFTBOOK_CERT_KEY_FILE", "The private key of --cert-file.")
]
CONNECTION_OPTIONS: Final[Mapping[str, tuple[object, object]]] = {
    "url": (_Url, DEFAULT_URL),
    "api_key": (_ApiKey, None),
    "ca_file": (_CaFile, None),
    "certificate_file": (_CertificateFile, None),
    "certificate_key_file": (_CertificateKeyFile, None),
}
"""What stands for `access`: parameter, annotation and default."""


def talking(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options by which nodes are reached; it gets them as one `access`."""
    signature = inspect.signature(function, eval_str=True)
    assert "access" in signature.parameters, "a talking command has a parameter `access`"

    def command(**given: Any) -> None:
        function(access=access_of({name: given.pop(name) for name in CONNECTION_OPTIONS}), **given)

    parameters = [
        replaced.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        for replaced in (_option_parameters() if parameter.name == "access" else [parameter])
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads this one.
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__name__, command.__doc__, command.__module__ = function.__name__, function.__doc__, function.__module__
    return command


def _option_parameters() -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in CONNECTION_OPTIONS.items()
    ]


def access_of(values: Mapping[str, Any]) -> Access:
    """What the options (by parameter name) say; those that are absent, as during completion, by their defaults."""
    return Access(
        _urls(values.get("url") or DEFAULT_URL),
        *(values.get(name) for name in ("api_key", "ca_file", "certificate_file", "certificate_key_file")),
    )


def open_client(access: Access, *, timeout_s: float = 10.0) -> RaftbookClient:
    """A client by these options. Raises WrongUsageError where they are none that any client could use."""
    from raftbook.client import RaftbookClient

    try:
        return RaftbookClient(
            access.urls,
            api_key=access.api_key,
            timeout_s=timeout_s,
            ca_file=access.ca_file,
            certificate_file=access.certificate_file,
            key_file=access.certificate_key_file,
        )
    except (CertificateError, InvalidKeyError) as error:
        raise WrongUsageError(str(error)) from error
    except ConfigError as error:
        raise WrongUsageError(f"--url or RAFTBOOK_URL: {error}") from error


def talk(access: Access, conversation: Callable[[RaftbookClient], Awaitable[Answer]]) -> Answer:
    """Opens a client, lets the coroutine talk, and closes it."""
    import asyncio

    async def run() -> Answer:
        async with open_client(access) as client:
            return await conversation(client)

    return asyncio.run(run())
