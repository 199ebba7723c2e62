"""A tiny Llama as a GGUF file, written with the gguf package from a checkpoint of `models.write_model`."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.helpers.models import read_tensors

_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path, model: Path) -> Path:
    """Write the checkpoint `model` (untied) as fp32 GGUF with a byte-level tokenizer of its size."""
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, config["vocab_size"])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, tensor in read_tensors(model).items():
        stored = _name(name)
        values = tensor.float().numpy()
        part = stored.split(".")[-2]
        writer.add_tensor(stored, _interleaved(values, heads[part]) if part in heads else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, vocab: int) -> None:
    """Three special tokens, one pair of letters and single ones."""
    tokens = ["<unk>", "<s>", "</s>", "ab"] + [chr(ord("!") + number) for number in range(vocab - 4)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (vocab - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _name(name: str) -> str:
    """The tensor's name in GGUF."""
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_LAYER[rest.removesuffix('.weight')]}.weight"


def _interleaved(rows_RC: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a rotary projection as GGUF orders them: the two halves of each head interleaved."""
    size = rows_RC.shape[0] // heads // 2
    halves = rows_RC.reshape(heads, 2, size, rows_RC.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows_RC.shape))
