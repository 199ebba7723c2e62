"""Hub repositories against a Hub on the loopback interface, online, offline and unreachable."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.checkpoint.header import read_header
from tests.helpers.hub import HubServer, Repository, ask
from tests.helpers.models import write_model

LARGE, SMALL, GATED, PLAIN, OLD, WIDE = (letter * 40 for letter in "abcdef")
LONG_NAMES = [f"a.very.long.name.of.tensor.number.{i:06d}" + "x" * 100 for i in range(4000)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large model in shards of megabytes, a small one in one file, one of a long header, one of pickles."""
    root = tmp_path_factory.mktemp("hub")
    write_model(root / "large", shards=2, vocab=2048, hidden=256, tokenizer=True)
    (root / "large" / "README.md").write_text("not wanted")
    (root / "large" / "training_args.bin").write_bytes(b"not wanted")
    write_model(root / "small", extra={"ids": torch.arange(3)})
    write_model(root / "wide", extra={name: torch.zeros(1) for name in LONG_NAMES})
    (root / "old").mkdir()
    (root / "old" / "pytorch_model.bin").write_bytes(b"x")
    (root / "old" / "config.json").write_text("{}")
    return root


@pytest.fixture
def hub(models: Path) -> Iterator[HubServer]:
    """A Hub that serves them all, the small one also gated and also without ranged reads."""
    with serve(models) as server:
        yield server


def serve(models: Path) -> HubServer:
    return HubServer(
        {
            "acme/large": Repository(models / "large", LARGE),
            "small": Repository(models / "small", SMALL),
            "acme/gated": Repository(models / "small", GATED, gated=True),
            "acme/plain": Repository(models / "small", PLAIN, ranges=False),
            "acme/old": Repository(models / "old", OLD),
            "acme/wide": Repository(models / "wide", WIDE),
        }
    )


@pytest.fixture(scope="module")
def answers(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process answers to many references, by reference."""
    references = ["small", f"small@{SMALL}", "small@v9", "a..b/c", "acme/lrage"]
    references += ["acme/gated", "acme/plain", "acme/old", "acme/wide"]
    requests = [dict(zip(("path", "revision"), text.split("@"), strict=False)) for text in references]
    with serve(models) as server:
        given = ask(server.url, tmp_path_factory.mktemp("home"), *requests)
    return dict(zip(references, given, strict=True))


def test_planning_reads_headers_and_fetching_keeps_the_plan(
    hub: HubServer, models: Path, tmp_path: Path
) -> None:
    """The remote index says what the files say, costs part of their bytes, and holds after the download."""
    planned, *_ = ask(hub.url, tmp_path, {"path": "acme/large"})
    shards = sorted((models / "large").glob("*.safetensors"))
    for shard in shards:
        assert 0 < hub.sent_bytes[shard.name] < shard.stat().st_size / 2
    assert hub.sent_bytes["README.md"] == hub.sent_bytes["training_args.bin"] == 0
    assert planned["commit"] == LARGE
    assert [file[1:] for file in planned["files"]] == [
        [shard.stat().st_size, read_header(str(shard)).digest, 0] for shard in shards
    ]
    assert not any(Path(file[0]).exists() for file in planned["files"])
    fetched, *_ = ask(hub.url, tmp_path, {"path": "acme/large", "fetch": True})
    assert {**planned, "files": ""} == {**fetched, "files": ""}
    for (path, size, digest, mtime_ns), before in zip(fetched["files"], planned["files"], strict=True):
        assert [path, size, digest] == before[:3]
        assert mtime_ns > 0
    assert [Path(file[0]).read_bytes() for file in fetched["files"]] == [
        shard.read_bytes() for shard in shards
    ]
    assert (Path(fetched["directory"]) / "tokenizer.json").is_file()
    assert not (Path(fetched["directory"]) / "README.md").exists()


def test_a_long_header_takes_a_second_read(answers: dict[str, Any], models: Path) -> None:
    """A header longer than the first read is read to its end."""
    assert set(LONG_NAMES) < set(answers["acme/wide"]["tensors"])
    header = read_header(str(models / "wide" / "model.safetensors"))
    assert answers["acme/wide"]["files"][0][2] == header.digest


def test_a_name_without_an_owner_and_a_pinned_commit(answers: dict[str, Any]) -> None:
    """`name` alone is a repository too, and a commit may be asked for as the revision."""
    by_name, by_commit = answers["small"], answers[f"small@{SMALL}"]
    assert by_name["commit"] == by_commit["commit"] == SMALL
    assert by_name["tensors"] == by_commit["tensors"]
    assert by_name["tensors"]["ids"][:2] == ["int64", [3]]


def test_offline_uses_the_cache_and_only_that(hub: HubServer, tmp_path: Path) -> None:
    """In offline mode what was fetched is found, what was only planned or never seen is a clear error."""
    online = ask(hub.url, tmp_path, {"path": "small", "fetch": True}, {"path": "acme/large"})
    sent = hub.sent_bytes.copy()
    fetched, planned, unseen = ask(
        hub.url, tmp_path, {"path": "small"}, {"path": "acme/large"}, {"path": "acme/x"}, HF_HUB_OFFLINE="1"
    )
    assert fetched == online[0]
    for answer in (planned["error"], unseen["error"]):
        assert "offline mode is on" in answer["what"]
        assert answer["where"] == str(tmp_path / "hub")
        assert "HF_HUB_OFFLINE" in answer["hint"]
    assert planned["error"]["found"] == "config and tokenizer only"
    assert hub.sent_bytes == sent


def test_a_variant_in_the_cache_is_not_taken_for_the_model(hub: HubServer, tmp_path: Path) -> None:
    """Where another weight file was fetched before, the listing decides which is the model."""
    model = write_model(tmp_path / "two")
    save_file({"half": torch.zeros(2)}, model / "model.fp16.safetensors")
    hub.repositories["acme/two"] = Repository(model, "9" * 40)
    snapshot = tmp_path / "home" / "hub" / "models--acme--two" / "snapshots" / ("9" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(model / "model.fp16.safetensors", snapshot)
    (answer,) = ask(hub.url, tmp_path / "home", {"path": "acme/two"})
    assert "half" not in answer["tensors"]
    assert [Path(file[0]).name for file in answer["files"]] == ["model.safetensors"]


def test_without_a_network_the_cache_serves_or_the_error_says_so(hub: HubServer, tmp_path: Path) -> None:
    """With nobody listening, a fetched model is still found and another one is an error about the network."""
    ask(hub.url, tmp_path, {"path": "small", "fetch": True})
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cached, absent = ask(dead, tmp_path, {"path": "small"}, {"path": "acme/large"})
    assert cached["commit"] == SMALL
    assert absent["error"]["what"] == '"acme/large" is no local directory, and the Hub cannot be reached'
    assert absent["error"]["where"] == f"{dead}/acme/large"
    assert "check the network" in absent["error"]["hint"]
    assert absent["error"]["found"]


def test_what_the_hub_refuses_is_explained(answers: dict[str, Any]) -> None:
    """A missing or gated repository, a missing revision and a bad name each have their own error and hint."""
    missing, gated = answers["acme/lrage"]["error"], answers["acme/gated"]["error"]
    assert missing["what"].startswith('"acme/lrage" is neither a local directory nor a Hub repository')
    assert "log in" in missing["hint"]
    assert gated["what"] == 'repository "acme/gated" is gated and this account has no access'
    assert "ask for access" in gated["hint"]
    assert answers["small@v9"]["error"]["what"] == 'repository "small" has no revision "v9"'
    assert answers["a..b/c"]["error"]["what"] == '"a..b/c" is neither a directory nor a repository name'


def test_a_server_without_ranges_is_refused(answers: dict[str, Any]) -> None:
    """A server that answers a ranged read with the whole file is told, not trusted."""
    error = answers["acme/plain"]["error"]
    assert "ranged reads" in error["what"]
    assert error["found"] == "status 200"


def test_a_repository_in_another_format_is_refused(answers: dict[str, Any]) -> None:
    """The listing of a repository is judged like a directory's: pickles are refused with a way out."""
    error = answers["acme/old"]["error"]
    assert error["what"] == "the weights are PyTorch pickles, which is not read yet"
    assert error["where"] == f"acme/old@{OLD}"


def test_a_file_that_is_not_what_was_planned_is_refused(hub: HubServer, models: Path, tmp_path: Path) -> None:
    """Weights that arrive with another header than the plan was made from stop the merge."""
    small = models / "small" / "model.safetensors"
    before = small.read_bytes()
    other = write_model(tmp_path / "other", layers=1)
    request = {"path": "small", "fetch": True, "swap": [str(other / "model.safetensors"), str(small)]}
    try:
        (answer,) = ask(hub.url, tmp_path / "home", request)
    finally:
        small.write_bytes(before)
    assert answer["error"]["what"] == "a fetched file is not the one that was described before"


def test_tensors_are_compared_where_they_lie(hub: HubServer, models: Path, tmp_path: Path) -> None:
    """Of a repository that is not here the ranges of two tensors are read, no file is fetched."""
    pairs = [["lm_head.weight", "lm_head.weight"], ["lm_head.weight", "model.embed_tokens.weight"]]
    (found,) = ask(hub.url, tmp_path, {"path": "acme/large", "same": pairs})
    assert found["same"] == [True, False]
    assert all(file[3] == 0 for file in found["files"])
