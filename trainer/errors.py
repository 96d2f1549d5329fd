"""The error that a user of the trainer can mend."""


class TrainerError(Exception):
    """What was wrong, the value, what is allowed and the next step, in a sentence or two."""
