"""What transformers makes of a model directory, by one set of rules for training and for evaluation.

transformers fills what a checkpoint lacks, or what does not fit, with random numbers: here that is an error,
whoever asks. It loads; it never trains, scores or writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CheckpointError, shown
from pipeline.untrusted import read_json

if TYPE_CHECKING:
    import torch

#: The outermost list of parts in a tensor's name, and the number in it: model.layers.3.
_LAYER = re.compile(r"([^\d]*?)\.(\d{1,9})\.")
#: Files of which each is enough for a tokenizer.
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model*",
    "tekken.json",
    "*vocab*",
    "*spiece*",
    "*sentencepiece*",
)

#: How the architectures end whose head answers something else than the next token.
_OTHER_HEADS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForMaskedLM",
)


def load_tokenizer(folder: Path, where: str) -> Any:
    """Load the tokenizer beside the weights.

    Args:
        folder: the directory with the tokenizer's files.
        where: the model as its user knows it, for errors.

    Raises:
        CheckpointError: transformers can read none there.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        own_code = _own_code(error, folder / "tokenizer_config.json", where)
        raise own_code or CheckpointError(
            "the model has no tokenizer that can be read",
            where=where,
            expected="tokenizer.json or another tokenizer file beside the weights",
            found=in_words(error) if _has_vocabulary(folder) else "no file that holds a tokenizer",
            hint="copy the tokenizer files of its base model into the directory",
        ) from error


def load_config(folder: Path, where: str) -> Any:
    """Load the model's config, defaults filled in. CheckpointError: transformers does not know it."""
    from transformers import AutoConfig

    with _explained(folder, where):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def load_weights(
    kind: Any,
    folder: Path,
    where: str,
    dtype: torch.dtype | str,
    *,
    weights: Mapping[str, Any] | None = None,
    **how: Any,
) -> Any:
    """Load a model with every weight from its checkpoint.

    Args:
        kind: transformers' auto class that chooses the architecture by config.json.
        folder: the directory with config.json, and with the weights unless `weights` has them.
        where: the model as its user knows it, for errors.
        dtype: the type to load the weights in; "auto" is the stored one.
        weights: the checkpoint's tensors by name. The model is the one that its files would give.
        how: further arguments of transformers' `from_pretrained`.

    Raises:
        CheckpointError: weights that are missing, of another shape, pickled or damaged; weights that belong
            to the model and that its config leaves out; a config that transformers does not know or that is
            of another kind.
    """
    how |= {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}
    with _explained(folder, where), _no_bars():
        if weights is None:
            model, info = kind.from_pretrained(folder, use_safetensors=True, trust_remote_code=False, **how)
        else:
            architecture, config = _architecture(kind, load_config(folder, where))
            model, info = architecture.from_pretrained(None, config=config, state_dict=dict(weights), **how)
    shapes = [f"{name} is {_shape(there)}, not {_shape(due)}" for name, there, due in info["mismatched_keys"]]
    if shapes or info["missing_keys"]:
        missing = ", ".join(sorted(map(str, info["missing_keys"]))[:4])
        raise _unloadable(where, ", ".join(sorted(shapes)[:4]) or f"no weights for {missing}")
    left_out = find_left_out(list(model.state_dict()), info["unexpected_keys"], _further_layers(model.config))
    if left_out:
        raise _unloadable(
            where, f"config.json leaves out weights that are stored: {', '.join(map(shown, left_out[:4]))}"
        )
    return model


def find_left_out(read: Sequence[str], unread: Iterable[str], further_layers: int = 0) -> list[str]:
    """Find stored tensors that belong to a model as it was loaded and that nothing of it reads.

    They are a weight or a bias beside another tensor of the same part (the biases of another architecture),
    and layers beyond the last one of a stack that the model has (a config that counts too few). What no part
    of the model is for (poolers, heads of pretraining, buffers, other modalities) may be left out.

    Args:
        read: names of the tensors that the model has.  unread: names of those that were stored beside them.
        further_layers: layers beyond the last that the config itself speaks of: they predict further tokens.
    """
    parts = {name.rpartition(".")[0] for name in read}
    layers: dict[str, int] = {}
    for stack, layer in filter(None, map(_layer_of, read)):
        layers[stack] = max(layers.get(stack, 0), layer + 1)

    def belongs(name: str) -> bool:
        part, _, last = name.rpartition(".")
        if last in ("weight", "bias") and part in parts:
            return True
        found = _layer_of(name)
        return found is not None and found[1] >= layers.get(found[0], found[1] + 1) + further_layers

    return sorted(filter(belongs, unread))


def _layer_of(name: str) -> tuple[str, int] | None:
    """(stack, layer number) of a tensor in a list of parts, the outermost one; None outside of lists."""
    found = _LAYER.match(name)
    return None if found is None else (found[1], int(found[2]))


def _further_layers(config: Any) -> int:
    """How many layers a config has that predict further tokens; transformers does not load them."""
    told = {**config.to_dict(), **config.get_text_config().to_dict()}
    counts = (value for key, value in told.items() if type(value) is int and ("nextn" in key or "mtp" in key))
    return max(counts, default=0)


def check_trainable(folder: Path, where: str) -> None:
    """Check that a model can be trained to answer; reads its config and its weights' headers, no weight.

    Raises:
        CheckpointError: not a decoder of text, or weights that `load_weights` would refuse.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(folder, where)
    other = _other_kind(config)
    if other:
        raise CheckpointError(
            "this model cannot be trained here",
            where=where,
            expected="a decoder of text with its output head, as lm-eval scores them",
            found=f"{other}, model type {config.model_type}",
            hint="give a causal language model as base",
        )
    load_weights(AutoModelForCausalLM, folder, where, "auto", device_map="meta")


def _other_kind(config: Any) -> str:
    """What a model is that is no decoder of text; "" for one that is, as far as its config tells."""
    from transformers.models.auto import modeling_auto as auto

    seq2seq = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if config.is_encoder_decoder or config.model_type in seq2seq:
        return "an encoder with a decoder"
    if config.get_text_config(decoder=True) is not config:
        return "a model of several modalities"
    masked = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if masked and not getattr(config, "is_decoder", False):
        return "an encoder, which reads the answer that it is to give"
    name = (config.architectures or [""])[0]
    if name.endswith(_OTHER_HEADS):
        return f"a model with another head ({name})"
    return ""


def _architecture(kind: Any, config: Any) -> tuple[Any, Any]:
    """The class and its config, as transformers' auto class chooses them for a directory with this config.

    Auto classes take no tensors in memory. Of a checkpoint of several modalities some choose a class of the
    text part alone, which takes the text part's config.
    """
    from transformers.models.auto.auto_factory import _get_model_class

    if type(config) not in kind._model_mapping:
        raise ValueError(f"{kind.__name__} has no architecture for the model type {config.model_type}")
    architecture = _get_model_class(config, kind._model_mapping)
    text = config.sub_configs.get("text_config")
    alone = text is not None and architecture.config_class == text
    return architecture, config.get_text_config() if alone else config


@contextmanager
def _explained(folder: Path, where: str) -> Iterator[None]:
    """Raise what transformers finds wrong with a model as a CheckpointError."""
    from safetensors import SafetensorError

    known = (OSError, ValueError, RuntimeError, SafetensorError, LookupError, AttributeError, TypeError)
    try:
        yield
    except known as error:
        refusal = _own_code(error, folder / "config.json", where) or _unloadable(where, in_words(error))
        raise refusal from error


def _own_code(error: Exception, file: Path, where: str) -> CheckpointError | None:
    """Say that a model needs classes of its own, where transformers refused it for that reason.

    transformers' own words ask a question that nobody can answer and point to a page that does not exist.
    """
    if "trust_remote_code" not in str(error):
        return None
    try:
        table = read_json(file)
    except (CheckpointError, FileNotFoundError):
        return None
    named = table.get("auto_map") if isinstance(table, Mapping) else None
    if not named:
        return None
    entries = list(named.values()) if isinstance(named, Mapping) else [named]
    classes = [name for each in entries for name in (each if isinstance(each, list) else [each]) if name]
    return CheckpointError(
        "the model needs code of its own, which is not run",
        where=where,
        expected="an architecture and a tokenizer that transformers has built in",
        found=f"auto_map in {file.name} names {shown(', '.join(map(str, classes)))}",
        hint="give a model of a built-in architecture, or convert this one to such a one elsewhere",
    )


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers' bars, which have no off switch by call, off the user's screen."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) or "one number"


def _unloadable(where: str, found: str) -> CheckpointError:
    return CheckpointError(
        "the model cannot be loaded",
        where=where,
        found=found,
        hint="check that config.json and the weights belong together",
    )


def _has_vocabulary(folder: Path) -> bool:
    """Whether a file in the folder may hold a vocabulary."""
    return any(fnmatchcase(file.name, kind) for file in folder.iterdir() for kind in _VOCABULARIES)


def in_words(error: Exception) -> str:
    """Say what a library's error says: its first line, or all of them where the first announces the rest."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    text = " ".join(lines) if lines[0].endswith(":") else lines[0]
    bare = isinstance(error, LookupError | AttributeError | TypeError)  # of these the text alone says little
    return f"{type(error).__name__}: {text}" if bare and text else text or type(error).__name__
