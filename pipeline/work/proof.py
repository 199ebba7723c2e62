"""Take from the merged bytes of one piece what its receipt says of them. It reads and writes no file."""

from __future__ import annotations

import xxhash

from pipeline.kernels.nonfinite import count_nonfinite
from pipeline.values import DType
from pipeline.work.reading import Bytes


class Proof:
    """The digest of one piece's bytes, and how many of its elements are NaN or infinite.

    `nonfinite` counts over the bytes so far. Types that are no floats have only finite elements.
    """

    def __init__(self, dtype: DType) -> None:
        self._digest = xxhash.xxh3_128()
        self._dtype = dtype
        self.nonfinite = 0

    def update(self, data: Bytes) -> None:
        """Take the next whole elements, in the order in which they are written."""
        self._digest.update(data.data)
        if self._dtype.is_float:
            self.nonfinite += count_nonfinite(data, self._dtype.name)

    def hexdigest(self) -> str:
        """Return the xxh3_128 of all bytes so far."""
        return self._digest.hexdigest()
