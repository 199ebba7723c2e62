"""What lies beside the weights: config, tokenizer, generation config, chat templates, code, model card.

One model gives them all (the base, else the first input): every small file but what `beside.py` refuses.
Planning opens and digests each; writing copies bytes. Never copies optimizer states or another model's card.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checkpoint.beside import (
    MODULES_NAME,
    folders_of,
    goes_along,
    is_loaded,
    is_module_weights,
    is_needed,
)
from pipeline.checkpoint.choose import CONFIG_NAME
from pipeline.checkpoint.copying import copy_checked, look_at
from pipeline.checkpoint.files import atomic_write, read_json_object
from pipeline.checkpoint.index import CheckpointIndex, list_names
from pipeline.checkpoint.synthetic import is_synthetic
from pipeline.errors import CheckpointError, shown
from pipeline.untrusted import SMALL_BYTES, read_json

_DTYPE_KEYS = ("dtype", "torch_dtype")
_BARE = re.compile(r"(\./|[A-Za-z_/])[\w./@-]*")
#: Bare words that YAML 1.1 reads as something else than text.
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Companion:
    """One file of the output: its path there, and the file it is copied from or else its content.

    `size_bytes` and `digest` (xxh3_128) are those of a source when it was looked at.
    """

    name: str
    source: str | None = None
    content: bytes = b""
    size_bytes: int = 0
    digest: str = ""


def plan_companions(model: CheckpointIndex, *, out_dtype: str | None) -> tuple[Companion, ...]:
    """The companions a model has to give, by name. Opens and reads every one of them, so that none can fail
    later but by a change.

    out_dtype: torch's name of the type the output's weights are stored in, which config.json is to state;
    None leaves the config as it is. Raises CheckpointError for a file that loaders look for and that cannot
    go along; what else cannot is left out, see `companion_notes`.
    """
    directory = Path(model.directory)
    names, _ = _listed(directory)
    companions = []
    for name in names:
        size_bytes, digest = look_at(directory, name)
        companions.append(Companion(name, str(directory / name), b"", size_bytes, digest))
    if any(_has_own_code(table) for table in (model.config, *_tables(directory, names))) or _module_code(
        directory
    ):
        for name in sorted(each for each in _files(directory) if each.endswith(".py") and each[0] != "."):
            size_bytes, digest = look_at(directory, name)
            companions.append(Companion(name, str(directory / name), b"", size_bytes, digest))
    if model.config:
        if not is_synthetic(model.directory):
            look_at(directory, CONFIG_NAME)
        companions.append(Companion(CONFIG_NAME, content=_config_text(model, out_dtype)))
    return tuple(sorted(companions, key=lambda companion: companion.name))


def companion_notes(model: CheckpointIndex) -> tuple[str, ...]:
    """What to say of files beside the weights that do not go along, or go along unmerged."""
    directory = Path(model.directory)
    names, notes = _listed(directory)
    folders = _folders(directory)
    notes += [
        f'{shown(name)} is not merged: the merged model gets that of "{shown(model.ref)}"'
        for name in names
        if is_module_weights(name, folders)
    ]
    for folder in folders:
        held = _files(directory / folder) if (directory / folder).is_dir() else []
        if any(name.endswith(".bin") for name in held) and "model.safetensors" not in held:
            notes.append(f"{shown(folder)}/ holds weights in PyTorch pickles, which are not copied")
    return tuple(notes)


def with_dtype(config: Mapping[str, Any], dtype: str | None) -> dict[str, Any]:
    """A copy of a config that states `dtype` under whichever key it uses, nested configs (text_config) too.

    A config without any such key gets `torch_dtype`, which every version of transformers reads.
    """
    corrected = dict(config) if dtype is None else _replace_dtype(config, dtype)
    if dtype is not None and not any(key in corrected for key in _DTYPE_KEYS):
        corrected["torch_dtype"] = dtype
    return corrected


def write_companions(companions: Iterable[Companion], directory: Path) -> None:
    """Write every companion into `directory`; those that are there already are left as they are.

    Raises CheckpointError if a source cannot be read or is not what it was when the companions were planned.
    """
    for companion in companions:
        path = directory / companion.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if companion.source is None:
            atomic_write(path, companion.content)
        else:
            copy_checked(Path(companion.source), path, companion.size_bytes, companion.digest)


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


def _listed(directory: Path) -> tuple[list[str], list[str]]:
    """Relative paths of what goes along, and what to say of files that would and cannot.

    Only a file that loaders do not look for is left out: one that they do is an error of `plan_companions`.
    """
    if is_synthetic(str(directory)):
        return [], []
    folders = _folders(directory)
    found = _files(directory)
    for folder in dict.fromkeys(folders):
        if (directory / folder).is_dir():
            found += [f"{folder}/{name}" for name in _files(directory / folder)]
    names = [name for name in found if goes_along(name, folders) or is_module_weights(name, folders)]
    left_out: dict[str, str] = {}
    for name in sorted(names):
        if not is_needed(name) and _size_bytes(directory / name) > SMALL_BYTES:
            left_out[name] = f"{shown(name)} is not copied: it has more than {SMALL_BYTES:,} bytes"
        elif not is_loaded(name):
            reason = _why_not(directory, name)
            if reason:
                left_out[name] = f"left out: {shown(name)}, which cannot be copied: {reason}"
    return sorted(set(names) - set(left_out)), list(left_out.values())


def _why_not(directory: Path, name: str) -> str:
    """Why a file cannot be copied; empty where it can."""
    try:
        look_at(directory, name)
    except CheckpointError as error:
        return shown(error.found + (f", not {error.expected}" if error.expected else ""))
    return ""


def _files(directory: Path) -> list[str]:
    """Names in a directory of everything but directories: what is no file cannot be dropped in silence."""
    return [name for name in list_names(directory) if not (directory / name).is_dir()]


def _folders(directory: Path) -> tuple[str, ...]:
    """Folders of the model whose files go along; modules.json names those of an embedding model."""
    path = directory / MODULES_NAME
    if is_synthetic(str(directory)) or not path.is_file():
        return folders_of(None)
    return folders_of(read_json(path))


def _size_bytes(path: Path) -> int:
    """The size of a regular file; 0 for anything else, which `look_at` refuses."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _config_text(model: CheckpointIndex, out_dtype: str | None) -> bytes:
    """config.json of the output. Raises CheckpointError for text that no file can hold."""
    text = json.dumps(with_dtype(model.config, out_dtype), indent=2, ensure_ascii=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{CONFIG_NAME} holds text that is not Unicode",
            where=str(Path(model.directory, CONFIG_NAME)),
            found=ascii(error.object[error.start : error.end]),
            hint="mend the file",
        ) from error


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


def _module_code(directory: Path) -> bool:
    """Whether modules.json names a class whose code lies beside it."""
    path = directory / MODULES_NAME
    modules = read_json(path) if path.is_file() else []
    kinds = (
        [entry.get("type") for entry in modules if isinstance(entry, dict)]
        if isinstance(modules, list)
        else []
    )
    return any(isinstance(kind, str) and (directory / f"{kind.split('.')[0]}.py").is_file() for kind in kinds)


def _replace_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    corrected = dict(config)
    for key, value in config.items():
        if key in _DTYPE_KEYS and isinstance(value, str):
            corrected[key] = dtype
        elif key.endswith("_config") and key != "quantization_config" and isinstance(value, Mapping):
            corrected[key] = _replace_dtype(value, dtype)
    return corrected
