"""How a process sees that another of its command has ended, though it computes or waits for a GPU.

Each has a connection to rank 0, which nothing goes through but a word at the end. The system closes
it when a process is gone, whatever ended it. (torchrun ends the processes of its machine itself;
other launchers do not, and a GPU that waits for another process waits for half an hour.)
"""

import os
import secrets
import selectors
import signal
import socket
import threading
from collections.abc import Callable

import torch.distributed as dist

_BY_ITSELF = 5.0  # seconds in which a process may end by itself, once another has ended
_WHEN_ASKED = 20.0  # seconds more once it was asked to
_KEY = "lifeline"  # of the note that says where rank 0 listens
_BYE = b"."


class Lifeline:
    """Ends this process soon after another one has ended without saying that all is well."""

    def __init__(self, notes: dist.Store, number: int, host: str, tell: Callable[[], None]) -> None:
        """`host`: of rank 0; `tell`: says why this process ends, if it has to be made to."""
        self.is_cut = False  # whether this process was asked to end, as another has
        self._tell = tell
        self._leaving = threading.Event()
        self._links: dict[socket.socket, bytes] = {}  # what came through each
        if number == 0:
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            server = socket.create_server(("", 0), family=family, dualstack_ipv6=dual)
            self._token = secrets.token_hex(16).encode()  # strangers have none
            notes.set(_KEY, f"{server.getsockname()[1]} {self._token.decode()}")
            self._start(self._watch_all, server)
        else:
            port, token = notes.get(_KEY).decode().split()
            self._token = token.encode()
            try:
                link = socket.create_connection((host, int(port)), timeout=60)
            except OSError:
                return  # then the others' end is seen where this process waits for them
            link.settimeout(None)
            _probe(link)
            link.sendall(self._token)
            self._links[link] = b""
            self._start(self._watch_one, link)

    def _start(self, watch: Callable[[socket.socket], None], link: socket.socket) -> None:
        threading.Thread(target=watch, args=(link,), daemon=True).start()

    def leave(self, *, all_is_well: bool = False) -> None:
        """This process ends by itself."""
        self._leaving.set()
        if all_is_well:
            for link in list(self._links):
                try:
                    link.sendall(_BYE)
                    link.shutdown(socket.SHUT_WR)
                except OSError:
                    continue  # it has gone before

    def _watch_all(self, server: socket.socket) -> None:
        """On rank 0."""
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
                    if word := _received(link):
                        self._links[link] += word[: len(self._token) + len(_BYE)]
                        continue
                    ready.unregister(link)
                    if self._links.pop(link) == self._token:
                        self._end()
                        return

    def _watch_one(self, link: socket.socket) -> None:
        if not _received(link):
            self._end()

    def _end(self) -> None:
        """Another process has ended, and did not say that all is well."""
        if self._leaving.wait(_BY_ITSELF):
            return
        self.is_cut = True
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._leaving.wait(_WHEN_ASKED):
            self._tell()
            os._exit(1)  # it waits in a call that no signal ends


def _probe(link: socket.socket) -> None:
    """Let the system ask now and then whether the other machine is there: without power it closes
    no connection. After 30 s without an answer this one is closed."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("KEEPIDLE", 10), ("KEEPINTVL", 5), ("KEEPCNT", 4)):
        link.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)


def _received(link: socket.socket) -> bytes:
    """What came; nothing where the other side has ended."""
    try:
        return link.recv(64)
    except OSError:
        return b""
