"""What a receipt must say to count. One that says anything else is as if it were not there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.plan.plan import UNIT_ID_LENGTH


def is_sound(unit_id: str, receipt: Mapping[str, Any]) -> bool:
    """Whether a line of the ledger says, in the right types, that a unit is done.

    Of a measuring unit only the id counts: what it measured lies elsewhere, with a digest.
    """
    if len(unit_id) != UNIT_ID_LENGTH:
        return True
    digests, nonfinite = receipt.get("digests"), receipt.get("nonfinite", {})
    return (
        isinstance(digests, dict)
        and all(isinstance(digest, str) for digest in digests.values())
        and type(receipt.get("write_bytes")) is int
        and isinstance(nonfinite, dict)
        and all(type(count) is int for count in nonfinite.values())
    )
