"""Detect that another process of the command has ended, even while this one waits for a GPU.

Every process keeps a TCP connection to rank 0, which carries only one byte, at a normal end. The
operating system closes it when a process ends, for whatever reason. (torchrun ends the processes of
its machine itself; other launchers do not, and a GPU waits half an hour for a lost process.)
"""

import os
import secrets
import selectors
import signal
import socket
import threading
from collections.abc import Callable

import torch.distributed as dist

_BY_ITSELF = 5.0  # seconds that a process has to end by itself, once another has ended
_WHEN_ASKED = 20.0  # further seconds after SIGTERM
_KEY = "lifeline"  # key in the store of the port on which rank 0 listens
_BYE = b"."


class Lifeline:
    """Ends this process soon after another has ended without `leave(all_is_well=True)`."""

    def __init__(self, notes: dist.Store, number: int, host: str, tell: Callable[[], None]) -> None:
        """`notes`: the store that the processes share; `number`: this process's rank; `host`:
        address of rank 0; `tell`: reports the reason before this process is forced to end."""
        self.is_cut = False  # whether this process got SIGTERM because another has ended
        self._tell = tell
        self._leaving = threading.Event()
        self._links: dict[socket.socket, bytes] = {}  # bytes received on each connection
        if number == 0:
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            server = socket.create_server(("", 0), family=family, dualstack_ipv6=dual)
            self._token = secrets.token_hex(16).encode()  # other programs lack it
            notes.set(_KEY, f"{server.getsockname()[1]} {self._token.decode()}")
            self._start(self._watch_all, server)
        else:
            port, token = notes.get(_KEY).decode().split()
            self._token = token.encode()
            try:
                link = socket.create_connection((host, int(port)), timeout=60)
            except OSError:
                return  # the end of others is then noticed only when this process waits for them
            link.settimeout(None)
            _probe(link)
            link.sendall(self._token)
            self._links[link] = b""
            self._start(self._watch_one, link)

    def _start(self, watch: Callable[[socket.socket], None], link: socket.socket) -> None:
        threading.Thread(target=watch, args=(link,), daemon=True).start()

    def leave(self, *, all_is_well: bool = False) -> None:
        """To be called when this process ends by itself. `all_is_well`: it did not fail, so the
        others need not end."""
        self._leaving.set()
        if all_is_well:
            for link in list(self._links):
                try:
                    link.sendall(_BYE)
                    link.shutdown(socket.SHUT_WR)
                except OSError:
                    continue  # the other side has closed it already

    def _watch_all(self, server: socket.socket) -> None:
        """Accept and watch the connections of all other ranks; on rank 0."""
        with server, selectors.DefaultSelector() as ready:
            ready.register(server, selectors.EVENT_READ)
            while self._links or not self._leaving.is_set():
                for key, _ in ready.select():
                    if key.fileobj is server:
                        link, _ = server.accept()
                        _probe(link)
                        self._links[link] = b""
                        ready.register(link, selectors.EVENT_READ)
                        continue
                    link = next(known for known in self._links if known is key.fileobj)
                    if received := _received(link):
                        self._links[link] += received[: len(self._token) + len(_BYE)]
                        continue
                    ready.unregister(link)
                    if self._links.pop(link) == self._token:
                        self._end()
                        return

    def _watch_one(self, link: socket.socket) -> None:
        if not _received(link):
            self._end()

    def _end(self) -> None:
        """End this process, because another has failed: wait, then SIGTERM, then exit."""
        if self._leaving.wait(_BY_ITSELF):
            return
        self.is_cut = True
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._leaving.wait(_WHEN_ASKED):
            self._tell()
            os._exit(1)  # the main thread is in a call that signals do not interrupt


def _probe(link: socket.socket) -> None:
    """Turn on TCP keepalive: a machine that loses power closes no connection. Without an answer for
    30 s the connection is closed."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("KEEPIDLE", 10), ("KEEPINTVL", 5), ("KEEPCNT", 4)):
        link.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)


def _received(link: socket.socket) -> bytes:
    """Bytes received; b"" if the other side has ended."""
    try:
        return link.recv(64)
    except OSError:
        return b""
