"""mergekit's YAML as mergekit 0.1.5 reads it (observed by running it), and what we say of what we ignore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.load import parse_config
from pipeline.config.merge import MergeConfig, ModelEntry, Rule, default_of, experts_of
from pipeline.config.parameters import knobs_of
from pipeline.errors import ConfigError
from pipeline.methods import CATALOGUE, load_method
from pipeline.values import ModelRef
from tests.helpers.toy_methods import DELTAS, MEAN, PAIR, WEIGHT, toys

pytestmark = pytest.mark.usefixtures("toys")
__all__ = ["toys"]

WHOLE = """
merge_method: ties
base_model: org/base@main
models:
  - model: org/base@main
  - model: org/math
    parameters:
      density: [1, 0.7, 0.1]
      weight: 1.0
  - model: org/code
    parameters:
      density: 0.5
      weight:
        - filter: mlp
          value: [0, 0.3]
        - value: 0
parameters:
  normalize: true
  int8_mask: true
dtype: torch.float16
out_dtype: bfloat16
"""


def parse(text: str) -> MergeConfig:
    """The config of a YAML text."""
    return parse_config(yaml.safe_load(text), "m.yaml")


def names(config: MergeConfig) -> list[str]:
    """The experts' references."""
    return [str(entry.model) for entry in experts_of(config, load_method(config.merge_method))]


def test_a_whole_config() -> None:
    """Every part of a usual mergekit file is read, unchanged, into its typed place."""
    assert parse(WHOLE) == MergeConfig(
        merge_method="ties",
        base_model=ModelRef("org/base", "main"),
        models=(
            ModelEntry(ModelRef("org/base", "main")),
            ModelEntry(ModelRef("org/math"), {"density": (Rule((1.0, 0.7, 0.1)),), "weight": (Rule(1.0),)}),
            ModelEntry(
                ModelRef("org/code"),
                {"density": (Rule(0.5),), "weight": (Rule((0.0, 0.3), "mlp"), Rule(0.0))},
            ),
        ),
        parameters={"normalize": (Rule(True),)},
        dtype="float16",
        out_dtype="bfloat16",
    )
    assert parse(WHOLE).source == "m.yaml"
    assert names(parse(WHOLE)) == ["org/math", "org/code"]
    assert len(parse(WHOLE).notes) == 1 and "int8_mask" in parse(WHOLE).notes[0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes(dtype: str) -> None:
    """The four float types are accepted with and without torch's prefix; nothing means nothing."""
    for written in (dtype, f"torch.{dtype}"):
        config = parse(
            f"{{merge_method: linear, models: [{{model: a}}], parameters: {{weight: 1}}, dtype: {written}}}"
        )
        assert (config.dtype, config.out_dtype) == (dtype, None)


def test_null_is_absent() -> None:
    """A key without a value is as good as no key, also for what is not supported yet."""
    plain = parse("{merge_method: linear, models: [{model: a}], parameters: {weight: 1}}")
    keys = (
        "base_model: null, dtype: null, out_dtype: null, slices: null, tokenizer: null, chat_template: null"
    )
    assert (
        parse(f"{{merge_method: linear, models: [{{model: a}}], parameters: {{weight: 1}}, {keys}}}") == plain
    )


def test_a_listed_base_is_no_expert() -> None:
    """Methods that take deltas leave a listed base out, need no weight of it, and note one that is given."""
    models = "[{model: b%s}, {model: a, parameters: {weight: 1}}]"
    text = f"{{merge_method: toy_deltas, base_model: b, models: {models}}}"
    bare, weighted = parse(text % ""), parse(text % ", parameters: {weight: 9}")
    assert names(bare) == names(weighted) == ["a"]
    assert bare.notes == ()
    assert len(weighted.notes) == 1 and weighted.notes[0].startswith("m.yaml: models[0].parameters: not used")


def test_a_base_written_as_map_and_text_is_one_base() -> None:
    """The base is recognised among the models by its meaning, not by the form it is written in."""
    config = parse(
        "{merge_method: toy_deltas, base_model: {model: {path: b}}, parameters: {weight: 1},"
        " models: [{model: b}, {model: a}]}"
    )
    assert names(config) == ["a"]


def test_the_base_of_an_average_is_an_input() -> None:
    """A listed base keeps its place; one that is not comes last with the weight of all, and a note."""
    listed = parse(
        "{merge_method: toy_mean, base_model: b, models: [{model: b}, {model: a}], parameters: {weight: 1}}"
    )
    assert names(listed) == ["b", "a"] and listed.notes == ()
    unlisted = parse("{merge_method: toy_mean, base_model: b, models: [{model: a}], parameters: {weight: 1}}")
    assert names(unlisted) == ["a", "b"]
    assert len(unlisted.notes) == 1 and unlisted.notes[0].startswith("m.yaml: base_model: ")
    assert names(parse("{merge_method: toy_mean, models: [{model: a}], parameters: {weight: 1}}")) == ["a"]


def test_number_of_experts() -> None:
    """The count a method declares is of experts: a listed base does not add to it."""
    models = "[{model: b}, {model: a}, {model: c}]"
    text = f"{{merge_method: toy_pair, base_model: b, models: {models}, parameters: {{t: 0.5}}}}"
    assert names(parse(text)) == ["a", "c"]


def test_paper_semantics_supply_what_mergekit_requires() -> None:
    """A knob that only the paper has a default for is required under mergekit's semantics alone."""
    text = "{merge_method: toy_deltas, base_model: b, models: [{model: a}], parameters: {semantics: %s}}"
    assert parse(text % "paper").semantics == "paper"
    with pytest.raises(ConfigError) as caught:
        parse(text % "mergekit")
    assert caught.value.where == "m.yaml: models[0].parameters.weight"


def test_defaults_by_semantics() -> None:
    """The paper's default holds under its semantics where it differs, also when it is false or zero."""
    assert [default_of(WEIGHT, name) for name in ("mergekit", "paper")] == [None, 1.0]
    density = DELTAS.knob("density")
    assert density and [default_of(density, name) for name in ("mergekit", "paper")] == [1.0, 0.2]
    normalize = MEAN.knob("normalize")
    assert normalize and [default_of(normalize, name) for name in ("mergekit", "paper")] == [True, True]
    other = replace(normalize, paper=False)
    assert [default_of(other, name) for name in ("mergekit", "paper")] == [True, False]


def test_paths_and_names_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One directory written in two ways is one model, a link is another; on the Hub revisions differ."""
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("link").symlink_to("a")
    text = "{merge_method: linear, models: [{model: %s}, {model: %s}], parameters: {weight: 1}}"
    for one, other in (("a", "./a"), ("a", tmp_path / "a"), ("org/m", "org/m"), ("org/m@x", "org/m@x")):
        with pytest.raises(ConfigError) as caught:
            parse(text % (one, other))
        assert caught.value.where == "m.yaml: models[1].model" and "listed twice" in caught.value.what
    for one, other in (("a", "link"), ("org/m", "org/m@x"), ("org/m", "org/n")):
        assert names(parse(text % (one, other))) == [one, other]


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_declared_defaults_are_values(name: str) -> None:
    """Every default a method declares, mergekit's or the paper's, is a value its own knob accepts."""
    method = load_method(name)
    for knob in knobs_of(method).values():
        assert (knob.kind == "choice") == bool(knob.choices), knob.name
        for default in (knob.default, knob.paper):
            data: dict[str, Any] = {"merge_method": name, "models": [{"model": "a"}], "base_model": "b"}
            data["parameters"] = {"semantics": "paper", "weight": 1.0}
            if default is not None:
                data["parameters"][knob.name] = default
                value = parse_config(data).parameters[knob.name][0].value
                assert value == default and type(value) is type(default), knob.name


def test_notes_do_not_change_between_readings() -> None:
    """Reading the same text twice gives the same notes in the same order."""
    text = WHOLE.replace(
        "- model: org/base@main", "- {model: org/base@main, parameters: {weight: 2, int8_mask: 1}}"
    )
    assert parse(text).notes == parse(text).notes
    assert [note.split(":")[1].split()[0] for note in parse(text).notes] == [
        "int8_mask",
        "models[0].parameters",
    ]


def test_experts_of_an_optional_base() -> None:
    """Without a base every model is an expert."""
    config = MergeConfig("toy_pair", (ModelEntry(ModelRef("a")), ModelEntry(ModelRef("b"))))
    assert experts_of(config, PAIR) == list(config.models)
