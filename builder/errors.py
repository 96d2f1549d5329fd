"""The error that a user of the builder can mend."""


class BuilderError(Exception):
    """What was wrong, the value, what is allowed and the next step, in a sentence or two."""


class DecoderKilledError(BuilderError):
    """A decoder was stopped from outside, for example for want of memory. Says nothing of the
    video; trying again, elsewhere perhaps, may do."""
