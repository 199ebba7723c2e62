"""Small frozen values that every room shares. Imports nothing of ours and no torch.

Names carry units: `*_bytes` are bytes, `start`/`stop` count elements of one tensor in row-major order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DType:
    """A storage type: `code` as safetensors spells it, `name` as torch spells it, `rank` its place in the
    file order.
    """

    code: str
    name: str
    size_bytes: int
    is_float: bool
    rank: int


# The one table of storage types. `rank` is the order in which safetensors lays tensors of different types
# into one file (higher first). fp8 and fp4 are absent on purpose: they mean nothing without their scales.
_ROWS = (
    ("BOOL", "bool", 1, False, 0),
    ("U8", "uint8", 1, False, 2),
    ("I8", "int8", 1, False, 3),
    ("I16", "int16", 2, False, 9),
    ("U16", "uint16", 2, False, 10),
    ("F16", "float16", 2, True, 11),
    ("BF16", "bfloat16", 2, True, 12),
    ("I32", "int32", 4, False, 13),
    ("U32", "uint32", 4, False, 14),
    ("F32", "float32", 4, True, 15),
    ("F64", "float64", 8, True, 17),
    ("I64", "int64", 8, False, 18),
    ("U64", "uint64", 8, False, 19),
)
DTYPES: dict[str, DType] = {row[0]: DType(*row) for row in _ROWS}
DTYPES_BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in DTYPES.values()}


@dataclass(frozen=True)
class ModelRef:
    """A model as the user wrote it: a directory, a Hub repository, perhaps with a revision, or a bucket."""

    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.path if self.revision is None else f"{self.path}@{self.revision}"

    @property
    def is_in_bucket(self) -> bool:
        """Whether it is `s3://bucket/folder`."""
        return self.path.startswith("s3://")


@dataclass(frozen=True)
class TensorSpec:
    """Name, storage type and shape of one tensor, as its file's header states them."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes the tensor takes in a file."""
        return self.numel * self.dtype.size_bytes
