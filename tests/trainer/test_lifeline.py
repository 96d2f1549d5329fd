import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
import torch.distributed as dist

from trainer import lifeline
from trainer.lifeline import Lifeline


@pytest.fixture
def ends(monkeypatch) -> list[object]:
    """How processes would have ended."""
    ended: list[object] = []
    monkeypatch.setattr(lifeline, "_BY_ITSELF", 0.1)
    monkeypatch.setattr(lifeline, "_WHEN_ASKED", 0.1)
    monkeypatch.setattr(os, "kill", lambda pid, number: ended.append(number))
    monkeypatch.setattr(os, "_exit", lambda status: ended.append("at once"))
    return ended


@pytest.fixture
def notes(ends) -> Iterator[dist.HashStore]:
    """No thread of a test outlives it."""
    before = set(threading.enumerate())
    yield dist.HashStore()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
        assert not thread.is_alive()


def first(notes: dist.Store, said: list[str]) -> Lifeline:
    return Lifeline(notes, 0, "127.0.0.1", lambda: said.append("why"))


def link_to(notes: dist.Store) -> tuple[socket.socket, bytes]:
    """As another process connects, and what it has to say."""
    port, token = notes.get("lifeline").decode().split()
    return socket.create_connection(("127.0.0.1", int(port))), token.encode()


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.endswith("(_watch_all)"):
            thread.join(timeout=5)


def test_processes_that_end_well(notes, ends):
    ranks = [first(notes, []), *(Lifeline(notes, n, "127.0.0.1", list) for n in (1, 2))]
    for rank in ranks:
        rank.leave(all_is_well=True)
    assert not ends and not any(rank.is_cut for rank in ranks)


def test_one_that_is_gone_ends_the_first(notes, ends):
    """It is asked to, and made to if it cannot hear that. A stranger who goes ends nothing."""
    said: list[str] = []
    rank = first(notes, said)
    stranger, _ = link_to(notes)
    stranger.sendall(b"x" * 100)
    stranger.close()
    other, token = link_to(notes)
    other.sendall(token)
    assert not ends
    other.close()
    wait_for_threads()
    assert ends == [signal.SIGTERM, "at once"] and said == ["why"] and rank.is_cut


def test_the_first_that_is_gone_ends_the_others(notes, ends):
    server = socket.create_server(("127.0.0.1", 0))
    notes.set("lifeline", f"{server.getsockname()[1]} token")
    said: list[str] = []
    rank = Lifeline(notes, 1, "127.0.0.1", lambda: said.append("why"))
    link, _ = server.accept()
    assert link.recv(64) == b"token"
    link.close()
    server.close()
    (thread,) = (t for t in threading.enumerate() if t.name.endswith("(_watch_one)"))
    thread.join(timeout=5)
    assert ends == [signal.SIGTERM, "at once"] and said == ["why"] and rank.is_cut


def test_one_that_ends_by_itself_is_let_go(notes, ends):
    said: list[str] = []
    rank = first(notes, said)
    other, token = link_to(notes)
    other.sendall(token)
    other.close()
    rank.leave()
    wait_for_threads()
    assert not ends and not said and not rank.is_cut


def test_where_nothing_can_be_reached_the_command_goes_on(notes, ends):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    notes.set("lifeline", f"{port} token")
    rank = Lifeline(notes, 1, "127.0.0.1", list)
    rank.leave(all_is_well=True)
    assert not ends and not rank.is_cut
