"""Signals that end a command."""

import subprocess
import sys

import pytest

# A signal that comes while Python calls a destructor or the callback of a weak reference, where it
# ignores exceptions.
_SCRIPT = """
import os, signal, sys, time, weakref
from ascnet import signals

class Thing:
    pass

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.001)

def send(reference):
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.001)

signal.signal(signal.SIGINT, signal.SIG_DFL)
signals.listen()
try:
    if "{kind}" == "destructor":
        Dying()
    else:
        thing = Thing()
        reference = weakref.ref(thing, send)
        del thing
    time.sleep(20)
    print("went on")
except KeyboardInterrupt:
    print(signals.exit_status())
finally:
    signals.stop_listening()
assert signal.getsignal(signal.{name}) is signal.SIG_DFL
"""


@pytest.mark.parametrize("kind", ["destructor", "weak reference"])
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_where_python_ignores_exceptions_is_not_lost(kind, name, status):
    script = _SCRIPT.format(kind=kind, name=name)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (f"{status}\n", "")


def test_a_training_that_takes_note_of_a_signal_ends_after_the_step():
    """Though the exception that ends its wait for clips is ignored there."""
    script = """
import os, signal, sys, time
from ascnet import signals
from trainer.stop import Stop

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.001)

def clips():
    Dying()
    yield 1

signal.signal(signal.SIGINT, signal.SIG_DFL)
signals.listen()
try:
    with Stop(alone=True) as stop:
        asked = stop.ask(None)
        assert stop.next_of(clips()) == 1
        time.sleep(0.1)  # a step
        print(asked())
        stop.end()
except KeyboardInterrupt:
    print(signals.exit_status())
"""
    for name, status in {"SIGTERM": 143, "SIGINT": 130}.items():
        done = subprocess.run(
            [sys.executable, "-c", script.format(name=name)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == f"True\n{status}\n"


def test_other_ignored_exceptions_are_still_printed():
    script = """
from ascnet import signals
class Dying:
    def __del__(self):
        raise ValueError("broken")
signals.listen()
Dying()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert "ValueError: broken" in done.stderr
