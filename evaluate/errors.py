"""The error that a user of the evaluation can mend."""


class EvaluateError(Exception):
    """What was wrong, the value, what is allowed and the next step, in a sentence or two."""
