"""Signals that end a command, which raise KeyboardInterrupt, so that unfinished files are deleted
and no process is left behind."""

import os
import signal
import sys

_ENDING = (signal.SIGTERM, signal.SIGHUP)  # a scheduler's, and of a terminal that is closed
_SOON = 0.01  # seconds
_received: list[int] = []
_hook_before = sys.unraisablehook


def listen() -> None:
    """Raise KeyboardInterrupt on Ctrl-C and on signals that end a command."""
    global _hook_before
    _received.clear()
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _raise)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, _send_again)
    _hook_before, sys.unraisablehook = sys.unraisablehook, _if_ignored


def stop_listening() -> None:
    """When nothing is left to clean up, signals end the process without a word."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (*_ENDING, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if sys.unraisablehook is _if_ignored:
        sys.unraisablehook = _hook_before


def exit_status() -> int:
    """The exit status of a command that was interrupted: 143 after SIGTERM, 130 after Ctrl-C."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _raise(number: int, frame: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _if_ignored(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python prints and ignores an exception in a destructor or in the callback of a weak
    reference, KeyboardInterrupt too; the signal is then sent again, when that has ended."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        _hook_before(unraisable)
        return
    signal.setitimer(signal.ITIMER_REAL, _SOON)


def _send_again(number: int, frame: object) -> None:
    """Send the signal again, unless a training listens to it, which has taken note of it."""
    lost = _received[-1] if _received else signal.SIGINT
    if signal.getsignal(lost) in (_raise, signal.default_int_handler):
        os.kill(os.getpid(), lost)
