"""Records and their files: nothing is lost on the way, and nothing else is taken for a record."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evals.content import Digests
from evals.record import from_dict, read_jsonl, read_parquet, to_json, write_jsonl, write_parquet
from evals.store import RecordStore
from pipeline.checkpoint.files import digest_bytes
from pipeline.errors import InputError
from tests.helpers.records import record

RECORDS = [
    record("größer", "pick", [0.1, 1 / 3, 2e-300]),
    record("two", "free", [1.0], limit=5, chance=None, stderr=None, items=()),
]


def test_json_lines_keep_every_bit(tmp_path: Path) -> None:
    """Records come back from JSON lines equal, floats to the last bit, missing values missing."""
    write_jsonl(tmp_path / "r.jsonl", RECORDS)
    assert read_jsonl(tmp_path / "r.jsonl") == RECORDS
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2


def test_parquet_keeps_every_bit_and_type(tmp_path: Path) -> None:
    """Records come back from Parquet equal, and columns have their types even when all values are missing."""
    write_parquet(tmp_path / "r.parquet", RECORDS)
    assert read_parquet(tmp_path / "r.parquet") == RECORDS
    write_parquet(tmp_path / "empty.parquet", [])
    assert pq.read_schema(tmp_path / "empty.parquet").equals(pq.read_schema(tmp_path / "r.parquet"))
    assert str(pq.read_schema(tmp_path / "empty.parquet").field("limit").type) == "int64"


@pytest.mark.parametrize("change", [{"schema": 0}, {"colour": "red"}, {"value": None}])
def test_another_version_is_no_record(change: dict[str, object]) -> None:
    """A schema of another number, a field too many or too few is refused, never filled in."""
    values = {**RECORDS[0].to_dict(), **change}
    if change.get("value", 1) is None:
        del values["value"]
    with pytest.raises(InputError):
        from_dict(values)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """A line that is no record is refused with file and line number."""
    (tmp_path / "r.jsonl").write_text(to_json(RECORDS[0]) + "\n{\n")
    with pytest.raises(InputError) as caught:
        read_jsonl(tmp_path / "r.jsonl")
    assert caught.value.where == f"{tmp_path / 'r.jsonl'}:2"


def test_a_store_serves_what_it_was_given_under_that_key_only(tmp_path: Path) -> None:
    """A stored record comes back under its key; another key, or a damaged file, gives none."""
    store = RecordStore(tmp_path)
    store.prepare()
    store.put("key", RECORDS[0])
    assert store.get("key") == RECORDS[0]
    assert store.get("other") is None
    file = tmp_path / "records" / "key.json"
    file.write_text(file.read_text()[:-20])
    assert store.get("key") is None


def test_what_is_written_is_json_for_everyone(tmp_path: Path) -> None:
    """The JSON has standard numbers only: a score that is no number cannot be written."""
    assert json.loads(to_json(RECORDS[0]))["items"] == [0.1, 1 / 3, 2e-300]
    with pytest.raises(ValueError, match="JSON"):
        to_json(record("one", "pick", value=float("nan")))


def test_what_is_damaged_in_a_store_is_not_there(tmp_path: Path) -> None:
    """Whatever a damaged file holds, its record and its part are measured anew; of what was spent every
    line counts that tells of a piece of work, also after one that was cut short.
    """
    store = RecordStore(tmp_path)
    store.prepare()
    store.put("a", RECORDS[0])
    store.put_part("a-0-2-8", {"elapsed_s": 1.0})
    for damage in (b"", b"[1]", b"null", b'{"model": ', b"\xff"):
        (tmp_path / "records" / "a.json").write_bytes(damage)
        (tmp_path / "parts" / "a-0-2-8.json").write_bytes(damage)
        assert store.get("a") is None and store.get_part("a-0-2-8") is None
    pieces = [
        {"kind": "load", "label": "m", "seconds": number, "read_bytes": 4, "peak_bytes": 5}
        for number in range(3)
    ]
    store.note(pieces[:1])
    with (tmp_path / "spent.jsonl").open("ab") as file:
        for line in (b"[" * 100_000, b"\xff", b"5", b'{"kind": "load"}', b'{"label": 7}'):
            file.write(line + b"\n")
        file.write(b'{"seco')
    store.note(pieces[1:])
    store.note(pieces[2:])
    assert store.spent() == [pieces[0], pieces[2], pieces[2]]


@pytest.mark.parametrize(
    "damage", ["", "[]", "[" * 100_000, '{"FILE": 5}', '{"FILE": []}', '{"FILE": [{}]}', "pipe"]
)
def test_a_damaged_memory_of_digests_is_none(damage: str, tmp_path: Path) -> None:
    """Whatever the memory of digests holds, the digest of a file is that of its bytes."""
    file, memory = tmp_path / "file", tmp_path / "digests.json"
    file.write_bytes(b"content")
    if damage == "pipe":
        os.mkfifo(memory)
    else:
        memory.write_text(damage.replace("FILE", str(file)))
    assert Digests(memory).of_file(file) == digest_bytes(b"content")


@pytest.mark.parametrize(
    "change",
    [
        {"value": 0.99},
        {"items": None},
        {"items": [0.0, 1.0]},
        {"n": "three"},
        {"truncated": True},
        {"stderr": float("nan")},
        {"model_digest": "another"},
    ],
)
def test_a_changed_record_is_not_served(tmp_path: Path, change: dict[str, object]) -> None:
    """Whatever is changed in a stored record, it is served no more: the score is measured anew."""
    store = RecordStore(tmp_path)
    store.prepare()
    store.put("key", RECORDS[0])
    file = tmp_path / "records" / "key.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert store.get("key") is None


def test_a_record_is_not_served_under_another_key(tmp_path: Path) -> None:
    """A record, or the answers to a part, copied to the name of another is not the other's."""
    store = RecordStore(tmp_path)
    store.prepare()
    store.put("one", RECORDS[0])
    store.put_part("one-0-2-8", {"elapsed_s": 1.0})
    assert store.get_part("one-0-2-8") == {"elapsed_s": 1.0}
    for folder, end in (("records", ".json"), ("parts", "-0-2-8.json")):
        (tmp_path / folder / f"two{end}").write_bytes((tmp_path / folder / f"one{end}").read_bytes())
    assert store.get("two") is None and store.get_part("two-0-2-8") is None
    assert store.adopt("two", [tmp_path]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("items", None),
        ("items", ["0.5"]),
        ("items", 0.5),
        ("n", "3"),
        ("n", 3.0),
        ("n", True),
        ("value", float("nan")),
        ("value", True),
        ("stderr", float("inf")),
        ("label", None),
        ("higher_is_better", 1),
        ("limit", "all"),
    ],
)
def test_a_field_of_another_type_is_no_record(name: str, value: object) -> None:
    """Every field has its own type, and numbers are finite; the error names the field."""
    with pytest.raises(InputError) as caught:
        from_dict({**RECORDS[0].to_dict(), name: value}, "here")
    assert caught.value.expected.startswith(f"{name}: ") and caught.value.where == "here"
