"""Files that are no files, have no end or hold odd JSON, wherever one is read whole or line by line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from evals.content import Digests
from evals.family.rows import read_rows
from evals.models import describe_model
from pipeline.checkpoint.files import digest_file
from pipeline.checkpoint.index import read_directory
from pipeline.checkpoint.plain_files import check_plain_files
from pipeline.errors import InputError
from pipeline.training.examples import read_examples
from pipeline.training.scratch.tokenizer import read_texts
from pipeline.untrusted import read_lines
from pipeline.values import ModelRef
from tests.helpers.merging import merge, tensors, write_config
from tests.helpers.models import INDEX_NAME, write_family, write_model

ROWS: dict[str, Callable[[Path], object]] = {
    "training rows": read_examples,
    "corpus": lambda path: list(read_texts(path)),
    "family rows": read_rows,
    "digests": digest_file,
    "lines": lambda path: list(read_lines(path)),
}


@pytest.mark.parametrize("reader", ROWS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_rows_are_never_waited_for(tmp_path: Path, reader: str, kind: str) -> None:
    """A FIFO without a writer and an endless device in the place of rows are refused at once."""
    path = tmp_path / "rows.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"(?s)not a regular file.*{kind}"):
        ROWS[reader](path)


@pytest.mark.parametrize("reader", ["training rows", "corpus", "family rows"])
def test_rows_have_bounded_lines(tmp_path: Path, reader: str) -> None:
    """A sparse file of a terabyte without a line end costs one bounded read."""
    path = tmp_path / "rows.jsonl"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(InputError, match="line is too long"):
        ROWS[reader](path)


@pytest.mark.parametrize("reader", ["training rows", "corpus", "family rows"])
@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": "\\ud800"}', "1" * 5000, "{"], ids=range(4))
def test_odd_rows_are_named(tmp_path: Path, reader: str, line: str) -> None:
    """A row that is no JSON that could be written again is refused with its line."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "question": "q", "answer": "b"}\n' + line + "\n")
    with pytest.raises(InputError) as error:
        ROWS[reader](path)
    assert error.value.where.endswith("rows.jsonl, line 2")


def test_lines_are_the_files(tmp_path: Path) -> None:
    """Lines end at a line feed alone: other ends that a text may hold are part of it."""
    (tmp_path / "x").write_bytes("a\u2028b\r\n\n\x0bc".encode())
    assert list(read_lines(tmp_path / "x")) == ["a\u2028b\r", "", "\x0bc"]


@pytest.mark.parametrize("name", ["config.json", INDEX_NAME])
@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_a_models_small_files_are_never_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    """A config or an index that is a FIFO, a device or a terabyte of nothing is refused at once."""
    model = write_model(tmp_path / "m", shards=2)
    (model / name).unlink()
    if kind == "pipe":
        os.mkfifo(model / name)
    elif kind == "device":
        (model / name).symlink_to("/dev/zero")
    else:
        (model / name).touch()
        os.truncate(model / name, 1 << 40)
    with pytest.raises(InputError) as error:
        read_directory(ModelRef(str(model)), model)
    assert error.value.where == str(model / name)


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "config.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "lost"])
def test_a_model_to_load_has_plain_files(tmp_path: Path, name: str, kind: str) -> None:
    """Before a library loads a model, to score or train it, a FIFO, a device or a link to nowhere among its
    files is refused: the library would wait for ever, or go without.
    """
    model = write_model(tmp_path / "m", tokenizer=True)
    (model / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(model / name)
    else:
        (model / name).symlink_to("/dev/zero" if kind == "device" else "gone")
    for look in (lambda: describe_model(model, Digests()), lambda: check_plain_files(model)):
        with pytest.raises(InputError) as error:
            look()
        assert error.value.where == str(model / name)


def test_infinity_in_a_config_is_merged_and_loads(tmp_path: Path) -> None:
    """A base whose config holds Infinity, as Mamba2's do, is planned, merged and loads with that value."""
    base, experts = write_family(tmp_path, experts=2)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "time_step_limit": [0.0, math.inf]}))
    assert "Infinity" in (base / "config.json").read_text()
    merge(write_config(tmp_path / "m.json", "ties", base, experts), tmp_path / "out")
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").time_step_limit == [0.0, math.inf]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.state_dict().keys() >= tensors(tmp_path / "out").keys()


@pytest.mark.parametrize("value", ['"\\ud800"', "9" * 5000, "[" * 5000 + "]" * 5000], ids=range(3))
def test_json_that_cannot_be_written_again(tmp_path: Path, value: str) -> None:
    """A config of half surrogates, endless numbers or deep nesting is refused with its file."""
    model = write_model(tmp_path / "m")
    (model / "config.json").write_text(f'{{"x": {value}}}')
    with pytest.raises(InputError) as error:
        read_directory(ModelRef(str(model)), model)
    assert error.value.where == str(model / "config.json") and error.value.found
