"""`mergescale eval`: models and suites in, records and one table out. It imports nothing heavy at the top.

The table (or JSON) goes to stdout, all else to stderr. All input is checked before a model loads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.options import device_option, executor_options, replica_option, start_executor, uses_ray

if TYPE_CHECKING:
    from evals.content import Digests
    from evals.fanout import Evaluation
    from evals.request import Request
    from evals.setting import Setting
    from evals.suites import Suite


@click.command(
    name="eval",
    epilog="Example:  mergescale eval merged/ties models/base --suite configs/suites/demo-held-out.yaml "
    "--base models/base --out results",
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--suite", "suites", multiple=True, required=True, metavar="FILE", help="A suite of tasks; may repeat."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where records are kept."
)
@click.option("--base", metavar="MODEL", help="The base model: held-out scores are shown relative to it.")
@click.option(
    "--expert",
    "experts",
    multiple=True,
    metavar="CATEGORY=MODEL",
    help="The expert of a held-in category, whose scores are shown relative to it; may repeat.",
)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task; may repeat.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N items a task.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Where the suites' data lies.")
@click.option("--skip-missing", is_flag=True, help="With --data: leave out tasks whose files are not there.")
@click.option("--batch-size", default="8", show_default=True, metavar="N", help='Items at once, or "auto".')
@replica_option
@click.option("--baselines/--no-baselines", default=True, help="Score guessers too [default: yes].")
@device_option()
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Type models are loaded in; auto: the config's on a GPU, the processor's fast one on a CPU.",
)
@executor_options
@click.option("--progress/--no-progress", default=True, show_default=True, help="Live line on stderr.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the scores (.svg, .png, .pdf)."
)
@click.option("--json", "json_out", is_flag=True, help="Print JSON in place of the table.")
def eval_command(
    models: tuple[str, ...],
    suites: tuple[str, ...],
    out: Path,
    plot: Path | None,
    json_out: bool,
    **options: Any,
) -> None:
    """Score models on suites of tasks with lm-eval.

    A MODEL is a directory, a Hub repository (org/name@revision) or s3://bucket/folder, fetched first; or a
    merge config (YAML): its merge is computed in the memory of the worker that scores it, written nowhere.
    Each score is kept in DIR by the content of its model and task: what is there is not measured again, and
    an interrupted run is continued by the same command.
    """
    from evals.content import Digests
    from evals.fanout import evaluate
    from evals.normalise import averages, normalise
    from evals.plot import check_plot, draw_scores
    from evals.table import as_json, grids, show
    from pipeline.machine import local_share

    if plot is not None:
        check_plot(plot)
    setting = _setting(**options)
    where = {name: options[name] for name in ("executor", "address", "workers")}
    uses_ray(options["executor"], options["address"])
    start = partial(start_executor, **where, **local_share(setting.device), kind="process")
    digests = Digests(out / "digests.json")
    request = _request(models, suites, digests, options)
    evaluation = evaluate(
        request.pairs, start, out, setting, digests=digests, show_progress=options["progress"]
    )
    cells = normalise(evaluation.records, request.base, request.expert_labels, request.counted())
    means = averages(cells)
    if json_out:
        click.echo(json.dumps(as_json(evaluation, cells, means), indent=1))
    else:
        show(grids(request.suites, evaluation, cells, means))
    if plot is not None:
        draw_scores(request.suites, evaluation, plot)
    _close(request.suites, evaluation, out)


def _request(
    models: Sequence[str], suites: Sequence[str], digests: Digests, options: dict[str, Any]
) -> Request:
    """What was asked for, checked."""
    from evals.request import make_request

    return make_request(
        models,
        [Path(suite) for suite in suites],
        data_dir=options["data"],
        skip_missing=options["skip_missing"],
        tasks=options["tasks"],
        report=_say,
        base=options["base"] or None,
        experts=_experts(options["experts"]),
        baselines=options["baselines"],
        digests=digests,
    )


def _experts(given: tuple[str, ...]) -> dict[str, str]:
    """CATEGORY=MODEL arguments as a mapping. InputError: no such form, or a category twice."""
    from pipeline.errors import InputError

    found: dict[str, str] = {}
    for text in given:
        category, equals, model = text.partition("=")
        if not (category and equals and model):
            raise InputError("--expert is not understood", expected="CATEGORY=MODEL", found=text)
        if category in found:
            raise InputError(f'two experts for the category "{category}"', where=f"--expert {text}")
        found[category] = model
    return found


def _setting(
    *,
    limit: int | None,
    batch_size: str,
    device: str,
    dtype: str,
    devices: int,
    address: str | None,
    **_: Any,
) -> Setting:
    """The run's settings. InputError: no batch size, cuda where there is none, several GPUs on a CPU."""
    from evals.setting import Setting
    from pipeline.errors import InputError
    from pipeline.machine import choose_device_at

    if not re.fullmatch(r"[1-9][0-9]*|auto(:[1-9][0-9]*)?", batch_size):
        raise InputError(
            "not a batch size", where="--batch-size", expected="1, 2, ... or auto", found=batch_size
        )
    chosen = choose_device_at(device, address, _say)
    return Setting.on(chosen, dtype, limit=limit, batch_size=batch_size, devices=devices)


def _close(suites: Sequence[Suite], evaluation: Evaluation, out: Path) -> None:
    """Say on stderr where things lie and what failed. RunError when anything did."""
    from evals.incomplete import incomplete

    measured = len(evaluation.records) - evaluation.reused
    _say(f"{measured} scores measured, {evaluation.reused} from {out / 'records'}")
    for suite in suites:
        for left in suite.left_out:
            _say(f"left out: {suite.name}/{left.task}: {', '.join(left.files)} not there")
    _say(f"tables: {out / 'records.jsonl'} {out / 'records.parquet'}")
    for one in evaluation.records:
        if one.truncated:
            what = f"{one.truncated} of {one.n} items are longer than the model takes: cut from the left"
            _say(f"warning: {one.label} on {one.suite}/{one.task}: {what}")
    missing = incomplete(evaluation)
    if missing is not None:
        raise missing


def _say(text: str) -> None:
    """Lines for people; names in them cannot move the cursor."""
    from pipeline.errors import shown_lines

    click.echo(shown_lines(text), err=True)
