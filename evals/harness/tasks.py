"""Suite tasks as lm-eval's own task objects, loaded once a process, by content. No model comes near."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from evals.content import Digests, task_digest
from evals.definitions import FunctionRef
from evals.harness.metrics import check_named
from evals.harness.quiet import quiet
from evals.task import Task, data_builder
from pipeline.checkpoint.files import digest_file
from pipeline.errors import ConfigError, InputError

_KEPT = 256
_loaded: dict[tuple[str, int], Any] = {}


@dataclass(frozen=True)
class TaskFacts:
    """What is known about a task once its data is loaded. items: documents of the split that is scored."""

    items: int
    output_type: str


def check_task(task: Task) -> TaskFacts:
    """Load a task's definition and data, and look at each document's target; no model.

    ConfigError: lm-eval refuses it, or its metric functions give no such metric. InputError: it has no
    documents, one of them or of those that shots are drawn from has a target that is none of its choices
    (lm-eval would count a wrong answer, or end with an IndexError when it draws that shot), or the task's hub
    cannot be reached.
    """
    loaded = load_task(task, task_digest(task, Digests()))
    if not len(loaded.eval_docs):
        raise _no_documents(task)
    check_named(task, loaded)
    if loaded.config.doc_to_choice is not None:
        judged = loaded.OUTPUT_TYPE == "multiple_choice" and not callable(loaded.config.process_results)
        _check_targets(task, loaded, loaded.config, loaded.eval_docs, _scored_split(task), judged=judged)
    if task.shots and loaded.fewshot_cfg.doc_to_choice is not None:
        _check_targets(task, loaded, loaded.fewshot_cfg, loaded.sampler.df, _shots_split(task, loaded))
    return TaskFacts(len(loaded.eval_docs), str(loaded.OUTPUT_TYPE))


def load_task(task: Task, digest: str) -> Any:
    """lm-eval's task object with its data in memory, kept by content. Errors as `check_task`."""
    key = (digest, task.shots)
    if key not in _loaded:
        from datasets import disable_progress_bars
        from lm_eval.tasks import TaskManager

        disable_progress_bars()  # rows are filtered whenever lm-eval asks for them, outside `quiet` too

        _render_in_a_sandbox()
        with TemporaryDirectory(prefix="mergescale-data-") as folder, quiet():
            try:
                config = _resolved(dict(task.definition)) | _data_set(task, folder)
                config |= {"task": task.name, "num_fewshot": task.shots}
                found = TaskManager(include_defaults=False).load([config])["tasks"]
            except StopIteration as error:  # lm-eval looks at the first document
                raise _no_documents(task) from error
            except ConnectionError as error:
                raise _no_hub(task, error) from None  # `datasets` has tried for long: not the machine's fault
            except IndexError as error:  # lm-eval looks up the first document's target
                raise _beyond(
                    task, _scored_split(task), 1, f"none of the choices, or an empty choice ({error})"
                ) from error
            except Exception as error:  # a definition runs templates and functions of its own
                raise _refused(task, error) from error
        while len(_loaded) >= _KEPT:
            _loaded.pop(next(iter(_loaded)))
        _loaded[key] = next(iter(found.values()))
    return _loaded[key]


def _render_in_a_sandbox() -> None:
    """Have lm-eval render templates in a sandbox, where they reach no module, and compile each once.

    lm-eval's own environment runs any code that a template names, and compiles each template anew for every
    document, field by field.
    """
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    own = utils.env
    if not hasattr(own.from_string, "cache_info"):
        sandbox = SandboxedEnvironment(
            loader=own.loader, undefined=own.undefined, keep_trailing_newline=own.keep_trailing_newline
        )
        sandbox.filters |= own.filters
        sandbox.tests |= own.tests
        own.from_string = lru_cache(maxsize=1024)(sandbox.from_string)


def _no_hub(task: Task, error: Exception) -> InputError:
    return InputError(
        f'the data of the task "{task.name}" cannot be fetched',
        where=task.where,
        found=f"{type(error).__name__}: {error}",
        hint="without a hub, give local copies with --data DIR",
    )


def _refused(task: Task, error: Exception) -> ConfigError:
    """What lm-eval says, and under a failure to read data the reason of it."""
    found = f"{type(error).__name__}: {error}"
    if error.__cause__ is not None:
        found += f" ({type(error.__cause__).__name__}: {error.__cause__})"
    return ConfigError(
        f'lm-eval cannot load the task "{task.name}"',
        where=task.where,
        found=found,
        hint="compare the definition's columns and splits with the data",
    )


def _no_documents(task: Task) -> InputError:
    return InputError(
        f'the task "{task.name}" has no documents',
        where=task.where,
        found="; ".join(f"{split}: {', '.join(files)}" for split, files in task.data) or "an empty split",
        hint="check the data file of the split that is scored",
    )


def _scored_split(task: Task) -> str:
    return str(task.definition.get("test_split") or task.definition.get("validation_split"))


def _shots_split(task: Task, loaded: Any) -> str:
    """The split that shots are drawn from, as lm-eval chooses it; "shots" where the definition lists them."""
    if loaded.fewshot_cfg.split is None and loaded.fewshot_cfg.samples is not None:
        return "shots"
    own = ("training_split", "validation_split", "test_split")
    named = (str(split) for key in own if (split := task.definition.get(key)) is not None)
    return str(loaded.fewshot_cfg.split or next(named))


def _check_targets(
    task: Task, loaded: Any, fields: Any, docs: Sequence[Any], split: str, *, judged: bool = False
) -> None:
    """InputError for the first document of a split whose target is a number that is no place in its choices,
    as -1 is where a test set hides its labels.

    fields: what holds `doc_to_text`, `doc_to_target` and `doc_to_choice` of these documents.
    judged: whether lm-eval compares a target that is a text with the choices; one that is none of them, say
    "-1", would count as a wrong answer.
    """
    for number, doc in enumerate(docs, 1):
        if loaded.multiple_input:
            target = loaded.doc_to_text(doc, fields.doc_to_text)
        else:
            target = loaded.doc_to_target(doc, fields.doc_to_target)
        choices = loaded.doc_to_choice(doc, fields.doc_to_choice)
        count = len(choices)
        for one in target if isinstance(target, list) else [target]:
            if isinstance(one, int) and not 0 <= one < count:
                raise _beyond(task, split, number, f"{one}, of {count} choices counted from 0")
        if judged and isinstance(target, str) and target not in choices:
            raise _beyond(task, split, number, f'"{target[:40]}", none of {count} choices')


def _beyond(task: Task, split: str, number: int, found: str) -> InputError:
    """`number`: of the document among those of its split that are used, from 1."""
    definition = dict(task.definition)
    target, choice = (_shown(definition.get(key)) for key in ("doc_to_target", "doc_to_choice"))
    places = ", ".join(dict(task.data).get(split, (split,)))
    return InputError(
        f'a row of the task "{task.name}", split {split}, has no such choice',
        where=f"{places}: row {number}"
        + (" that process_docs gives" if "process_docs" in definition else ""),
        expected=f"a place in doc_to_choice: {choice}",
        found=f"doc_to_target: {target}: {found}",
        hint="mend the row, or the column that the definition names",
    )


def _shown(value: Any) -> str:
    return value.name if isinstance(value, FunctionRef) else str(value)


def _data_set(task: Task, folder: str) -> dict[str, Any]:
    """The data-set keys of the definition: local files, read into memory through a cache that is thrown away.

    The cache of `datasets` knows files by time and size, so it could serve old rows: nothing is left in it.
    """
    if not task.data:
        return {}
    files = {split: list(names) for split, names in task.data}
    arguments = {"data_files": files, "cache_dir": folder, "keep_in_memory": True}
    return {
        "dataset_path": data_builder(task.data[0][1][0]),
        "dataset_name": None,
        "dataset_kwargs": arguments,
    }


def _resolved(value: Any) -> Any:
    """A definition with every `FunctionRef` turned into the function it names."""
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return _function(value) if isinstance(value, FunctionRef) else value


def _function(reference: FunctionRef) -> Any:
    """The function itself, from the Python file beside the definition or from an importable module."""
    module_name, _, name = reference.name.rpartition(".")
    file = reference.file()
    if file is not None and not reference.bundled:
        return getattr(_module(file), name)
    if file is not None:
        module_name = ".".join(["lm_eval", "tasks", *Path(reference.folder).parts, module_name])
    return getattr(importlib.import_module(module_name), name)


def _module(file: Path) -> ModuleType:
    """A user's Python file as a module; named by its bytes, so that a changed file is a new module."""
    name = f"mergescale_task_{digest_file(file)}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {file}")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
