"""Limit of file descriptors: raised at start, and compared with what connections may take of it."""

from __future__ import annotations

import resource
import sys

RESERVED = 200
"""Descriptors that are not a listener's: journals, databases, connections outwards, secrets, telemetry."""


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit to the hard one; return it.

    The usual soft limit of 1024 is for programs that call select(2), which we never do (getrlimit(2)).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
