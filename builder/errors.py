"""Errors that a user can correct."""


class BuilderError(Exception):
    """Says what was wrong, with the value, what is allowed, and the next step."""


class DecoderKilledError(BuilderError):
    """A decoder was killed from outside, for example for lack of memory. The video itself may be
    fine: trying again, perhaps on another machine, may work."""
