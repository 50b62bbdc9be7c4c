"""How a folder is doing."""

from enum import StrEnum


class State(StrEnum):
    """How a folder is doing."""

    STARTING = "starting"
    QUIET = "quiet"
    """Both sides are equal, but for what is left alone."""
    WORKING = "working"
    WAITING = "waiting"
    """For the remote, for the local dir, or for a file that is being written."""
    PAUSED = "paused"
    HALTED = "halted"
    """Until the reason is gone, or a person says what was meant."""
