"""`python -m pod_runtime.healthcheck URL`: exits with 0 if the URL answers 2xx within two seconds.

For a container's HEALTHCHECK, as in

    HEALTHCHECK CMD ["/opt/venv/bin/python", "-m", "pod_runtime.healthcheck", "http://127.0.0.1:8000/livez"]

because the images have no curl. Standard library only: it starts every few seconds beside the
process that it asks, and takes its CPU from it. Kubernetes asks the probes itself and does not use this.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

# Shorter than the three seconds after which Docker kills the command: so the reason is printed.
DEADLINE_S = 2.0
# All that Docker knows besides 0 (https://docs.docker.com/reference/dockerfile/#healthcheck).
EX_UNHEALTHY = 1


def check(url: str) -> str | None:
    """Return the fault of the URL, or None if it is healthy."""
    # urllib also opens files and FTP.
    if not url.startswith(("http://", "https://")):
        return f"{url!r} is not an http URL"
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S):  # noqa: S310 - the scheme is checked above
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}: {error.read(512).decode(errors='replace')}"
    except OSError as error:
        return f"{url} did not answer: {error}"


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 healthy, 1 not, 64 without exactly one URL."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pod_runtime.healthcheck URL\n")
        return os.EX_USAGE
    if (fault := check(arguments[0])) is not None:
        sys.stderr.write(fault + "\n")
        return EX_UNHEALTHY
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
