"""Where things that were fetched are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder of all that is fetched, and made from it: $MERGESCALE_CACHE or ~/.cache/mergescale."""
    wanted = os.environ.get("MERGESCALE_CACHE")
    return Path(wanted).expanduser().resolve() if wanted else Path.home() / ".cache" / "mergescale"
