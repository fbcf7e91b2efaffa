"""Exit codes of every program, as one table; a test compares it with the code."""

from __future__ import annotations

import os
from typing import NamedTuple

from tools.reference.markdown import code, made, table

HEAD = """# Exit codes

{made}
The numbers are those of `sysexits.h`. A command line that is not understood ends with 2. A process that a second
signal finds draining goes on draining; SIGKILL shows as 137.
"""


class ExitCode(NamedTuple):
    """A row of the page."""

    program: str
    code: str
    """Name of the number: `EX_…` of the module `os`, or a constant of the program's own with the value 1."""
    meaning: str

    @property
    def number(self) -> int:
        """The number that the shell shows; names that `sysexits.h` does not have are 1, the general failure."""
        return int(getattr(os, self.code, 1))


_DRAINED = "the process drained in order; with `--check-config` and `--config-schema`: printed"
_PLACE = "an address cannot be bound or a directory cannot be used"
_BUG = "a bug; the log has it"
_FAULTS = "the configuration has faults; all of them are printed"

EXIT_CODES = (
    ExitCode("broker", "EX_OK", _DRAINED),
    ExitCode("broker", "EX_UNAVAILABLE", _PLACE),
    ExitCode("broker", "EX_SOFTWARE", "a bug, or a stalled event loop (watchdog); the log has it"),
    ExitCode("broker", "EX_CONFIG", f"{_FAULTS}; or an account has hedging on"),
    ExitCode("broker COMMAND", "EX_OK", "the command got what it asked for"),
    ExitCode("broker COMMAND", "EX_REFUSED", "the broker or the venue refused what the command asked for"),
    ExitCode("broker COMMAND", "EX_UNAVAILABLE", "the broker does not answer"),
    ExitCode("broker COMMAND", "EX_NOPERM", "the API key is not accepted, or its scopes do not allow it"),
    ExitCode("sidecar", "EX_OK", _DRAINED),
    ExitCode("sidecar", "EX_UNAVAILABLE", _PLACE),
    ExitCode("sidecar", "EX_SOFTWARE", _BUG),
    ExitCode("sidecar", "EX_CONFIG", _FAULTS),
    ExitCode("sidecar COMMAND", "EX_OK", "the command found all well, or did what it was asked for"),
    ExitCode("sidecar COMMAND", "EX_FINDINGS", "the command found something that is not well, and printed it"),
    ExitCode("sidecar COMMAND", "EX_UNAVAILABLE", "the sidecar does not answer"),
    ExitCode("sidecar COMMAND", "EX_CONFIG", _FAULTS),
    ExitCode("python -m broker.simulator", "EX_OK", "the simulator ended at a signal"),
    ExitCode("python -m broker.simulator", "EX_UNAVAILABLE", "an address cannot be bound"),
    ExitCode("python -m broker.simulator", "EX_CONFIG", "wrong arguments"),
    ExitCode("python -m pod_runtime.healthcheck", "EX_OK", "the URL answers 2xx"),
    ExitCode("python -m pod_runtime.healthcheck", "EX_UNHEALTHY", "it answers something else, or not in time"),
    ExitCode("python -m pod_runtime.healthcheck", "EX_USAGE", "wrong arguments"),
)


def page() -> str:
    """Write the page."""
    rows = [(code(item.program), str(item.number), code(item.code), item.meaning) for item in EXIT_CODES]
    head = ("program", "code", "name", "means")
    return HEAD.format(made=made("one table in the code")) + "\n" + table(head, rows)
