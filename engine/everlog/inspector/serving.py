"""Serving: the inspector of one database as a server of its own, for one person who has the start token."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Final

import msgspec
import uvicorn

from everlog.core.codec import Codec
from everlog.errors import UsageError
from everlog.host import SystemHost
from everlog.inspector.application import inspector
from everlog.inspector.people import Role, Visitor
from everlog.inspector.settings import LOOPBACK, hosts_of
from everlog.inspector.tickets import StartToken
from everlog.runtime.backends import open_store
from everlog.runtime.client import Client
from everlog.runtime.code_state import Redact

_SHORTEST: Final = 24
"""Characters of a start token that somebody gives."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What is served, where and to whom. `token`: the start token, None has one made."""

    url: str
    host: str = "127.0.0.1"
    port: int = 8700
    remote: bool = False
    """Whether an address is allowed that others can reach."""
    hosts: tuple[str, ...] = ()
    """More names by which it may be reached."""
    person: str = "operator"
    role: Role = "operator"
    read_only: bool = False
    hide_payloads: bool = False
    redact: Redact | None = None
    codec: Codec | None = None
    token: str | None = None


async def serve(wanted: Serving, told: Callable[[str], object]) -> None:
    """Serve until a signal; `told` is given the address with the start token once it can be opened.

    Raises `UsageError` for an address that others can reach, unless that is allowed, and for one that is taken.
    """
    _check(wanted)
    machine = SystemHost()
    token = wanted.token if wanted.token is not None else machine.token()
    auth = StartToken(token, Visitor(wanted.person, wanted.role), machine.wall)
    with _listen(wanted) as listening:
        store = open_store(wanted.url, create=False)
        try:
            async with Client(store, codec=wanted.codec) as client:
                told(f"{_address(listening)}/?token={token}")
                await uvicorn.Server(_config(client, wanted, auth, token)).serve(sockets=[listening])
        finally:
            store.close()


def _config(client: Client, wanted: Serving, auth: StartToken, token: str) -> uvicorn.Config:
    app = inspector(
        client,
        auth=auth,
        hosts=[*LOOPBACK, *wanted.hosts],
        read_only=wanted.read_only,
        hide_payloads=wanted.hide_payloads,
        redact=wanted.redact,
        secret=f"forms of {token}",
    )
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )


def _address(listening: socket.socket) -> str:
    """Give the URL at which it can be opened on this machine."""
    address, port = listening.getsockname()[:2]
    shown = "localhost" if address in ("127.0.0.1", "::1") else f"[{address}]" if ":" in address else address
    return f"http://{shown}:{port}"


def _check(wanted: Serving) -> None:
    hosts_of(wanted.hosts)
    if not _is_loopback(wanted.host) and not wanted.remote:
        raise UsageError(
            f"{wanted.host} can be reached from other machines, and what is sent there can be read on the way: say "
            "--allow-remote if that is meant, and put a server with TLS before it"
        )
    if wanted.token is not None and (len(wanted.token) < _SHORTEST or not wanted.token.isalnum()):
        raise UsageError(f"a start token has at least {_SHORTEST} letters and digits that nobody can guess")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(wanted: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    try:
        return socket.create_server((wanted.host, wanted.port), family=family)
    except OSError as error:
        raise UsageError(
            f"nothing can be served at {wanted.host}:{wanted.port}: {error.strerror}; choose another --port (0: any)"
        ) from error
