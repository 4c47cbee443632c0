"""A wire that can fail: passes TCP on, until it is told to keep the answers to itself."""

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Proxy:
    """Listens on a port of 127.0.0.1 and passes on to another. What goes through it may be encrypted: it counts bytes only."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        self._limit: int | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def withhold_answers_after(self, sent_bytes: int) -> None:
        """On each connection, once the client has sent so much, nothing that the server says comes through any more."""
        self._limit = sent_bytes

    def cut(self) -> None:
        """Ends all connections; those to come are passed on whole."""
        self._limit = None
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open += [client, server]
            counted = [0]
            threading.Thread(target=self._there, args=(client, server, counted), daemon=True).start()
            threading.Thread(target=self._back, args=(client, server, counted), daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket, counted: list[int]) -> None:
        with suppress(OSError):
            while piece := client.recv(65536):
                counted[0] += len(piece)
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

    def _back(self, client: socket.socket, server: socket.socket, counted: list[int]) -> None:
        with suppress(OSError):
            while piece := server.recv(65536):
                if self._limit is None or counted[0] < self._limit:
                    client.sendall(piece)
            if self._limit is None:
                client.shutdown(socket.SHUT_WR)
