"""What a score depends on, as digests: a model directory, a task with its data, and the key of one record.

A key covers everything that decides the number and lies in a file that is named to us: a stored record is
served if and only if none of it changed. Rows on a hub, and modules that a task's functions import, are not
seen. What moves its last digits only (device, batch size, threads, versions of torch and transformers) is
no part of it and stands in the record as far as it is known.
This module reads bytes and never loads a model or a task.
"""

from __future__ import annotations

import json
import re
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evals.definitions import digest_definition
from evals.record import SCHEMA
from evals.task import Task
from pipeline.checkpoint.files import atomic_write, digest_bytes, digest_file
from pipeline.errors import MergescaleError
from pipeline.untrusted import read_json

_DIGEST = re.compile(r"[0-9a-f]{32}")
#: A file changed this shortly before it was digested may change again within one tick of its clock.
_SETTLED_NS = 2_000_000_000


class Digests:
    """xxh3_128 digests of files, remembered by size, times and inode so that a second run reads nothing.

    The change time (ctime) is part of it: tools that restore a modification time cannot restore that one.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known = {} if memory is None else _remembered(memory)

    def of_file(self, path: Path) -> str:
        """The digest (hex) of one file's bytes."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        digest = digest_file(path)
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NS:
            self._known[str(path)] = [*stamp, digest]
        return digest

    def save(self) -> None:
        """Write the memory, if it has a place."""
        if self._memory is not None:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._memory, json.dumps(self._known, indent=0).encode())


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """Path -> [size, times, inode, digest] as `Digests` wrote them; what is damaged is read again."""
    try:
        found = read_json(memory)
    except (FileNotFoundError, MergescaleError):
        return {}
    return {
        path: stamp
        for path, stamp in (found.items() if isinstance(found, dict) else ())
        if isinstance(stamp, list) and stamp and _DIGEST.fullmatch(str(stamp[-1]))
    }


def digest_json(value: Any) -> str:
    """xxh3_128 (hex) of a plain value in canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(text.encode())


def task_digest(task: Task, digests: Digests) -> str:
    """What the task asks: its definition with the functions it names, and its data files split by split.

    A task whose data lm-eval finds itself (on a hub) is known by its definition alone.
    """
    data = [[split, [digests.of_file(Path(name)) for name in names]] for split, names in task.data]
    return digest_json([digest_definition(task.definition), data])


def record_key(model_digest: str, task: Task, digest: str, limit: int | None, dtype: str) -> str:
    """The name under which a record is stored: model, task, shots, limit, metric, dtype, lm-eval, schema.

    Names and places (labels, paths, suite, category) are left out: they do not change the number.
    """
    how = [task.shots, limit, task.metric, task.filter, dtype, version("lm_eval"), SCHEMA]
    return digest_json([model_digest, digest, how])
