"""Errors that a user can correct: the base class of all rooms', and the builder's own."""


class AscnetError(Exception):
    """Says what was wrong, with the value, what is allowed, and the next step.

    Attributes:
        exit_status: of a command that it ends. 1: what was asked for failed, by its files, data or
            machine. 2, of the usage errors: what was asked for cannot be, by an option, a setting,
            a value, or a name that is none of those there are.
    """

    exit_status = 1


class BuilderError(AscnetError):
    """An error of the builder."""


class OtherBuildError(BuilderError):
    """A folder has a build of other videos, files or settings, or a damaged one, which --overwrite
    replaces."""


class BuilderUsageError(BuilderError):
    """The builder was asked for what it does not have."""

    exit_status = 2


class DecoderKilledError(BuilderError):
    """A decoder was killed from outside, for example for lack of memory. The video itself may be
    fine: trying again, perhaps on another machine, may work."""
