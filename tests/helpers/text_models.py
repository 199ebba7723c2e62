"""Tiny models that read any text, byte by byte: for tasks on real sentences"""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.models import write_model

_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def write_text_model(path: Path, *, window: int = 2048, seed: int = 0) -> Path:
    """A random Llama of a few thousand weights with a byte-level tokenizer; `window`: tokens it takes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [*_SPECIAL.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    write_model(path, seed=seed, vocab=len(pieces), hidden=16)
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL.values()))
    tokenizer.save(str(path / "tokenizer.json"))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": window, **_SPECIAL}
    (path / "tokenizer_config.json").write_text(json.dumps(words))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": window}))
    return path
