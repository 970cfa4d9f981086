"""Exit statuses of `two-tower`, the same for a command, a local run and a run on a cluster."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """DONE also means promoted; HELD means that a gate, or a check such as `leaks`, did not pass."""

    DONE = 0
    FAULT = 1
    BAD_INPUT = 2
    HELD = 3
    INTERRUPTED = 130

    @classmethod
    def of_error(cls, name: str) -> "ExitStatus":
        """Exit status for the class name of an error of this project that ended a step; empty for any other error."""
        return {"": cls.FAULT, "GateHeldError": cls.HELD}.get(name, cls.BAD_INPUT)
