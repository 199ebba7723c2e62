"""Models that exist only by name: Llama-shaped, of any size, their bytes made when they are read.

    synthetic:SHAPE/base[@SEED]          synthetic:SHAPE/expertK[@SEED]

SHAPE is a name of `SHAPES` or its fields, as `hidden=8192,mlp=24576,layers=2,kv=1024,vocab=152064`. They let
anyone try a plan, a cluster or a disk before a terabyte is moved.

Weights are bfloat16: bases with standard deviation 0.02, experts of the same seed differ from it by 1e-3, as
fine-tuning leaves them. Element i of a model is element i mod POOL of a pool of numbers, made once a process,
so that reading is a copy from memory; the same name gives the same bytes on every machine. Nothing is written
here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pipeline.checkpoint.files import digest_bytes
from pipeline.checkpoint.index import CheckpointIndex, FileEntry, TensorEntry
from pipeline.errors import CheckpointError, near, shown
from pipeline.values import DTYPES, ModelRef, TensorSpec

PREFIX = "synthetic:"
#: Elements of a pool: 8 MiB, and prime, so that no two tensors begin at the same place of it.
POOL = 4_194_301
_NAME = re.compile(r"synthetic:([^/@]+)/(base|expert(\d{1,9}))")
_BASE_SD, _DELTA_SD = 0.02, 1e-3
_BF16 = DTYPES["BF16"]
#: Nine tensors a layer: more than any model has.
_MOST_LAYERS, _MOST_SIZE = 10_000, 10_000_000
_making = Lock()


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama-shaped decoder; `kv` is the width of keys and values together."""

    hidden: int
    mlp: int
    layers: int
    kv: int
    vocab: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, in the usual order."""
        hidden = self.hidden
        layer_tensors: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (self.kv, hidden),
            "self_attn.v_proj": (self.kv, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (self.mlp, hidden),
            "mlp.up_proj": (self.mlp, hidden),
            "mlp.down_proj": (hidden, self.mlp),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        named: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, hidden)}
        for layer in range(self.layers):
            named |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in layer_tensors.items()}
        return named | {"model.norm.weight": (hidden,), "lm_head.weight": (self.vocab, hidden)}


SHAPES = {
    "600m": Shape(hidden=2048, mlp=5632, layers=11, kv=256, vocab=32000),
    "1b": Shape(hidden=2048, mlp=8192, layers=16, kv=512, vocab=32768),
    "8b": Shape(hidden=4096, mlp=14336, layers=32, kv=1024, vocab=128256),
    "64b": Shape(hidden=8192, mlp=24576, layers=82, kv=1024, vocab=152064),
}


def is_synthetic(path: str) -> bool:
    """Whether a model reference or a file of an index means a synthetic model."""
    return path.startswith(PREFIX)


def read_synthetic(ref: ModelRef) -> CheckpointIndex:
    """The index of a synthetic model. Raises CheckpointError for a name that is none, with the near one."""
    shape, _, _ = _parse(str(ref))
    tensors: dict[str, TensorEntry] = {}
    at = 0
    for name, sizes in shape.tensors().items():
        spec = TensorSpec(name, _BF16, sizes)
        tensors[name] = TensorEntry(spec, str(ref), at)
        at += spec.size_bytes
    described = digest_bytes(f"{ref} {shape} {POOL}".encode())
    return CheckpointIndex(
        ref=ref,
        directory=str(ref),
        tensors=tensors,
        files=(FileEntry(str(ref), at, described, mtime_ns=1),),
        config=_config(shape),
    )


def fill(path: str, buffer: memoryview, offset: int) -> None:
    """The bytes of a synthetic model from `offset` (even) on, into `buffer`."""
    _, expert, seed = _parse(path)
    pool = _pool(seed, expert)
    out = np.frombuffer(buffer, np.uint16)
    at = offset // 2 % POOL
    done = 0
    while done < out.size:
        count = min(POOL - at, out.size - done)
        out[done : done + count] = pool[at : at + count]
        done, at = done + count, 0


@cache
def _parse(text: str) -> tuple[Shape, int, int]:
    """(shape, number of the expert or -1 for the base, seed) of a reference."""
    path, _, seed = text.partition("@")
    found = _NAME.fullmatch(path)
    if found is None or not re.fullmatch(r"[0-9]{1,18}", seed or "0"):
        raise CheckpointError(
            "not the name of a synthetic model",
            where=shown(text),
            expected="synthetic:SHAPE/base or synthetic:SHAPE/expertK, with @SEED, a whole number",
            found=shown(text.removeprefix(PREFIX)),
            hint="write for example synthetic:64b/expert0",
        )
    return _shape(found[1], text), int(found[3]) if found[3] else -1, int(seed or 0)


def _shape(text: str, where: str) -> Shape:
    if text in SHAPES:
        return SHAPES[text]
    names = [field.name for field in fields(Shape)]
    given = dict(part.partition("=")[::2] for part in text.split(","))
    if sorted(given) != sorted(names) or not all(
        re.fullmatch(r"[0-9]{1,9}", size)
        and 1 <= int(size) <= (_MOST_LAYERS if name == "layers" else _MOST_SIZE)
        for name, size in given.items()
    ):
        raise CheckpointError(
            "not the shape of a synthetic model",
            where=shown(where),
            expected=f"one of {', '.join(SHAPES)}, or sizes from 1 to {_MOST_SIZE:,} for {', '.join(names)} "
            f"(at most {_MOST_LAYERS:,} layers)",
            found=shown(text),
            hint=near(text[:40], list(SHAPES)),
        )
    return Shape(**{name: int(size) for name, size in given.items()})


def _pool(seed: int, expert: int) -> NDArray[np.uint16]:
    """A model's numbers as bfloat16, shape (POOL,), made by whoever asks first while the others wait."""
    with _making:
        return _made_pool(seed, expert)


@lru_cache(maxsize=64)
def _made_pool(seed: int, expert: int) -> NDArray[np.uint16]:
    if expert < 0:
        return _rounded(_normal(seed, 0) * np.float32(_BASE_SD))
    widened = (_made_pool(seed, -1).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return _rounded(widened + _normal(seed, expert + 1) * np.float32(_DELTA_SD))


def _normal(seed: int, stream: int) -> NDArray[np.float32]:
    """Numbers that are nearly normal: sums of eight uniform bytes, from integers alone, equal everywhere."""
    raw = np.random.Philox(key=np.array([seed % 2**64, stream], np.uint64)).random_raw(POOL)
    low = np.uint64(0x00FF00FF00FF00FF)
    pairs = ((raw & low) + ((raw >> np.uint64(8)) & low)).view(np.uint16).reshape(POOL, 4)
    total = pairs[:, 0] + pairs[:, 1] + pairs[:, 2] + pairs[:, 3]
    centred: NDArray[np.float32] = total.astype(np.float32) - np.float32(8 * 255 / 2)
    return centred / np.float32((8 * (256**2 - 1) / 12) ** 0.5)


def _rounded(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """To bfloat16, ties to even; there are no NaNs here."""
    bits = values.view(np.uint32)
    even = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (even >> np.uint32(16)).astype(np.uint16)


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.hidden // 64,
        "num_key_value_heads": max(1, shape.kv // 64),
        "head_dim": 64,
        "vocab_size": shape.vocab,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
