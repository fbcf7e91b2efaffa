"""`python -m pod_runtime.healthcheck URL`: exit 0 where the URL answers 2xx within two seconds.

For a container HEALTHCHECK. Standard library only: it starts every few seconds beside the process that it asks about.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

DEADLINE_S = 2.0


def check(url: str) -> str | None:
    """Why the URL is not healthy, or None where it is."""
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
    """The exit code: 0 healthy, 1 not, 64 without exactly one URL."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pod_runtime.healthcheck URL\n")
        return os.EX_USAGE
    if (fault := check(arguments[0])) is not None:
        sys.stderr.write(fault + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
