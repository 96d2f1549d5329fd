"""Errors that users of the evaluation can fix."""

from builder.errors import AscnetError


class EvaluateError(AscnetError):
    """An error message that says what was wrong, with the value, what is allowed and the next
    step."""


class EvaluateUsageError(EvaluateError):
    """A request for something that does not exist, such as a layer, a split or a task."""

    exit_status = 2
