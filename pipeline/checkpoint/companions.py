"""What lies beside the weights: config, tokenizer, generation config, chat templates, code, model card.

One model gives them all (the base, else the first input). Planning reads names and small JSON files only;
writing copies bytes. Never copies weights, optimizer states or another model's card.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checkpoint.choose import CONFIG_NAME, COPIED, matches
from pipeline.checkpoint.files import atomic_write, read_json_object
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.synthetic import is_synthetic
from pipeline.errors import CheckpointError

TEMPLATES_DIRECTORY = "additional_chat_templates"
_DTYPE_KEYS = ("dtype", "torch_dtype")
_BARE = re.compile(r"(\./|[A-Za-z_/])[\w./@-]*")
#: Bare words that YAML 1.1 reads as something else than text.
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Companion:
    """One file of the output: its path there, and the file it is copied from or else its content."""

    name: str
    source: str | None = None
    content: bytes = b""


def plan_companions(model: CheckpointIndex, *, out_dtype: str | None) -> tuple[Companion, ...]:
    """The companions a model has to give, by name. Reads names and small JSON files only.

    out_dtype: torch's name of the type the output's weights are stored in, which config.json is to state;
    None leaves the config as it is.
    """
    directory = Path(model.directory)
    names = [name for name in _names(directory) if matches(name, COPIED)]
    if any(_has_own_code(table) for table in (model.config, *_tables(directory, names))):
        names += [name for name in _names(directory) if name.endswith(".py")]
    companions = [Companion(name, source=str(directory / name)) for name in names]
    if model.config:
        content = json.dumps(with_dtype(model.config, out_dtype), indent=2, ensure_ascii=False) + "\n"
        companions.append(Companion(CONFIG_NAME, content=content.encode()))
    return tuple(sorted(companions, key=lambda companion: companion.name))


def with_dtype(config: Mapping[str, Any], dtype: str | None) -> dict[str, Any]:
    """A copy of a config that states `dtype` under whichever key it uses, nested configs (text_config) too.

    A config without any such key gets `torch_dtype`, which every version of transformers reads.
    """
    corrected = dict(config) if dtype is None else _replace_dtype(config, dtype)
    if dtype is not None and not any(key in corrected for key in _DTYPE_KEYS):
        corrected["torch_dtype"] = dtype
    return corrected


def write_companions(companions: Iterable[Companion], directory: Path) -> None:
    """Write every companion into `directory`. Raises CheckpointError if a source cannot be read."""
    for companion in companions:
        content = companion.content
        if companion.source is not None:
            try:
                content = Path(companion.source).read_bytes()
            except OSError as error:
                raise CheckpointError(
                    f"{companion.name} cannot be copied",
                    where=companion.source,
                    found=error.strerror or str(error),
                    hint="check that the file is there and readable",
                ) from error
        path = directory / companion.name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)


def model_card(
    *,
    method: str,
    base: str | None,
    experts: Sequence[str],
    config: Mapping[str, Any],
    version: str,
    hub_models: Sequence[str] = (),
) -> str:
    """The README.md of a merged model. Without time or machine, so equal merges have equal cards.

    method: one line on the merge method.  base, experts: the references as the user wrote them.
    config: the merge config as plain data.  version: of mergescale.
    hub_models: the inputs that are Hub repositories; only those may stand in the front matter.
    """
    text = as_yaml(config)
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    front = ["library_name: transformers", "tags:", "- mergescale", "- merge"]
    if hub_models:
        front = ["base_model:", *(f"- {json.dumps(name)}" for name in dict.fromkeys(hub_models)), *front]
    lines = ["---", *front, "---", "", "# Merged model", ""]
    lines += [f"A merge of {len(experts)} language models, made with mergescale {version}.", ""]
    lines += ["## Method", "", method, "", "## Models", ""]
    lines += ([] if base is None else [f"- `{base}` (base)"]) + [f"- `{expert}`" for expert in experts]
    lines += ["", "## Configuration", "", f"{fence}yaml", text, fence, "", "## How it was made", ""]
    lines += [
        "`mergescale merge` with the configuration above. `mergescale_manifest.json` beside this file",
        "records the resolved configuration, the digests of every input header and every output file,",
        "and the versions of the libraries; `mergescale verify` recomputes the digests.",
    ]
    return "\n".join(lines) + "\n"


def as_yaml(value: Any, indent: int = 0) -> str:
    """Plain data (maps, lists, scalars of JSON) as block YAML, without a final newline."""
    pad = " " * indent
    if isinstance(value, Mapping) and value:
        return "\n".join(f"{pad}{_scalar(str(key))}:{_nested(item, indent)}" for key, item in value.items())
    if isinstance(value, list | tuple) and value:
        return "\n".join(f"{pad}- {as_yaml(item, indent + 2).lstrip(' ')}" for item in value)
    return pad + _scalar(value)


def _nested(value: Any, indent: int) -> str:
    if isinstance(value, Mapping | list | tuple) and value:
        return "\n" + as_yaml(value, indent + 2)
    return " " + _scalar(value)


def _scalar(value: Any) -> str:
    """JSON, which is YAML too; bare where that cannot be misread, and exponents as YAML 1.1 wants them."""
    if isinstance(value, str) and _BARE.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    text = "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def _names(directory: Path) -> list[str]:
    """Files of the directory and of its chat templates, as relative paths."""
    if is_synthetic(str(directory)):
        return []
    names = [entry.name for entry in os.scandir(directory) if entry.is_file()]
    templates = directory / TEMPLATES_DIRECTORY
    if templates.is_dir():
        names += [f"{TEMPLATES_DIRECTORY}/{entry.name}" for entry in os.scandir(templates) if entry.is_file()]
    return sorted(names)


def _tables(directory: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON files that may point to custom code."""
    pointing = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
    return [read_json_object(directory / name) for name in names if name in pointing]


def _has_own_code(table: Mapping[str, Any]) -> bool:
    """Whether `auto_map` points to a class in this directory: "org/name--file.Class" is elsewhere."""
    targets = table.get("auto_map")
    if not isinstance(targets, Mapping):
        return False
    listed = (target if isinstance(target, list) else [target] for target in targets.values())
    return any(isinstance(one, str) and "--" not in one for target in listed for one in target)


def _replace_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    corrected = dict(config)
    for key, value in config.items():
        if key in _DTYPE_KEYS and isinstance(value, str):
            corrected[key] = dtype
        elif key.endswith("_config") and key != "quantization_config" and isinstance(value, Mapping):
            corrected[key] = _replace_dtype(value, dtype)
    return corrected
