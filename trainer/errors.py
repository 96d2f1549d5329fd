"""The exceptions for errors that a user of the trainer can fix."""

from builder.errors import AscnetError


class TrainerError(AscnetError):
    """Its message says what was wrong, the value, what is allowed and the next step."""


class TrainerUsageError(TrainerError):
    """The trainer was asked for what it does not have: a recipe, a setting, a value."""

    exit_status = 2
