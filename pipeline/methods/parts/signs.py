"""Sign election: which direction an entry moves, by the sum over experts. Never sees where deltas come from.

Shape legend: E experts, N elements of one block.

Where the sum is exactly zero there are two schools: mergekit counts it as positive, the TIES authors give it
the majority of all elected signs, which takes one more round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.methods.contract import Knobs, Partial, Round, Totals

if TYPE_CHECKING:
    from torch import Tensor

MAJORITY = Round("majority")


def next_round(knobs: Knobs, totals: Totals) -> Round | None:
    """The round that counts elected signs, where the knob `zero_sign` asks for it and it has not run."""
    return MAJORITY if knobs["zero_sign"] == "majority" and "zero_sign" not in totals else None


def count(total_N: Tensor) -> Partial:
    """Positive minus negative sums of a block, an exact integer; zeros and NaNs count for neither."""
    balance = (total_N > 0).sum() - (total_N < 0).sum()
    return {"balance": np.array(int(balance), np.int64)}


def settle(folded: Partial, totals: Totals) -> Totals:
    """Totals with the sign of most elected entries, +1 or -1; a draw is +1."""
    return {**totals, "zero_sign": 1 if int(folded["balance"]) >= 0 else -1}


def elect(total_N: Tensor, totals: Totals) -> Tensor:
    """+1.0 or -1.0 an entry, in the dtype of `total_N`, which is used up.

    A NaN sum elects -1; its entry is NaN in the end whatever is elected.
    """
    if totals.get("zero_sign", 1) > 0:
        return total_N.ge_(0).mul_(2).sub_(1)
    return total_N.gt_(0).mul_(2).sub_(1)
