"""Models elsewhere that lie: names that climb, bytes that are missing, answers that make no sense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkpoint import s3
from pipeline.checkpoint.choose import matches
from pipeline.checkpoint.index import read_weight_map
from pipeline.checkpoint.locate import fetch_weights, read_index
from pipeline.checkpoint.remote import read_promised
from pipeline.errors import CheckpointError
from pipeline.values import ModelRef
from tests.helpers.bucket import Bucket
from tests.helpers.hub import HubServer, Repository, ask
from tests.helpers.loopback import Handler, LoopbackServer
from tests.helpers.models import write_model

MODEL = ModelRef("s3://models/m")
COMMIT = "a" * 40


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket with a small model; the cache lies some folders deep."""
    write_model(tmp_path / "bucket" / "m", tokenizer=True)
    with Bucket("models", tmp_path / "bucket") as server:
        for name, value in server.variables(tmp_path / "a" / "b" / "cache").items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize(
    "name",
    [
        "../../../../../../pwned.py",
        "additional_chat_templates/../../../../../../pwned.jinja",
        "x/../pwned.tiktoken",
    ],
)
def test_a_key_that_climbs_is_refused(bucket: Bucket, tmp_path: Path, name: str) -> None:
    """No key of a bucket, whatever it matches, puts a file outside the model's own cache directory."""
    bucket.planted[f"m/{name}"] = b"raise SystemExit"
    with pytest.raises(CheckpointError, match="leave its directory"):
        read_index(MODEL)
    assert not list(tmp_path.rglob("pwned*"))


def test_patterns_match_part_by_part(bucket: Bucket) -> None:
    """A star never crosses a slash: what lies in a folder of the model is not taken for a file beside it."""
    bucket.planted["m/deep/code.py"] = b"pass"
    index = read_index(MODEL)
    assert not (Path(index.directory) / "deep").exists()
    assert matches("a.py", ["*.py"]) and not matches("a/b.py", ["*.py"])
    assert matches("t/x.jinja", ["t/*.jinja"]) and not matches("t/../x.jinja", ["t/*.jinja"])


@pytest.mark.parametrize(
    "name", ["m.safetensors\0", "../m.safetensors", "a/m.safetensors", "m\n.safetensors", 5]
)
def test_an_index_names_files_beside_it_only(tmp_path: Path, name: object) -> None:
    """What an index names is a plain file name, or it is refused."""
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(CheckpointError, match="no weight file of this directory"):
        read_weight_map(tmp_path / "index.json")


def test_a_short_read_is_asked_for_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that once sends half of what it promised costs a second request and no byte."""
    monkeypatch.setattr(s3, "_RANGE_BYTES", 300)
    bucket.cut_short.update({"model.safetensors": 1, "config.json": 1})
    index = read_index(MODEL)
    bucket.cut_short["model.safetensors"] = 2
    (file,) = fetch_weights(index).files
    assert Path(file.path).read_bytes() == (bucket.folder / "m" / "model.safetensors").read_bytes()
    for name in ("config.json", "tokenizer.json"):
        assert (Path(index.directory) / name).read_bytes() == (bucket.folder / "m" / name).read_bytes()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_read_that_stays_short_is_refused(bucket: Bucket, tmp_path: Path, name: str) -> None:
    """No file with a hole of zeros is ever kept: neither a small one, nor a header."""
    bucket.cut_short[name] = 10**9
    with pytest.raises(CheckpointError, match="bytes than it promised"):
        read_index(MODEL)
    assert not list(tmp_path.glob(f"a/**/{name}"))


def test_weights_that_stay_short_are_refused(bucket: Bucket, tmp_path: Path) -> None:
    """Weights of which a part never comes are an error, and no file of their size is left behind."""
    index = read_index(MODEL)
    bucket.cut_short["model.safetensors"] = 10**9
    with pytest.raises(CheckpointError, match="bytes than it promised"):
        fetch_weights(index)
    assert not list(tmp_path.glob("a/**/*.safetensors*"))


def test_reads_are_exact() -> None:
    """A read of a promised length returns that length or raises, for longer answers too."""
    assert read_promised(lambda start, size: b"x" * size, 3, 5, "here") == b"x" * 5
    for wrong in (4, 6, 0):
        with pytest.raises(CheckpointError, match="promised"):
            read_promised(lambda start, size, wrong=wrong: b"x" * wrong, 3, 5, "here")  # type: ignore[misc]


@pytest.mark.parametrize("key", ["m//config.json", "m/a//b.py"])
def test_a_key_that_the_client_cannot_read_is_an_error(bucket: Bucket, key: str) -> None:
    """What the S3 client itself chokes on is our error, with the place."""
    bucket.planted[key] = b"{}"
    with pytest.raises(CheckpointError) as error:
        read_index(MODEL)
    assert error.value.where == MODEL.path


class _Anything(Handler):
    """Answers every request with the same text."""

    def do_GET(self) -> None:
        body = self.served.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"[]",
        b"{}",
        b"5",
        b"",
        b'{"sha": 5}',
        b'{"sha": "../../../../evil", "siblings": []}',
        b'{"id": "a/b", "sha": "%s", "siblings": 5}' % COMMIT.encode(),
    ],
    ids=range(8),
)
def test_a_hub_that_answers_nonsense(tmp_path: Path, body: bytes) -> None:
    """A login page or other JSON in the place of a Hub's answers is one error; nothing is written."""
    with LoopbackServer(_Anything) as server:
        server.body = body  # type: ignore[attr-defined]
        (answer,) = ask(server.url, tmp_path / "a" / "b" / "home", {"path": "acme/m"})
    assert answer["error"]["where"] == f"{server.url}/acme/m" and answer["error"]["hint"]
    assert not list(tmp_path.rglob("*evil*"))


class _Committed(Handler):
    """Lists an empty repository, and calls a path its commit."""

    def do_GET(self) -> None:
        body = b"[]" if "/tree/" in self.path else b'{"id": "a/b", "sha": "../../../../evil", "siblings": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("revision", ["main", "refs/pr/1"])
def test_a_commit_is_one_whatever_revision_was_asked_for(tmp_path: Path, revision: str) -> None:
    """What a Hub calls the commit of a branch or a pull request is a commit, and never a path."""
    with LoopbackServer(_Committed) as server:
        (answer,) = ask(server.url, tmp_path / "a" / "home", {"path": "acme/m", "revision": revision})
    assert "commit of the repository" in answer["error"]["found"]


class _Climbing(Repository):
    """A repository whose listing holds a path that leaves it."""

    def files(self) -> list[str]:
        return [*super().files(), "../../../../pwned.py"]


def test_a_hub_listing_that_climbs(tmp_path: Path) -> None:
    """A path with `..` in a Hub's listing is refused, and no file is written outside the cache."""
    write_model(tmp_path / "m")
    (tmp_path / "pwned.py").write_text("")
    with HubServer({"acme/m": _Climbing(tmp_path / "m", COMMIT)}) as server:
        server.repositories["acme/m"].directory.joinpath("../../../../pwned.py")
        (answer,) = ask(server.url, tmp_path / "a" / "b" / "home", {"path": "acme/m"})
    assert "error" in answer
    assert list(tmp_path.rglob("pwned*")) == [tmp_path / "pwned.py"]


class _Silent(Handler):
    """Takes a request and answers nothing until its server is told to."""

    def do_GET(self) -> None:
        self.served.released.wait(60)

    do_HEAD = do_GET


def test_a_hub_that_never_answers(tmp_path: Path) -> None:
    """An API that takes requests and stays silent is given up in time."""
    import threading

    with LoopbackServer(_Silent) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        request: dict[str, Any] = {"path": "acme/m"}
        (answer,) = ask(server.url, tmp_path, request, HF_HUB_DOWNLOAD_TIMEOUT="1", HF_HUB_ETAG_TIMEOUT="1")
        server.released.set()  # type: ignore[attr-defined]
    assert "cannot be reached" in answer["error"]["what"]
