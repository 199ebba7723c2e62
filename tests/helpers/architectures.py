"""Tiny checkpoints of architectures that are no plain decoder of text, written by transformers itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

_VOCAB = 320
_TEXT: dict[str, Any] = {
    "vocab_size": _VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "image_size": 16, "patch_size": 8}
_ENCODER = {key: value for key, value in _TEXT.items() if key not in ("num_key_value_heads", "bos_token_id")}
#: The kinds that `write_architecture` knows.
KINDS = ("t5", "bart", "bert", "bert with its head", "classifier", "gemma3", "qwen3.5")


def write_architecture(path: Path, kind: str, *, seed: int = 0, near: Path | None = None) -> Path:
    """Write a checkpoint of the kind with a tokenizer of bytes; return it.

    near: a checkpoint of the same kind whose weights it shall have, but for a little noise drawn by `seed`.
    """
    state = torch.get_rng_state()
    try:
        torch.manual_seed(0 if near is not None else seed)
        model = _model(kind)
        if near is not None:
            model = type(model).from_pretrained(near)
            torch.manual_seed(seed)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            model.tie_weights()
    finally:
        torch.set_rng_state(state)
    model.save_pretrained(path)
    _write_byte_tokenizer(path)
    return path


def _write_byte_tokenizer(path: Path) -> None:
    """Write a tokenizer of single bytes: some architectures bring a splitting of words of their own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    bytes_ = Tokenizer(models.BPE({word: i for i, word in enumerate([*names.values(), *letters])}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bytes_, **names).save_pretrained(path)


def _model(kind: str) -> Any:
    """A model of the kind with drawn weights."""
    import transformers as t

    text = copy.deepcopy(_TEXT)
    if kind == "t5":
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
        own = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
        return t.T5ForConditionalGeneration(t.T5Config(vocab_size=_VOCAB, **sizes, **own))
    if kind == "bart":
        halves = {
            f"{half}_{name}": size
            for half in ("encoder", "decoder")
            for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 48))
        }
        return t.BartForConditionalGeneration(t.BartConfig(vocab_size=_VOCAB, d_model=32, **halves))
    if kind == "bert":
        return t.BertModel(t.BertConfig(**_ENCODER))
    if kind == "bert with its head":
        return t.BertForMaskedLM(t.BertConfig(**_ENCODER))
    if kind == "classifier":  # tied, so that no weight of the output head is missing
        return t.LlamaForSequenceClassification(t.LlamaConfig(**text, num_labels=2, tie_word_embeddings=True))
    if kind == "gemma3":
        text |= {"head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8}
        vision = {**_VISION, "num_hidden_layers": 1, "num_attention_heads": 4}
        marks = {
            "mm_tokens_per_image": 4,
            "image_token_index": 300,
            "boi_token_index": 301,
            "eoi_token_index": 302,
        }
        return t.Gemma3ForConditionalGeneration(
            t.Gemma3Config(text_config=text, vision_config=vision, **marks)
        )
    linear = {"linear_conv_kernel_dim": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
    linear |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    text |= {"head_dim": 8, **linear, "layer_types": ["linear_attention", "full_attention"]}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    vision |= {"patch_size": 8, "spatial_merge_size": 1, "num_position_embeddings": 16}
    marks = {
        "image_token_id": 300,
        "video_token_id": 301,
        "vision_start_token_id": 302,
        "vision_end_token_id": 303,
    }
    config = t.Qwen3_5Config(text_config=text, vision_config=vision, **marks)
    return t.Qwen3_5ForConditionalGeneration(config)
