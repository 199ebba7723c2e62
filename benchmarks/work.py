"""The reference work: a Llama-shaped base and eight experts of 615M parameters, bf16, in 500 MB shards.

Made once in the cache directory with fixed seeds: weights sd 0.02, deltas sd 1e-3, as fine-tuning leaves
them.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, INTERMEDIATE, LAYERS, VOCAB, KV = 2048, 5632, 11, 32000, 256
SHARD_BYTES = 500_000_000


def shapes(scale: float = 1.0) -> dict[str, tuple[int, ...]]:
    """Name -> shape. `scale` shortens the model to a share of its layers for a quick run."""
    layers = max(1, round(LAYERS * scale))
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        found |= {
            f"{prefix}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": (KV, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": (KV, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
            f"{prefix}.input_layernorm.weight": (HIDDEN,),
            f"{prefix}.post_attention_layernorm.weight": (HIDDEN,),
        }
    return found | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}


def make_work(root: Path, experts: int = 8, scale: float = 1.0) -> list[Path]:
    """Directories of base and experts, made if they are not there yet."""
    directories = [root / "base", *(root / f"expert{number}" for number in range(experts))]
    for number, directory in enumerate(directories):
        if not (directory / "config.json").exists():
            _write_model(directory, number, scale)
    return directories


def _write_model(directory: Path, number: int, scale: float) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    held = 0
    for position, (name, shape) in enumerate(shapes(scale).items()):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(position)) * 0.02
        if number:
            seed = 1000 * number + position
            weight += torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 1e-3
        tensor = weight.bfloat16()
        if held and held + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += tensor.nbytes
    weight_map: dict[str, str] = {}
    for index, shard in enumerate(shards, 1):
        file = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    index_file = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index_file))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": max(1, round(LAYERS * scale)),
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": VOCAB,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (directory / "config.json").write_text(json.dumps(config, indent=1))
