"""Sign election's one round: which sign a draw gets. Never sees where deltas come from.

Where the weighted sum is exactly zero there are two schools: mergekit counts it as positive, the TIES authors
give it the majority of all elected signs, which takes one more round.
"""

from __future__ import annotations

import numpy as np

from pipeline.methods.contract import Knobs, Partial, Round, Totals, add

MAJORITY = Round("majority")


def next_round(knobs: Knobs, totals: Totals) -> Round | None:
    """The round that counts elected signs, where the knob `zero_sign` asks for it and it has not run."""
    return MAJORITY if knobs["zero_sign"] == "majority" and "zero_sign" not in totals else None


def passes(knobs: Knobs) -> int:
    """Rounds over every entry: the majority, where it is asked for."""
    return 1 if knobs["zero_sign"] == "majority" else 0


def measure(balance: int, partial: Partial) -> None:
    """Add a block's balance (`Block.elected_balance`) to `partial`."""
    add(partial, "balance", np.array(balance, np.int64))


def settle(folded: Partial, totals: Totals) -> Totals:
    """Totals with the sign of most elected entries, +1 or -1; a draw is +1."""
    return {**totals, "zero_sign": 1 if int(folded["balance"]) >= 0 else -1}


def zero_sign(totals: Totals) -> int:
    """What a sum of exactly zero elects."""
    return int(totals.get("zero_sign", 1))
