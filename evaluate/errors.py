"""The errors that a user of the evaluation can mend."""

from builder.errors import AscnetError


class EvaluateError(AscnetError):
    """What was wrong, the value, what is allowed and the next step, in a sentence or two."""


class EvaluateUsageError(EvaluateError):
    """The evaluation was asked for what it does not have: a layer, a split, a task."""

    exit_status = 2
