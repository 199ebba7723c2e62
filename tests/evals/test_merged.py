"""Merge configs in the place of models: scored in the worker's memory, with the written merge's scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from evals.content import Digests
from evals.fanout import evaluate
from evals.harness import backend, score_part
from evals.harness.backend import load_lm
from evals.harness.parts import joined
from evals.merges import describe_merges, is_config, together
from evals.models import describe_model
from evals.request import make_request
from evals.setting import Setting
from evals.suites import Suite
from pipeline.errors import InputError
from pipeline.work.holding import merge_in_memory
from tests.evals.test_harness import by_lm_eval
from tests.helpers.architectures import write_architecture
from tests.helpers.broken import spoil
from tests.helpers.inline import InlineExecutor
from tests.helpers.merging import merge, write_config
from tests.helpers.models import read_tensors, write_model


@pytest.fixture(scope="module")
def family(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A folder and three experts of `home`'s base in it."""
    folder = tmp_path_factory.mktemp("merged")
    base = home / "base"
    return folder, [write_model(folder / f"e{n}", seed=20 + n, base=base, delta=0.1) for n in range(3)]


@pytest.mark.parametrize("setting", ["linear", "ties", "ties-model", "dare_ties"])
def test_a_merge_in_memory_scores_as_the_written_one(
    home: Path, suite: Suite, family: tuple[Path, list[Path]], tmp_path: Path, setting: str
) -> None:
    """Every score of a config is that of the model it would write, and it writes no model."""
    config = write_config(tmp_path / "merge.json", setting, home / "base", family[1])
    merge(config, tmp_path / "written")
    request = make_request([config, tmp_path / "written"], [suite.file])
    before = set(tmp_path.iterdir())
    found = evaluate(request.pairs, InlineExecutor, tmp_path / "out", Setting())
    assert not found.failures and set(tmp_path.iterdir()) - before == {tmp_path / "out"}
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    half = len(found.records) // 2
    for held, written in zip(found.records[:half], found.records[half:], strict=True):
        assert (held.task, held.value, held.items) == (written.task, written.value, written.items)
        assert held.method == written.method == setting.split("-")[0]
    assert len({one.value for one in found.records}) > 2


@pytest.mark.parametrize("kind", ["gemma3", "qwen3.5", "t5", "bart"])
def test_any_architecture_scores_in_memory_as_written(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Checkpoints of several modalities and encoders with decoders: the config's scores are the written
    merge's, and lm-eval's own, bit for bit.
    """
    base = write_architecture(tmp_path / "base", kind)
    experts = [write_architecture(tmp_path / f"e{n}", kind, seed=n, near=base) for n in (1, 2)]
    config = write_config(tmp_path / "merge.json", "task_arithmetic", base, experts)
    merge(config, tmp_path / "written")
    request = make_request([config, tmp_path / "written"], [suite.file])
    found = evaluate(request.pairs, InlineExecutor, tmp_path / "out", Setting(dtype="float32"))
    assert not found.failures
    half = len(found.records) // 2
    for held, written in zip(found.records[:half], found.records[half:], strict=True):
        assert (held.task, held.value, held.items) == (written.task, written.value, written.items)
    assert len({one.value for one in found.records}) > 2
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    for task, record in zip(request.suites[0].tasks, found.records, strict=False):
        theirs = by_lm_eval(tmp_path / "written", task, tmp_path, dtype="float32")
        assert record.value == theirs[f"{task.metric},{task.filter}"]


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_with_its_decoder_answers_in_parts_as_whole(
    suite: Suite, tmp_path: Path, kind: str
) -> None:
    """However many workers share a task, an encoder-decoder's answers are those of one worker."""
    model = describe_model(write_architecture(tmp_path / "model", kind), Digests())
    for task in suite.tasks:
        setting = Setting(batch_size="5", dtype="float32")
        whole = score_part(model, task, setting, 0, 1)
        parts = [score_part(model, task, setting, part, 3) for part in range(3)]
        assert joined([part.answers for part in parts]) == whole.answers


def test_a_moved_merge_keeps_its_digest(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that config and models lie in is no part of what a merge is known by; their weights are."""
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    shutil.copytree(home / "base", first / "base")
    write_model(first / "expert", seed=3, base=home / "base", delta=0.1)
    write_config(first / "merge.json", "task_arithmetic", Path("base"), [Path("expert")])
    shutil.copytree(first, second)
    shutil.copytree(first, third)
    write_model(third / "expert", seed=4, base=home / "base", delta=0.1)
    found = []
    for folder in (first, second, third):
        monkeypatch.chdir(folder)
        (model,) = describe_merges(Path("merge.json"), Digests())
        found.append(model.digest)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_a_merge_in_memory_generates_as_the_written_one(
    home: Path, suite: Suite, tmp_path: Path, name: str
) -> None:
    """What the base says of how to generate, in its own file or in an old config, holds for its merges."""
    base = shutil.copytree(home / "base", tmp_path / "base")
    settings = json.loads((base / name).read_text()) if (base / name).exists() else {}
    (base / name).write_text(json.dumps({**settings, "repetition_penalty": 7.0, "eos_token_id": [2, 5]}))
    config = write_config(tmp_path / "merge.json", "ties", base, [home / "expert"])
    merge(config, tmp_path / "written")
    written = load_lm(describe_model(tmp_path / "written", Digests()), Setting()).model.generation_config
    held = load_lm(describe_merges(config, Digests())[0], Setting()).model.generation_config
    assert held.to_dict() == written.to_dict() and held.repetition_penalty == 7.0
    request = make_request([config, tmp_path / "written"], [suite.file], tasks=["free"])
    setting = Setting(dtype="float32")
    answers = [score_part(model, task, setting, 0, 1).answers for model, task in request.pairs]
    assert answers[0] == answers[1]


def test_merges_of_common_experts_are_computed_together(
    home: Path, suite: Suite, family: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Configs over the same experts on one worker are one computation, with the scores each has alone."""
    calls: list[int] = []

    def counted(plans: Any) -> Any:
        calls.append(len(plans))
        return merge_in_memory(plans)

    monkeypatch.setattr(backend, "merged_together", counted)
    configs = [
        write_config(tmp_path / f"{name}.json", name, home / "base", family[1])
        for name in ("linear", "ties", "task_arithmetic")
    ]
    configs.append(write_config(tmp_path / "two.json", "ties", home / "base", family[1][:2]))
    alone = []
    for number, config in enumerate(configs):
        request = make_request([config], [suite.file], tasks=["pick", "surprise"])
        alone += evaluate(request.pairs, InlineExecutor, tmp_path / f"out{number}", Setting()).records
    assert calls == [1, 1, 1, 1]
    calls.clear()
    request = make_request(configs, [suite.file], tasks=["pick", "surprise"])
    found = evaluate(request.pairs, InlineExecutor, tmp_path / "grouped", Setting())
    assert calls == [4]
    assert [one.items for one in found.records] == [one.items for one in alone]


def test_documents_of_one_config_are_models_of_their_own(
    home: Path, suite: Suite, family: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    """A config of several documents is as many models, named by them, with the scores of single configs; a
    base is one model.
    """
    configs = [
        write_config(tmp_path / f"{name}.json", name, home / "base", family[1]) for name in ("linear", "ties")
    ]
    documents = [{"name": config.stem, **json.loads(config.read_text())} for config in configs]
    several = tmp_path / "several.yaml"
    several.write_text(yaml.safe_dump_all(documents))
    request = make_request([several], [suite.file], tasks=["pick"])
    assert [model.label for model in request.models] == ["linear", "ties"]
    alone = make_request(configs, [suite.file], tasks=["pick"])
    assert [model.digest for model in request.models] == [model.digest for model in alone.models]
    with pytest.raises(InputError, match="one model"):
        make_request([configs[0]], [suite.file], tasks=["pick"], base=several)


@pytest.mark.parametrize("setting", ["linear", "ties", "ties-model"])
def test_tensors_without_elements_are_merged_too(tmp_path: Path, setting: str) -> None:
    """A checkpoint's empty tensor is in the merge in memory, in its shape, as it is in the written one."""
    extra = {"empty": torch.zeros(0, 4)}
    base = write_model(tmp_path / "base", extra=extra)
    experts = [write_model(tmp_path / f"e{n}", base=base, seed=1 + n) for n in range(2)]
    config = write_config(tmp_path / "merge.json", setting, base, experts)
    merge(config, tmp_path / "written")
    described = describe_merges(config, Digests())[0].merge
    assert described is not None
    held = merge_in_memory(described.plans)[0]
    written = read_tensors(tmp_path / "written")
    assert held["empty"].shape == (0, 4) and held.keys() == written.keys()
    assert all(torch.equal(held[name], tensor) for name, tensor in written.items())


def test_groups_fit_workers_and_memory(home: Path, family: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Merges are spread over the workers, no group is larger than its memory, and order is kept."""
    configs = [
        write_config(tmp_path / f"{number}.json", "ties", home / "base", family[1], dtype=dtype)
        for number, dtype in enumerate(["float32", "bfloat16", "float16", "float64"])
    ]
    models = [describe_merges(config, Digests())[0] for config in configs]

    def sizes(workers: int, memory_bytes: int) -> list[int]:
        found = together(models, workers, memory_bytes)
        assert [model.digest for model in found] == [model.digest for model in models]
        return [model.merge.members for model in found if model.merge is not None]

    assert sizes(1, 1 << 30) == [4] * 4
    assert sizes(2, 1 << 30) == [2] * 4
    assert sizes(8, 1 << 30) == [1] * 4
    assert sizes(1, 1) == [1] * 4


def test_a_changed_expert_is_another_merge(home: Path, tmp_path: Path) -> None:
    """The identity of a merge follows its experts' bytes and its settings, not its file's name."""
    expert = write_model(tmp_path / "e", seed=30, base=home / "base")
    config = write_config(tmp_path / "a.json", "ties", home / "base", [expert, home / "expert"])
    first = describe_merges(config, Digests())[0].digest
    renamed = write_config(tmp_path / "b.json", "ties", home / "base", [expert, home / "expert"])
    assert describe_merges(renamed, Digests())[0].digest == first
    write_model(tmp_path / "e", seed=31, base=home / "base")
    assert describe_merges(config, Digests())[0].digest != first
    assert is_config(config) and not is_config(home / "base")


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json"])
def test_a_changed_file_beside_the_weights_is_another_merge(home: Path, tmp_path: Path, name: str) -> None:
    """The identity of a merge follows the tokenizer and generation settings that it would be scored with."""
    base = shutil.copytree(home / "base", tmp_path / "base")
    config = write_config(tmp_path / "a.json", "ties", base, [home / "expert"])
    first = describe_merges(config, Digests())[0].digest
    changed = json.loads((base / name).read_text()) if (base / name).exists() else {}
    (base / name).write_text(json.dumps({**changed, "eos_token_id": [2, 5]}))
    assert describe_merges(config, Digests())[0].digest != first


def test_a_merge_in_memory_that_is_not_finite_is_said(
    home: Path, suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A NaN that no logit shows is warned of once a merge, with the tensor and the expert; scores stay. One
    that reaches the logits leaves no score, as ever. A clean merge says nothing.
    """
    unread = write_model(tmp_path / "unread", seed=40, base=home / "base", delta=0.1)
    spoil(unread, "model.embed_tokens.weight", {3 * 32: float("nan")})  # the unknown token
    ruined = write_model(tmp_path / "ruined", seed=41, base=home / "base", delta=0.1)
    spoil(ruined, "model.norm.weight", {0: float("nan")})
    scored = {}
    for name, expert in (("clean", home / "expert"), ("unread", unread), ("ruined", ruined)):
        config = write_config(tmp_path / f"{name}.json", "ties", home / "base", [expert])
        request = make_request([config], [suite.file], tasks=["pick", "surprise"])
        found = evaluate(request.pairs, InlineExecutor, tmp_path / f"{name}-scores", Setting())
        scored[name] = (len(found.records), len(found.failures), capsys.readouterr().err.splitlines())
    assert scored["clean"] == (2, 0, [])
    warned = 'warning: {}: tensor "{}": 1 element is NaN or infinite, first in model "{}"'
    unread_line = warned.format("unread.json", "model.embed_tokens.weight", unread)
    assert scored["unread"] == (2, 0, [unread_line])
    assert scored["ruined"] == (0, 2, [warned.format("ruined.json", "model.norm.weight", ruined)])
