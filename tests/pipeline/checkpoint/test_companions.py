"""What is put beside the weights, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pipeline.checkpoint.companions import (
    Companion,
    as_yaml,
    model_card,
    plan_companions,
    with_dtype,
    write_companions,
)
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.locate import read_index
from pipeline.errors import CheckpointError
from pipeline.values import ModelRef
from tests.helpers.models import write_model

WANTED = [
    "added_tokens.json",
    "additional_chat_templates/tool.jinja",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "spiece.model",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
]
UNWANTED = [
    "README.md",
    "optimizer.pt",
    "training_args.bin",
    "trainer_state.json",
    "modeling_own.py",
    "extra/tokenizer.json",
    "sub/vocab.json",
    ".hidden",
    "model.gguf",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with every kind of file beside it."""
    path = write_model(tmp_path / "model", shards=2)
    for name in WANTED + UNWANTED:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps({"from": name}))
    return path


def index_of(path: Path) -> CheckpointIndex:
    return read_index(ModelRef(str(path)))


def write(path: Path, out: Path, out_dtype: str | None = None) -> list[str]:
    """Copy a model's companions and return their names."""
    out.mkdir()
    write_companions(plan_companions(index_of(path), out_dtype=out_dtype), out)
    return sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())


def test_tokenizer_and_templates_are_copied_and_nothing_else(model: Path, tmp_path: Path) -> None:
    """The companions are config, generation config, tokenizer and templates, with the bytes of the source."""
    assert write(model, tmp_path / "out") == sorted([*WANTED, "config.json"])
    for name in WANTED:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


@pytest.mark.parametrize(
    ("auto_map", "copied"),
    [
        ({"AutoModel": "modeling_own.Own"}, True),
        ({"AutoTokenizer": ["tokenization_own.Own", None]}, True),
        ({"AutoModel": "acme/code--modeling_own.Own"}, False),
        ({}, False),
        ("modeling_own.Own", False),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_is_copied_where_it_is_pointed_to(
    auto_map: object, copied: bool, file: str, model: Path, tmp_path: Path
) -> None:
    """*.py files come along exactly when auto_map names a class in them; another repository's do not."""
    table = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps({**table, "auto_map": auto_map}))
    assert ("modeling_own.py" in write(model, tmp_path / "out")) is copied


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"torch_dtype": "float32"}, {"torch_dtype": "bfloat16"}),
        ({"dtype": "float32"}, {"dtype": "bfloat16"}),
        (
            {"dtype": "float32", "torch_dtype": "float16"},
            {"dtype": "bfloat16", "torch_dtype": "bfloat16"},
        ),
        ({"a": 1}, {"a": 1, "torch_dtype": "bfloat16"}),
        (
            {"dtype": "float32", "text_config": {"dtype": "float32"}, "vision_config": {"n": 1}},
            {"dtype": "bfloat16", "text_config": {"dtype": "bfloat16"}, "vision_config": {"n": 1}},
        ),
        (
            {"torch_dtype": "float32", "quantization_config": {"dtype": "int8"}},
            {"torch_dtype": "bfloat16", "quantization_config": {"dtype": "int8"}},
        ),
    ],
)
def test_the_config_states_the_stored_type(config: dict[str, object], expected: dict[str, object]) -> None:
    """Whichever key the config uses is corrected, nested ones too; the order of keys stays, the input too."""
    before = json.dumps(config)
    corrected = with_dtype(config, "bfloat16")
    assert list(corrected.items()) == list(expected.items())
    assert json.dumps(config) == before
    assert with_dtype(config, None) == config


def test_a_corrected_config_is_written_and_nothing_else_in_it_changes(model: Path, tmp_path: Path) -> None:
    """config.json differs from its source in the type alone."""
    write(model, tmp_path / "out", out_dtype="bfloat16")
    source = json.loads((model / "config.json").read_text())
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == source | {"torch_dtype": "bfloat16"}


def test_a_model_without_a_config_gives_none(model: Path, tmp_path: Path) -> None:
    """No config.json is invented."""
    (model / "config.json").unlink()
    assert "config.json" not in write(model, tmp_path / "out", out_dtype="bfloat16")


def test_a_source_that_is_gone_is_named(tmp_path: Path) -> None:
    """A companion whose source vanished after planning is an error naming it."""
    source = tmp_path / "gone" / "tokenizer.json"
    with pytest.raises(CheckpointError) as caught:
        write_companions([Companion("tokenizer.json", source=str(source))], tmp_path)
    assert caught.value.what == "tokenizer.json cannot be copied into the merged model"
    assert caught.value.where == str(source)


CONFIG = {
    "merge_method": "ties",
    "models": [
        {"model": "acme/math@v1", "parameters": {"weight": 0.5, "density": [0.2, 1e-05]}},
        {"model": "./odd: name #1", "parameters": {"weight": [{"value": 1, "filter": "mlp"}, {"value": 0}]}},
    ],
    "base_model": "acme/base",
    "parameters": {"normalize": True, "empty": {}, "none": None, "list": [], "nested": [[1, 2], [3]]},
    "odd": [
        "yes",
        "null",
        "1.5",
        "",
        "a\nb",
        "größe",
        "- x",
        "~",
        "```",
        "1e5",
        ".5",
        ".",
        "\x7f\u2028",
        "😀 x",
    ],
    "dtype": "bfloat16",
}


def test_yaml_says_what_the_data_says() -> None:
    """The block YAML we write is read back as the same data by a YAML reader."""
    assert yaml.safe_load(as_yaml(CONFIG)) == CONFIG


def test_the_card_has_what_the_hub_reads_and_what_people_read() -> None:
    """Front matter parses, the fenced config parses back, and method, models and version are told."""
    card = model_card(
        method="TIES, trimmed per tensor",
        base="acme/base",
        experts=["acme/math@v1", "./odd: name #1"],
        config=CONFIG,
        version="9.8.7",
        hub_models=["acme/base", "acme/math"],
    )
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": ["acme/base", "acme/math"],
        "library_name": "transformers",
        "tags": ["mergescale", "merge"],
    }
    fence = next(line for line in body.splitlines() if line.endswith("`yaml")).removesuffix("yaml")
    assert yaml.safe_load(body.split(f"{fence}yaml\n")[1].split(f"\n{fence}\n")[0]) == CONFIG
    for told in (
        "TIES, trimmed per tensor",
        "- `acme/base` (base)",
        "- `acme/math@v1`",
        "9.8.7",
        "merge of 2",
    ):
        assert told in body


def test_a_card_of_local_models_names_no_base_for_the_hub() -> None:
    """Without Hub repositories the front matter has no base_model, which the Hub would refuse."""
    card = model_card(method="linear", base=None, experts=["./a", "./b"], config={}, version="1")
    assert "base_model" not in yaml.safe_load(card.split("---\n", 2)[1])
    assert "(base)" not in card
