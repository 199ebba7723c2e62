"""Reads mergekit's YAML unchanged, as mergekit 0.1.5 understands it, into a MergeConfig. Opens no file.

On purpose unlike mergekit: what is misspelt, misplaced, of the wrong type or not supported yet is a
ConfigError and never ignored; what is read and cannot matter becomes a note. Our own parameters (`semantics`,
and those that methods declare) stand under `parameters` like mergekit's.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pipeline.config.merge import MergeConfig, ModelEntry, default_of, experts_of
from pipeline.config.parameters import MERGEKIT_NAMES, knobs_of, read_parameters
from pipeline.config.place import Place, describe
from pipeline.config.reference import local_path, read_reference
from pipeline.errors import near
from pipeline.methods import CATALOGUE, load_method
from pipeline.methods.contract import Method
from pipeline.values import ModelRef

DTYPES = ("float16", "bfloat16", "float32", "float64")
_KEYS = ["name", "merge_method", "models", "base_model", "parameters", "dtype", "out_dtype", "allow_mixed"]
_NAME = re.compile(r"\w[\w .+-]{0,99}", re.ASCII)
_KEEPS_TOKENIZER = (
    "remove it: the tokenizer files of the base model (else of the first model) are kept as they are"
)
_WHOLE_MODELS = "list whole models under `models`"
#: mergekit's keys that we cannot follow yet, and what to do meanwhile.
NOT_YET = {
    "slices": _WHOLE_MODELS,
    "modules": _WHOLE_MODELS,
    "tokenizer": _KEEPS_TOKENIZER,
    "tokenizer_source": _KEEPS_TOKENIZER,
    "chat_template": "remove it: the template of the base model (else of the first model) is kept",
}
#: Methods of mergekit that get a clearer answer than "unknown" until the catalogue has them.
_MERGEKIT_METHODS = (
    *("arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear", "karcher", "model_stock"),
    *("multislerp", "nearswap", "nuslerp", "passthrough", "ram", "ramplus_tl", "sce", "slerp"),
)


def read_mergekit(data: object, source: str) -> MergeConfig:
    """A checked MergeConfig from a parsed file. Raises ConfigError naming `source` and the path in it."""
    root = Place(source)
    fields = root.mapping(data, "a merge config: a mapping with `merge_method` and `models`")
    _refuse_keys(fields, root)
    method = _read_method(fields.get("merge_method"), root.key("merge_method"))
    notes: list[str] = []
    base = None
    if fields.get("base_model") is not None:
        base = read_reference(fields["base_model"], root.key("base_model"))
    config = MergeConfig(
        merge_method=method.name,
        base_model=base,
        models=_read_models(fields.get("models"), root.key("models"), method, notes),
        parameters=read_parameters(
            fields.get("parameters"), root.key("parameters"), method, per_model=False, notes=notes
        ),
        dtype=_read_dtype(fields.get("dtype"), root.key("dtype")),
        out_dtype=_read_dtype(fields.get("out_dtype"), root.key("out_dtype")),
        allow_mixed=_read_switch(fields.get("allow_mixed"), root.key("allow_mixed")),
        name=_read_name(fields.get("name"), root.key("name")),
        source=source,
    )
    _check_models(config, method, root)
    _check_required(config, method, root)
    return replace(config, notes=(*notes, *_base_notes(config, method, root)))


def _refuse_keys(fields: dict[object, object], root: Place) -> None:
    """Raises ConfigError for keys that are not supported yet, misplaced or unknown."""
    for name, instead in NOT_YET.items():
        if fields.get(name) is not None:
            raise root.key(name).error(f"`{name}` is not supported yet", hint=instead)

    def hint(name: str) -> str:
        knobs = {knob for known in CATALOGUE for knob in knobs_of(load_method(known))}
        return f"move `{name}` under `parameters`" if name in knobs | MERGEKIT_NAMES else ""

    root.only({name: None for name in fields if name not in NOT_YET}, _KEYS, hint)


def _read_name(raw: object, place: Place) -> str:
    """The name of a directory to be; "" without one."""
    if raw is None:
        return ""
    name = place.text(raw, "a name for this merge")
    if not _NAME.fullmatch(name) or name.endswith(".mergescale"):
        raise place.error(
            "not a name for a model's directory",
            expected="letters, digits, spaces and . _ - +, at most 100, the first a letter or digit",
            found=describe(raw),
        )
    return name


def _read_method(raw: object, place: Place) -> Method:
    """The method a config names."""
    known = list(CATALOGUE)
    if raw is None:
        raise place.error("no merge method given", expected=f"one of {', '.join(sorted(known))}")
    name = place.text(raw, "the name of a merge method")
    if name not in CATALOGUE and name in _MERGEKIT_METHODS:
        raise place.error(f'the merge method "{name}" is not supported yet', hint=near("", known))
    return load_method(name, str(place))


def _read_models(raw: object, place: Place, method: Method, notes: list[str]) -> tuple[ModelEntry, ...]:
    """The list `models`, each item `{model, parameters?}`."""
    if not isinstance(raw, list | tuple):
        raise place.error(
            "not a list of models", expected="one `- model: ...` line for each model", found=describe(raw)
        )
    return tuple(_read_entry(item, place.item(index), method, notes) for index, item in enumerate(raw))


def _read_entry(raw: object, place: Place, method: Method, notes: list[str]) -> ModelEntry:
    if isinstance(raw, str):
        raise place.error(
            "not a model entry", expected="a mapping", found=describe(raw), hint=f"write `- model: {raw}`"
        )
    fields = place.mapping(raw, "a mapping with `model` and, if wanted, `parameters`")
    place.only(
        fields,
        ["model", "parameters"],
        lambda name: f"move `{name}` under this model's `parameters`" if method.knob(name) else "",
    )
    ref = read_reference(fields.get("model"), place.key("model"))
    settings = read_parameters(
        fields.get("parameters"), place.key("parameters"), method, per_model=True, notes=notes
    )
    return ModelEntry(ref, settings)


def _read_dtype(raw: object, place: Place) -> str | None:
    """torch's name of a float type, without its prefix."""
    if raw is None:
        return None
    name = place.text(raw, ", ".join(DTYPES)).removeprefix("torch.")
    if name not in DTYPES:
        raise place.error(
            "not a float type that merging knows",
            expected=", ".join(DTYPES),
            found=describe(raw),
            hint=near(name, list(DTYPES)),
        )
    return name


def _read_switch(raw: object, place: Place) -> bool:
    """True or false; false without one."""
    if raw is None or isinstance(raw, bool):
        return bool(raw)
    raise place.error("neither true nor false", expected="true or false", found=describe(raw))


def _check_models(config: MergeConfig, method: Method, root: Place) -> None:
    """A base where one is needed, no model twice, and as many models as the method takes."""
    place, traits = root.key("models"), method.traits
    if traits.base == "required" and config.base_model is None:
        raise root.key("base_model").error(
            f"{method.name} needs a base model",
            expected="the model that the experts were trained from",
            found="nothing",
            hint="add `base_model: ...` at the top level of the file",
        )
    _check_distinct(config, root)
    count, low, high = len(experts_of(config, method)), traits.min_experts, traits.max_experts
    if count < low or (high is not None and count > high):
        besides = " besides the base" if traits.base != "ignored" else ""
        wanted = str(low) if low == high else f"{low} or more" if high is None else f"{low} to {high}"
        raise place.error(
            f"too {'few' if count < low else 'many'} models for {method.name}",
            expected=wanted + besides,
            found=str(count),
        )


def _check_distinct(config: MergeConfig, root: Place) -> None:
    """Every model stands in `models` once, and the base is written alike in both places."""
    seen: dict[tuple[str, str | None], Place] = {}
    base = None if config.base_model is None else _identity(config.base_model, root)
    for index, entry in enumerate(config.models):
        place, identity = root.key("models").item(index).key("model"), _identity(entry.model, root)
        if identity in seen:
            raise place.error(
                f'the model "{entry.model}" is listed twice',
                expected="each model once",
                found=f"it also at {seen[identity].path}",
                hint="give it once, with the sum of the weights",
            )
        if identity == base and entry.model != config.base_model:
            raise place.error(
                "this is the base model, written differently",
                expected=f'"{config.base_model}", as in base_model',
                found=f'"{entry.model}"',
                hint="write it the same way in both places",
            )
        seen[identity] = place


def _identity(ref: ModelRef, root: Place) -> tuple[str, str | None]:
    """What tells two models apart: the local path (links not followed), else name and revision on the Hub."""
    path = local_path(ref, root.source)
    return (ref.path, ref.revision) if path is None else (path, None)


def _check_required(config: MergeConfig, method: Method, root: Place) -> None:
    """Every knob without a default has a value somewhere, for every model where it is a model's own."""
    for knob in method.knobs:
        if default_of(knob, config.semantics) is not None or knob.name in config.parameters:
            continue
        if knob.scope == "global":
            place = root.key("parameters").key(knob.name)
            raise place.error(f'{method.name} needs "{knob.name}"', expected=knob.doc, found="nothing")
        for entry in experts_of(config, method):
            if knob.name in entry.parameters:
                continue
            if entry not in config.models:
                raise root.key("base_model").error(
                    f'{method.name} takes the base model as an input, and it has no "{knob.name}"',
                    hint=f"remove base_model, or list it under `models` with a {knob.name}",
                )
            own = root.key("models").item(config.models.index(entry)).key("parameters").key(knob.name)
            raise own.error(
                f'{method.name} needs "{knob.name}" for the model "{entry.model}"',
                expected=knob.doc,
                found="nothing",
                hint=f"add `{knob.name}` to its `parameters`, or to those of the whole file for all models",
            )


def _base_notes(config: MergeConfig, method: Method, root: Place) -> list[str]:
    """What to say about a base model that counts for less or for more than its place in the file suggests."""
    notes = []
    for index, entry in enumerate(config.models):
        if entry.parameters and entry not in experts_of(config, method):
            place = root.key("models").item(index).key("parameters")
            notes.append(
                f"{place}: not used, {method.name} takes the base model as the origin, not as an expert"
            )
    if any(entry not in config.models for entry in experts_of(config, method)):
        notes.append(
            f"{root.key('base_model')}: {method.name} takes it as one more input, with the weight of all"
        )
    return notes
