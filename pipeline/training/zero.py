"""DeepSpeed's ZeRO as a setting: its config, and whether this machine can run it. Never imports deepspeed.

With one GPU an expert ZeRO shards nothing; what it gives is room: stages 2 and 3 keep the optimizer's states
(stage 3 the weights too) in the machine's memory.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from typing import Any

from pipeline.checkpoint.files import read_json_object
from pipeline.errors import InputError

_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


def zero_config(setting: str | None) -> dict[str, Any] | None:
    """DeepSpeed's config for zero1 to zero3 or the path of a JSON file. CheckpointError: no such file."""
    if setting is None:
        return None
    if setting not in _STAGES:
        return read_json_object(Path(setting))
    stage = _STAGES[setting]
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage >= 2:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if stage == 3:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }


def named_config(setting: str | None) -> str | None:
    """The setting with its path made absolute, for workers that run elsewhere."""
    return setting if setting is None or setting in _STAGES else str(Path(setting).resolve())


def require_deepspeed(setting: str | None, device: str) -> None:
    """InputError unless this machine can train with DeepSpeed; sets up a process group of one."""
    if setting is None:
        return
    if device == "cpu":
        raise InputError(
            "DeepSpeed needs a GPU", where=f"deepspeed: {setting}", found="none", hint="leave out deepspeed"
        )
    if importlib.util.find_spec("deepspeed") is None:
        raise InputError(
            "DeepSpeed is not installed",
            where=f"deepspeed: {setting}",
            hint='run pip install "mergescale[gpu]", or leave out deepspeed',
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
