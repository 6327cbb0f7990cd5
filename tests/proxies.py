"""A proxy in front of a Postgres server that loses what a test tells it to lose: questions or answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from tests.postgres import server_url


class Proxy:
    """Passes everything on, until `lose` says otherwise."""

    def __init__(self, url: str = "") -> None:
        given = conninfo_to_dict(url or server_url())
        host, port = str(given["host"]), int(given.get("port") or 5432)
        is_socket = host.startswith("/")
        self._server = f"{host}/.s.PGSQL.{port}" if is_socket else (host, port)
        self._family = socket.AF_UNIX if is_socket else socket.AF_INET
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.lose: Literal["nothing", "question", "answer"] = "nothing"
        """What is lost next, together with the connection; once."""
        user = quote(str(given.get("user") or ""))
        self.url = f"postgresql://{user}@127.0.0.1:{self._listener.getsockname()[1]}/{given['dbname']}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        for one in self._sockets:
            _end(one)

    def _watch(self, client: socket.socket, data: bytes) -> None:
        """Called with what is about to be passed on to the server."""

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(self._family)
                try:
                    server.connect(self._server)
                except OSError:  # it is away
                    client.close()
                    server.close()
                    continue
                self._sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, "question"), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, "answer"), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, kind: str) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 20):
                if self.lose == kind and (kind == "question" or data[-6:-5] == b"Z"):  # ready for the next: committed
                    self.lose = "nothing"
                    break
                if kind == "question":
                    self._watch(source, data)
                target.sendall(data)
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
