"""requests and hvac's adapter, loaded without the guesser of encodings.

requests takes charset_normalizer where it is there (3 MiB in memory) for `Response.text`, which nothing here asks
for; without it requests warns and goes on (requests/__init__.py, requests/compat.py).
"""

from __future__ import annotations

import sys
import warnings

_GUESSER = "charset_normalizer"
_loaded = sys.modules.get(_GUESSER)
sys.modules[_GUESSER] = None  # type: ignore[assignment] # what makes an import fail, as the import system documents
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
try:
    import requests
    from hvac.adapters import RawAdapter
finally:
    del sys.modules[_GUESSER]
    if _loaded is not None:
        sys.modules[_GUESSER] = _loaded

__all__ = ["RawAdapter", "requests"]
