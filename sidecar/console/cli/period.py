"""How long something lasts, in words for people."""

from __future__ import annotations

DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60


def period(seconds: float) -> str:
    """Rounded down: seconds below two minutes, then minutes, then hours and minutes, then days and hours."""
    whole = max(0, int(seconds))
    if whole < 2 * MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min"
    if whole < 2 * DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"
