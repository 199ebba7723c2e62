"""Planning says what the inputs do not have in common beside their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import parse_config, to_dict
from pipeline.errors import CheckpointError, ConfigError
from pipeline.plan.build import plan_merge
from pipeline.plan.plan import MergePlan
from tests.helpers.models import write_family


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file, which may be new; None takes a key away."""
    table = json.loads(path.read_text()) if path.exists() else {}
    table |= changes
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


@pytest.fixture
def family(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A base and two experts that mean the same by their weights."""
    return write_family(tmp_path, experts=2, tokenizer=True)


def plan(family: tuple[Path, list[Path]], **top: Any) -> MergePlan:
    """Plan the sum of the experts' differences from the base."""
    base, experts = family
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in experts]
    data = {"merge_method": "task_arithmetic", "base_model": str(base), "models": models, **top}
    return plan_merge(parse_config(data))


def test_models_that_mean_the_same_get_no_note(family: tuple[Path, list[Path]]) -> None:
    """Inputs of one config and tokenizer, in whatever spelling, are merged without a word."""
    edit(family[1][0] / "config.json", rope_theta=10000.0, torch_dtype=None, dtype="float16")
    assert plan(family).notes == ()


def test_each_model_that_differs_gets_one_note_with_both_values(family: tuple[Path, list[Path]]) -> None:
    """A note names the model, the one whose config the merge gets, and every key with both values."""
    edit(family[1][1] / "config.json", rope_theta=1e6, num_key_value_heads=2, hidden_act="gelu")
    base, (_, second) = family
    (note,) = plan(family).notes
    assert note == (
        f'config of "{second}" differs from that of "{base}", which the merged model gets: '
        'num_key_value_heads 2 instead of 1; hidden_act "gelu" instead of "silu"; '
        "rope_parameters.rope_theta 1000000.0 instead of 10000.0"
    )


def test_without_a_base_the_first_model_is_the_measure(family: tuple[Path, list[Path]]) -> None:
    """A merge that has no base compares with the model whose config it takes."""
    base, experts = family
    edit(experts[1] / "config.json", rms_norm_eps=0.01)
    models = [{"model": str(path), "parameters": {"weight": 0.5}} for path in (base, experts[1])]
    (note,) = plan_merge(parse_config({"merge_method": "linear", "models": models})).notes
    assert note.endswith("rms_norm_eps 0.01 instead of 1e-05")


def test_another_type_of_model_is_refused_unless_mixing_is_allowed(
    family: tuple[Path, list[Path]],
) -> None:
    """Another `model_type` is an error naming both; `allow_mixed: true` makes it a note."""
    edit(family[1][0] / "config.json", model_type="mistral")
    with pytest.raises(CheckpointError) as caught:
        plan(family)
    assert caught.value.exit_code == 2
    assert caught.value.where.endswith("config.json: model_type")
    assert caught.value.expected.startswith("llama")
    assert caught.value.found == "mistral"
    assert "allow_mixed: true" in caught.value.hint
    assert 'model_type "mistral" instead of "llama"' in plan(family, allow_mixed=True).notes[0]


def test_mixing_is_written_only_where_it_is_allowed(family: tuple[Path, list[Path]]) -> None:
    """The switch is true or false, is part of the plan, and its absence leaves the config as it was."""
    allowed, plain = plan(family, allow_mixed=True), plan(family, allow_mixed=False)
    assert to_dict(allowed.config)["allow_mixed"] is True
    assert parse_config(to_dict(allowed.config)) == allowed.config
    assert "allow_mixed" not in to_dict(plain.config)
    assert allowed.fingerprint != plain.fingerprint
    with pytest.raises(ConfigError, match="neither true nor false"):
        plan(family, allow_mixed="yes")


def test_end_tokens_of_generation_are_named(family: tuple[Path, list[Path]]) -> None:
    """Default end tokens are compared, also where one model states them in its config alone."""
    edit(family[1][0] / "generation_config.json", eos_token_id=[2, 5])
    (note,) = plan(family).notes
    assert note.startswith(f'generation_config.json of "{family[1][0]}" differs')
    assert note.endswith("eos_token_id [2,5] instead of [2]")


def test_generation_defaults_written_out_are_no_difference(family: tuple[Path, list[Path]]) -> None:
    """A generation config that states what holds anyway differs in nothing; one that samples does."""
    (base, (first, second)) = family
    for path in (base, first, second):
        edit(path / "generation_config.json", eos_token_id=2, transformers_version=path.name)
    edit(first / "generation_config.json", eos_token_id=[2], temperature=1.0, do_sample=False)
    edit(second / "generation_config.json", do_sample=True)
    (note,) = plan(family).notes
    assert str(second) in note and note.endswith("do_sample true instead of false")


def test_a_model_without_a_config_is_named(family: tuple[Path, list[Path]]) -> None:
    """An expert without config.json cannot be compared, which is said."""
    (family[1][0] / "config.json").unlink()
    assert f'"{family[1][0]}" has no config.json' in plan(family).notes[0]


def test_what_cannot_be_read_of_an_expert_is_said_and_no_error(family: tuple[Path, list[Path]]) -> None:
    """A damaged file beside an expert's weights, which the merge does not need, is a note."""
    (family[1][0] / "generation_config.json").write_text("{")
    (note,) = plan(family).notes
    assert "cannot be compared" in note and "generation_config.json" in note


def test_names_in_notes_cannot_move_the_cursor(family: tuple[Path, list[Path]]) -> None:
    """Keys and values of a config are printed as printable text of bounded length."""
    edit(family[1][0] / "config.json", model_type="own", **{"\x1b[2Jkey": "\n" * 500})
    for path in (family[0], family[1][1]):
        edit(path / "config.json", model_type="own")
    (note,) = plan(family).notes
    assert note.isprintable() and len(note) < 1000
