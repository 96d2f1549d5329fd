"""The error that a user of the builder can mend."""


class BuilderError(Exception):
    """What was wrong, the value, what is allowed and the next step, in a sentence or two."""
