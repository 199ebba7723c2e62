"""A task's requests, cut over several workers: which of them a part answers, and how answers come together.

Legend: R requests of a task, in lm-eval's order.
A part gets whole batches, exactly those that one worker would have run, so that padding is the same and no
score depends on the cut in its last digit. `Replay` then lets lm-eval compute its scores from stored answers
without any model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

Answers = dict[str, dict[int, Any]]
"""Request type -> position of the request -> the model's answer."""
T = TypeVar("T")


def requests_of(task: Any, limit: int | None) -> dict[str, list[Any]]:
    """Request type -> the task's requests, as lm-eval would send them to a model."""
    count = len(task.eval_docs)
    task.build_all_requests(limit=count if limit is None else min(limit, count), rank=0, world_size=1)
    found: dict[str, list[Any]] = {}
    for request in task.instances:
        found.setdefault(request.request_type, []).extend([request] * request.repeats)
    forget_requests(task)
    return found


def forget_requests(task: Any) -> None:
    """Let go of the requests that lm-eval leaves in a task: tasks are kept, and may have a million."""
    task._instances = None


def share(lm: Any, kind: str, requests: Sequence[Any], part: int, parts: int) -> list[int]:
    """Positions of the R requests that part number `part` of `parts` answers, ascending.

    Rolling requests, texts that are drawn and batches of no fixed size are not cut: the first part answers
    them all. A cut would begin a part's draws anew.
    """
    if parts == 1:
        return list(range(len(requests)))
    if kind == "loglikelihood" and isinstance(lm.batch_size, int):
        batches = _batches(_token_groups(lm, requests), lm.batch_size)
    elif (
        kind == "generate_until"
        and isinstance(lm.batch_size, int)
        and not any(generation_settings(one.args[1], 1)["do_sample"] for one in requests)
    ):
        batches = [
            batch for group in _prompt_groups(lm, requests) for batch in _batches(group, lm.batch_size)
        ]
    else:
        return list(range(len(requests))) if part == 0 else []
    low, high = (len(batches) * edge // parts for edge in (part, part + 1))
    return sorted(position for batch in batches[low:high] for position in batch)


def generation_settings(settings: Mapping[str, Any], default_tokens: int) -> Mapping[str, Any]:
    """A request's settings as lm-eval reads them: "max_gen_toks" under any of its names, "do_sample" also
    where only a temperature is given.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    found: Mapping[str, Any] = normalize_gen_kwargs(dict(settings), default_tokens)
    return found


def _token_groups(lm: Any, requests: Sequence[Any]) -> list[list[int]]:
    """Requests that share one pass of the model (one-token answers to one prompt), longest first.

    An encoder with its decoder shares none.
    """
    groups: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
    for position, request in enumerate(requests):
        head, tail = _encoded(lm, *request.args)
        whole = (*head, *tail)
        shared = whole[:-1] if lm.backend == "causal" else (position,)
        groups.setdefault(shared, []).append((position, whole))
    # A group runs as its first request: all of its members have the same length.
    order = sorted(groups.values(), key=lambda group: (-len(group[0][1]), group[0][1]))
    return [[position for position, _ in group] for group in order]


def _encoded(lm: Any, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """The tokens of a prompt and its answer as lm-eval's `loglikelihood` has them."""
    if prompt:
        head, tail = lm._encode_pair(prompt, answer)
        return head, tail
    tail = lm.tok_encode(answer, add_special_tokens=False)
    first = lm.prefix_token_id
    return ([first], tail) if tail[:1] != [first] else (tail[:1], tail[1:])


def _prompt_groups(lm: Any, requests: Sequence[Any]) -> list[list[list[int]]]:
    """Requests with the same generation settings, longest prompt first; each is a group of its own."""
    settings: dict[Hashable, list[int]] = {}
    for position, request in enumerate(requests):
        settings.setdefault(repr(request.args[1]), []).append(position)

    def key(position: int) -> tuple[int, str]:
        prompt = requests[position].args[0]
        return -len(lm.tok_encode(prompt)), prompt

    return [[[position] for position in sorted(members, key=key)] for members in settings.values()]


def _batches(groups: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Groups, `size` to a batch, flattened."""
    cut = (groups[start : start + size] for start in range(0, len(groups), size))
    return [[position for group in batch for position in group] for batch in cut]


def joined(parts: Sequence[Mapping[str, Mapping[int, Any]]]) -> Answers:
    """The answers of all parts as one."""
    found: Answers = {}
    for part in parts:
        for kind, answers in part.items():
            found.setdefault(kind, {}).update(answers)
    return found


class Replay:
    """Stands where lm-eval expects a model and gives stored answers. KeyError when one is missing."""

    rank, world_size = 0, 1

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def __getattr__(self, kind: str) -> Callable[[Sequence[Any]], list[Any]]:
        if kind not in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            raise AttributeError(kind)
        return lambda requests: [self._answers[kind][position] for position in range(len(requests))]
