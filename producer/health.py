"""What a part of the broker says about its own health."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from pod_runtime.condition import ConditionName


class EmitterCondition(ConditionName):
    """Conditions that the producer library itself adds to its program's."""

    TELEMETRY_SPOOL = (
        "TelemetrySpool",
        "events are kept in the spool, and there is room for all of them (advice)",
        *("SpoolFull", "VolumeFailing"),
    )


def camel_case(name: str) -> str:
    """A condition's name or reason by the custom of Kubernetes: `venue-token` and `venue_token` are `VenueToken`.

    What follows a colon, an account's id, stays as it is.
    """
    words, colon, rest = name.partition(":")
    return "".join(word[:1].upper() + word[1:] for word in re.split("[-_]", words)) + colon + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One named statement of health; an advisory one never makes the process not ready."""

    name: str
    """In CamelCase, as every reader shows it."""
    ok: bool
    reason: str
    """A constant name in CamelCase, `Ready` where all is well."""
    message: str
    since: datetime
    advisory: bool = False
