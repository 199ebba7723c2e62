"""Records on disk, one file a key, answers to parts of tasks, and the tables made of records. A record is
served only under its own key.

Files are written whole or not at all and never changed, so several runs may share a store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from evals.record import Record, from_dict, to_json, write_jsonl, write_parquet
from pipeline.checkpoint.files import atomic_write
from pipeline.errors import InputError


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
        try:
            return from_dict(_object(path.read_text(encoding="utf-8")) or {}, str(path))
        except (FileNotFoundError, ValueError, InputError):
            return None

    def put(self, key: str, record: Record) -> None:
        """Keep a record under its key."""
        path = self._path(key)
        atomic_write(path, to_json(record).encode() + b"\n")

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
        atomic_write(path, json.dumps(answers).encode())

    def get_part(self, name: str) -> dict[str, Any] | None:
        """What `put_part` kept; None when there is nothing, or a damaged file."""
        try:
            return _object(self._part(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def drop_parts(self, key: str) -> None:
        """Forget the parts of a score that is there or cannot be had."""
        for path in (self.folder / "parts").glob(f"{key}-*.json"):
            path.unlink(missing_ok=True)

    def note(self, spent: Sequence[Mapping[str, Any]]) -> None:
        """Add what pieces of work cost to `spent.jsonl`, which grows over all runs."""
        with (self.folder / "spent.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(one) + "\n" for one in spent))

    def spent(self) -> list[dict[str, Any]]:
        """Everything `note` was told; a line that a crash or a full disk cut short is no piece of work."""
        try:
            lines = (self.folder / "spent.jsonl").read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return []
        return [piece for line in lines if (piece := _object(line)) is not None]

    def write_tables(self, records: Sequence[Record]) -> None:
        """Write the records of one run as JSON lines and as Parquet, replacing those of the run before."""
        write_jsonl(self.folder / "records.jsonl", records)
        write_parquet(self.folder / "records.parquet", records)

    def _part(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.json"

    def _path(self, key: str) -> Path:
        return self.folder / "records" / f"{key}.json"


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None where it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
