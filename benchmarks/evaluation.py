"""Our evaluation beside lm-eval's command line: eight small models, seven real tasks, in one run.

    python -m benchmarks.evaluation [--models 8] [--peers 8] [--limit 100] [--workers 1,2]

Models are Llamas of 4M parameters with random weights and a tokenizer of their own; tasks and rows are the
demo's. `cold` is a whole `mergescale eval` process; `warm` scores the same models again in workers that are
already up (a fresh store, so nothing is served). lm_eval runs once a model, whole processes, one after the
other. One thread a process everywhere. Prints a table and writes `benchmarks/results/evaluation.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import RESULTS, machine
from cluster.contract import Executor
from cluster.local import LocalExecutor
from evals.fanout import evaluate
from evals.material import prepare_material
from evals.request import Request, make_request
from evals.setting import Setting

SUITES = (Path("configs/suites/demo-held-in.yaml"), Path("configs/suites/demo-held-out.yaml"))
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def make_models(folder: Path, count: int, rows: Path) -> list[Path]:
    """Models of 4.2M parameters with random weights, one tokenizer of 8,192 entries for all."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from pipeline.training.scratch.tokenizer import make_tokenizer

    texts = [json.loads(line)["question"] for file in rows.rglob("*.jsonl") for line in file.open()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    make_tokenizer(folder / "corpus.jsonl", 8192, folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    paths = []
    for number in range(count):
        torch.manual_seed(number)
        path = folder / f"model-{number}"
        LlamaForCausalLM(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
        paths.append(path)
    return paths


def write_tasks(request: Request, folder: Path) -> list[str]:
    """The request's tasks as lm-eval YAML files; their names."""
    folder.mkdir()
    names = []
    for suite in request.suites:
        for task in suite.tasks:
            files = {split: names_[0] for split, names_ in task.data}
            content = {"task": task.name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
            (folder / f"{task.name}.yaml").write_text(yaml.safe_dump({**task.definition, **content}))
            names.append(task.name)
    return names


def timed(command: list[str]) -> float:
    """Wall seconds of one whole process. SystemExit with its complaint when it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


@contextmanager
def kept(executor: Executor) -> Iterator[Executor]:
    """An executor that is running and stays so."""
    yield executor


def warm(request: Request, folder: Path, workers: int, limit: int) -> float:
    """Wall seconds of scoring everything in workers that have scored everything before."""
    with LocalExecutor(workers, kind="process") as executor:
        for name in ("first", "second"):
            began = time.perf_counter()
            done = evaluate(
                request.pairs,
                lambda: kept(executor),
                folder / f"{name}-{workers}",
                Setting.on("cpu", limit=limit),
            )
            assert not done.failures
        return time.perf_counter() - began


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--peers", type=int, default=8, help="models that lm_eval scores too")
    parser.add_argument("--limit", type=int, default=100, help="items a task")
    parser.add_argument("--workers", default="1,2")
    arguments = parser.parse_args()
    os.environ.update(QUIET)
    folder = Path(tempfile.mkdtemp(prefix="mergescale-bench-"))
    models = make_models(folder, arguments.models, prepare_material("demo"))
    request = make_request(models, SUITES)
    items = len(request.pairs) * arguments.limit
    runs = Runs()
    suites = [part for suite in SUITES for part in ("--suite", str(suite))]
    for workers in map(int, arguments.workers.split(",")):
        command = [str(Path(sys.executable).parent / "mergescale"), "eval", *map(str, models), *suites]
        command += ["--out", str(folder / f"cold-{workers}"), "--limit", str(arguments.limit)]
        command += ["--workers", str(workers), "--no-baselines", "--no-progress"]
        runs.note("mergescale eval, cold", workers, timed(command), items)
        runs.note("mergescale eval, warm", workers, warm(request, folder, workers, arguments.limit), items)
    names = write_tasks(request, folder / "tasks")
    began = time.perf_counter()
    for model in models[: arguments.peers]:
        command = [str(Path(sys.executable).parent / "lm_eval"), "--model", "hf", "--device", "cpu"]
        command += ["--model_args", f"pretrained={model},dtype=float32", "--batch_size", "8"]
        command += ["--include_path", str(folder / "tasks"), "--tasks", ",".join(names)]
        timed([*command, "--limit", str(arguments.limit)])
    scored = items * arguments.peers // arguments.models
    runs.note("lm_eval, one run a model", 1, time.perf_counter() - began, scored)
    shutil.rmtree(folder)
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": machine(), "limit": arguments.limit, "models": arguments.models, "runs": runs.rows}
    (RESULTS / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")


class Runs:
    """What was measured, printed as it comes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def note(self, program: str, workers: int, elapsed_s: float, items: int) -> None:
        """One run that scored so many items."""
        rate = round(items / elapsed_s, 1)
        row = {"program": program, "workers": workers, "wall_s": round(elapsed_s, 2), "items": items}
        self.rows.append({**row, "items_per_s": rate})
        print(f"{program:24} {workers} worker(s) {elapsed_s:8.1f} s {rate:8.1f} items/s", flush=True)


if __name__ == "__main__":
    main()
