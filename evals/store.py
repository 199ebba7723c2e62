"""Records on disk, one file a key, answers to parts of tasks, and the tables made of records. A record is
served only under its own key.

Files are written whole or not at all and never changed, so several runs may share a store. Each carries the
digest of its content and of the name it is kept under: a file that was damaged, edited or copied from another
name is as good as none, and what it held is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from evals.content import digest_json
from evals.record import Record, from_dict, write_jsonl, write_parquet
from pipeline.checkpoint.files import atomic_write
from pipeline.errors import InputError, MergescaleError
from pipeline.untrusted import parse_json, read_json, read_small

#: The field of a file that holds the digest of the others.
_SEAL = "digest"
#: What a piece of work says, see `harness.spending`.
_PIECE: Mapping[str, Any] = {
    "kind": str,
    "label": str,
    "seconds": int | float,
    "read_bytes": int,
    "peak_bytes": int,
}
#: A piece of work is a line of some 200 bytes.
_MOST_SPENT_BYTES = 1 << 30


class RecordStore:
    """Records under one directory: `records/KEY.json`, and a run's `records.jsonl` and `records.parquet`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder. InputError when nothing can be written there: better now than after the work."""
        records = self.folder / "records"
        try:
            records.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=records):
                pass
        except OSError as error:
            raise InputError(
                "scores cannot be kept", where=str(self.folder), found=error.strerror or str(error)
            ) from error

    def files(self) -> list[Path]:
        """The files of all records, KEY.json."""
        return sorted((self.folder / "records").glob("*.json"))

    def get(self, key: str) -> Record | None:
        """The record of a key; None when there is none, or a damaged one: it is then measured anew."""
        path = self._path(key)
        values = _unsealed(path, key)
        try:
            return None if values is None else from_dict(values, str(path))
        except InputError:
            return None

    def put(self, key: str, record: Record) -> None:
        """Keep a record under its key."""
        atomic_write(self._path(key), _sealed(record.to_dict(), key))

    def adopt(self, key: str, others: Sequence[Path]) -> Record | None:
        """Take over the record of a key from the first of other stores' folders that has it."""
        record = next((one for folder in others if (one := RecordStore(folder).get(key))), None)
        if record is not None:
            self.put(key, record)
        return record

    def put_part(self, name: str, answers: Mapping[str, Any]) -> None:
        """Keep the answers to a part of a task until its score is there."""
        path = self._part(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, _sealed(answers, name))

    def get_part(self, name: str) -> dict[str, Any] | None:
        """What `put_part` kept; None when there is nothing, or a damaged file."""
        return _unsealed(self._part(name), name)

    def drop_parts(self, key: str) -> None:
        """Forget the parts of a score that is there or cannot be had."""
        for path in (self.folder / "parts").glob(f"{key}-*.json"):
            path.unlink(missing_ok=True)

    def note(self, spent: Sequence[Mapping[str, Any]]) -> None:
        """Add what pieces of work cost to `spent.jsonl`, which grows over all runs."""
        with (self.folder / "spent.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(one) + "\n" for one in spent))

    def spent(self) -> list[dict[str, Any]]:
        """Everything `note` was told; a line that is damaged, or was cut short, is no piece of work."""
        try:
            raw = read_small(self.folder / "spent.jsonl", limit_bytes=_MOST_SPENT_BYTES, error=InputError)
        except FileNotFoundError:
            return []
        return [piece for line in raw.split(b"\n") if (piece := _piece(line)) is not None]

    def write_tables(self, records: Sequence[Record]) -> None:
        """Write the records of one run as JSON lines and as Parquet, replacing those of the run before."""
        write_jsonl(self.folder / "records.jsonl", records)
        write_parquet(self.folder / "records.parquet", records)

    def _part(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.json"

    def _path(self, key: str) -> Path:
        return self.folder / "records" / f"{key}.json"


def _sealed(values: Mapping[str, Any], name: str) -> bytes:
    """Values as one line of JSON with the digest of them and of the name they are kept under."""
    sealed = {**values, _SEAL: digest_json([name, values])}
    return json.dumps(sealed, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _unsealed(path: Path, name: str) -> dict[str, Any] | None:
    """What `_sealed` wrote under that name; None where nothing is there that it wrote."""
    try:
        values = read_json(path)
    except (FileNotFoundError, MergescaleError):
        return None
    if not isinstance(values, dict):
        return None
    seal = values.pop(_SEAL, None)
    return values if seal == digest_json([name, values]) else None


def _piece(line: bytes) -> dict[str, Any] | None:
    """The piece of work that a line tells of; None where it tells of none."""
    try:
        found = parse_json(line)
    except ValueError:
        return None
    is_piece = isinstance(found, dict) and all(
        isinstance(found.get(name), kind) and not isinstance(found[name], bool)
        for name, kind in _PIECE.items()
    )
    return found if is_piece else None
