"""Names of files that are being written: beside the file that they become, told from others by their form.

Decides on names alone; `work_directory.py` tells by them what a killed write left.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import xxhash

#: A name has 255 bytes at most: the rest is for what is put around it.
_LONGEST_STEM_BYTES = 200
_UNFINISHED = re.compile(r"\.(?P<stem>.+)\.[0-9]+\.[0-9a-f]{8}\.tmp", re.DOTALL)


def unfinished_beside(path: Path) -> Path:
    """A new name beside `path` for its bytes while they are written, at most 255 bytes long."""
    return path.with_name(f".{unfinished_stem(path.name)}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def unfinished_stem(name: str) -> str:
    """What stands for a file's name in that of its unfinished one: the name, or a digest of a long one."""
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST_STEM_BYTES else xxhash.xxh3_128_hexdigest(raw)


def stem_of_unfinished(name: str) -> str | None:
    """The stem in the name of an unfinished file; None for any other name."""
    found = _UNFINISHED.fullmatch(name)
    return None if found is None else found["stem"]
