"""Identity of a secret's version, and which of two is news. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

# A standby that lags shows an older version for moments; a restored snapshot shows it for good.
LAG_S = 60.0


class Order(StrEnum):
    """Relation of a version that the server shows to the one that is held."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionMark:
    """Identity of a version. Its number is unique only until the secret is deleted and made again, or its engine is."""

    version: str
    made_at: datetime | None = None

    def order(self, held: VersionMark) -> Order:
        """Return the relation of this version to the held one: by the times at which they were made, else by number."""
        if self.made_at and held.made_at and self.made_at != held.made_at:
            return Order.NEWER if self.made_at > held.made_at else Order.OLDER
        if self.version == held.version:
            return Order.SAME
        numbers = (self.version, held.version)
        older = all(item.isdigit() for item in numbers) and int(self.version) < int(held.version)
        return Order.OLDER if older else Order.NEWER
