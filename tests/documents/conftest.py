"""Tests of the soak alone: they are left out of the collection, so that a skip stays what a machine lacks."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("FRESH_CONTAINER") == "1" else ["test_fresh_container.py"]
