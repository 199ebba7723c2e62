"""Tiny Llama-shaped checkpoints for tests: real config, real names, weights of a few kilobytes.

`transformers` can load what is written here. Values depend on the arguments only: the global generator is
never used. Files are written by safetensors itself, never by our own writer: an independent opinion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

INDEX_NAME = "model.safetensors.index.json"


def write_model(
    path: str | Path,
    *,
    seed: int = 0,
    dtype: str = "float32",
    layers: int = 2,
    hidden: int = 16,
    vocab: int = 32,
    shards: int = 1,
    tied: bool = False,
    base: str | Path | None = None,
    delta: float = 0.01,
    extra: Mapping[str, Tensor] | None = None,
    tokenizer: bool = False,
) -> Path:
    """Write a checkpoint directory and return it.

    dtype: torch's name of the type of the weights.  shards: number of weight files (1: `model.safetensors`).
    base: a checkpoint to stay near: shapes, config and non-float tensors are the base's, every weight is
    the base's plus `delta` times standard normal noise (`layers`, `hidden`, `vocab`, `tied` are ignored).
    extra: further tensors, stored exactly as given.
    tokenizer: also write a word-level tokenizer; one whose base has it gets it anyway.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    if base is None:
        config = llama_config(layers=layers, hidden=hidden, vocab=vocab, tied=tied)
        tensors = {
            name: (torch.randn(shape, generator=generator) * 0.1 + (1.0 if len(shape) == 1 else 0.0))
            for name, shape in llama_shapes(config).items()
        }
    else:
        config = json.loads((Path(base) / "config.json").read_text())
        tensors = {
            name: tensor.double() + delta * torch.randn(tensor.shape, generator=generator)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in read_tensors(base).items()
        }
    stored = getattr(torch, dtype)
    tensors = {name: t.to(stored) if t.is_floating_point() else t for name, t in tensors.items()}
    tensors.update(extra or {})
    _write_json(path / "config.json", {**config, "torch_dtype": dtype})
    write_tensors(path, tensors, shards=shards)
    if tokenizer or (base is not None and (Path(base) / "tokenizer.json").exists()):
        write_tokenizer(path, int(config["vocab_size"]))
    return path


def write_family(root: str | Path, experts: int = 3, **kw: Any) -> tuple[Path, list[Path]]:
    """Write `root/base` and `root/expert_0` ... near it; keywords go to `write_model`.

    Returns (base, experts).
    """
    root = Path(root)
    seed = int(kw.pop("seed", 0))
    base = write_model(root / "base", seed=seed, **kw)
    paths = [
        write_model(root / f"expert_{i}", seed=seed + 1 + i, **{**kw, "base": base}) for i in range(experts)
    ]
    return base, paths


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint directory by name, as stored."""
    files = sorted(Path(path).glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], *, shards: int = 1) -> None:
    """Write tensors as one `model.safetensors`, or as `shards` files of equal counts with their index."""
    path = Path(path)
    names = sorted(tensors, key=_natural)
    if not 1 <= shards <= len(names):
        raise ValueError(f"{len(names)} tensors cannot make {shards} shards")
    if shards == 1:
        save_file(dict(tensors), path / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for shard in range(shards):
        own = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: tensors[name] for name in own}, path / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(own, file))
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    _write_json(path / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map})


def llama_config(*, layers: int, hidden: int, vocab: int, tied: bool) -> dict[str, Any]:
    """A Llama config with grouped-query attention: two query heads share one key-value head."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": vocab,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of that config, in the order `transformers` lists them."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def write_tokenizer(path: str | Path, vocab: int) -> None:
    """Write a word-level tokenizer of `vocab` words: four special ones, then w4, w5, ..."""
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    words = [*special.values(), *(f"w{i}" for i in range(4, vocab))]
    added = [
        {"id": i, "content": word, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for i, word in enumerate(special.values())
    ]
    model = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": "<unk>"}
    none = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    split = {"type": "Whitespace"}
    _write_json(
        Path(path) / "tokenizer.json",
        {"version": "1.0", "added_tokens": added, "pre_tokenizer": split, "model": model} | none,
    )
    _write_json(
        Path(path) / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **special},
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name)]
