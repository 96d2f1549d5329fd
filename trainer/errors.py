"""The exception for errors that a user of the trainer can fix."""


class TrainerError(Exception):
    """Its message says what was wrong, the value, what is allowed and the next step."""
