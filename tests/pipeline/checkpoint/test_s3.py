"""Models in an S3 bucket, against a bucket on the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.checkpoint import s3
from pipeline.checkpoint.index import read_directory
from pipeline.checkpoint.locate import fetch_weights, read_index
from pipeline.checkpoint.remote import FIRST_READ_BYTES
from pipeline.config.load import parse_config
from pipeline.config.place import Place
from pipeline.config.reference import read_reference, write_reference
from pipeline.errors import CheckpointError
from pipeline.plan.build import plan_merge
from pipeline.run import with_local_weights
from pipeline.values import ModelRef
from tests.helpers.bucket import REFUSED, Bucket
from tests.helpers.models import write_model

LARGE = ModelRef("s3://models/run@7/large")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket with a model in shards of megabytes and an expert of it; the cache is empty."""
    folder = tmp_path / "bucket"
    write_model(folder / "run@7" / "large", shards=2, vocab=2048, hidden=256, tokenizer=True)
    write_model(
        folder / "expert", shards=2, vocab=2048, hidden=256, base=folder / "run@7" / "large", delta=0.1
    )
    templates = folder / "run@7" / "large" / "additional_chat_templates"
    templates.mkdir()
    (templates / "tools.jinja").write_text("{{ tools }}")
    (folder / "run@7" / "large" / "README.md").write_text("not wanted")
    with Bucket("models", folder) as server:
        for name, value in server.variables(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        yield server


def test_planning_reads_headers_and_fetching_keeps_the_plan(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index says what the files say, costs part of their bytes, and holds after the download."""
    monkeypatch.setattr(s3, "_RANGE_BYTES", 300_000)
    here = tmp_path / "bucket" / "run@7" / "large"
    planned, local = read_index(LARGE), read_directory(ModelRef(str(here)), here)
    shards = [Path(file.path).name for file in local.files]
    sizes = {Path(file.path).name: file.size_bytes for file in local.files}
    assert all(0 < bucket.sent_bytes[shard] <= FIRST_READ_BYTES < sizes[shard] for shard in shards)
    assert bucket.sent_bytes["README.md"] == 0
    digests = [(file.size_bytes, file.header_digest) for file in local.files]
    assert [(file.size_bytes, file.header_digest) for file in planned.files] == digests
    assert [entry.spec for entry in planned.tensors.values()] == [
        entry.spec for entry in local.tensors.values()
    ]
    fetched = fetch_weights(planned)
    for file in fetched.files:
        assert Path(file.path).read_bytes() == (here / Path(file.path).name).read_bytes()
    assert fetched.tensors == planned.tensors and fetched.config == local.config
    beside = Path(fetched.directory) / "additional_chat_templates" / "tools.jinja"
    assert beside.read_text() == "{{ tools }}"
    before = bucket.sent_bytes.copy()
    assert fetch_weights(read_index(LARGE)).files == fetched.files
    assert all(bucket.sent_bytes[shard] == before[shard] for shard in shards)


def test_a_merge_takes_models_out_of_a_bucket(bucket: Bucket) -> None:
    """A config may name a bucket wherever it names a model; its weights are fetched before the work."""
    config = {
        "merge_method": "task_arithmetic",
        "base_model": str(LARGE),
        "models": [{"model": "s3://models/expert/", "parameters": {"weight": 1.0}}],
    }
    plan = with_local_weights(plan_merge(parse_config(config, "merge.yaml")))
    assert all(os.path.getsize(file.path) == file.size_bytes for one in plan.indexes for file in one.files)


def test_a_folder_may_hold_weights_alone(bucket: Bucket, tmp_path: Path) -> None:
    """An expert without config or tokenizer is planned and fetched; what is no model is refused unfetched."""
    alone, adapter = tmp_path / "bucket" / "alone", tmp_path / "bucket" / "adapter"
    write_model(alone)
    for file in alone.iterdir():
        if file.suffix != ".safetensors":
            file.unlink()
    (fetched,) = fetch_weights(read_index(ModelRef("s3://models/alone"))).files
    assert Path(fetched.path).read_bytes() == (alone / "model.safetensors").read_bytes()
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        read_index(ModelRef("s3://models/adapter"))
    assert bucket.sent_bytes["adapter_config.json"] == 0


def test_a_changed_model_is_another_one(bucket: Bucket, tmp_path: Path) -> None:
    """After a change in the bucket no old file is served; one during the download is an error."""
    before = read_index(LARGE)
    file = tmp_path / "bucket" / "run@7" / "large" / "config.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(CheckpointError, match="changed while") as error:
        fetch_weights(before)
    assert error.value.hint and not any(os.path.exists(one.path) for one in before.files)
    after = read_index(LARGE)
    assert after.commit != before.commit and after.directory != before.directory


@pytest.mark.parametrize(
    ("written", "account", "found"),
    [
        ("s3://models/runs/large", "somebody", "models/runs/large"),
        ("s3://nothing/large", "somebody", "bucket"),
        ("s3://models/expert", REFUSED, "ACCESS_DENIED"),
    ],
)
def test_what_cannot_be_read_is_named(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, account: str, found: str
) -> None:
    """A folder, bucket or account that does not do is one error with the place and what the client said."""
    for name, value in bucket.variables(tmp_path / "cache", account).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CheckpointError) as error:
        read_index(ModelRef(written))
    assert error.value.where == written and found in error.value.found
    assert "AWS_ACCESS_KEY_ID" in error.value.hint


def test_references_to_buckets_are_whole() -> None:
    """In a bucket's folder @ and + are letters; what is written reads back; a revision is refused."""
    ref = read_reference("s3://models/a+b@7", Place("merge.yaml"))
    assert ref == ModelRef("s3://models/a+b@7") and write_reference(ref) == ref.path
    with pytest.raises(CheckpointError, match="no revisions"):
        read_index(ModelRef("s3://models/a", "main"))
