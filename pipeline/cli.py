"""merge, plan, verify, status, methods: arguments in, one clear answer out. Heavy imports happen inside
commands.

Data goes to stdout, everything for people to stderr. The cli alone picks the executor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.options import device_option, executor_options, start_executor, uses_ray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.checkpoint.manifest import Manifest
    from pipeline.plan.plan import MergePlan

_MOST_NOTES, _MOST_NOTE = 30, 1000
_MEMORY_HELP = "Memory all workers on this machine may use together [default: half of what is free]."


@click.command(
    epilog="Example:  mergescale merge configs/merge/ties.yaml merged/ties --workers 2 --memory 4GiB"
)
@click.argument("config")
@click.argument("out")
@executor_options
@device_option("Where the arithmetic runs.")
@click.option("--memory", metavar="SIZE", help=_MEMORY_HELP)
@click.option("--shard-size", metavar="SIZE", default="5GB", show_default=True, help="Largest output file.")
@click.option("--dry-run", is_flag=True, help="Plan and print, write nothing.")
@click.option(
    "--fresh",
    is_flag=True,
    help="Start over: drop an interrupted run, replace an earlier merge at OUT when done.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Fail, and publish nothing, where a merged element is NaN or infinite [default: warn].",
)
@click.option(
    "--progress/--no-progress", default=True, show_default=True, help="Live line with bytes and time left."
)
def merge(config: str, out: str, dry_run: bool, **options: Any) -> None:
    """Merge the models that CONFIG names into a new model at OUT.

    CONFIG is a mergekit YAML or JSON file. OUT appears when it is complete; an interrupted merge is resumed
    by the same command. Several YAML documents in CONFIG, each with a `name`, are merged side by side into
    OUT/name, and what they have in common is read once. OUT may be discard:DIR: everything is read, merged
    and digested, no weights are written, and DIR holds the record; models may be synthetic:64b/base,
    synthetic:64b/expert0 and so on.
    """
    from pipeline.checkpoint.nonfinite import in_lines, require_finite
    from pipeline.output import check_outputs, destination, places_in
    from pipeline.plan.build import discarding
    from pipeline.staging import clear_leftovers

    place, discard = destination(out)
    plans = _plan(config, **options)
    plans = tuple(discarding(plan) for plan in plans) if discard else plans
    places = places_in(place, [plan.config.name for plan in plans])
    done = check_outputs(plans, places, options["fresh"])
    if dry_run:
        _print_plans(plans, as_json=False)
        return
    manifests = [manifest for manifest in done if manifest is not None]
    if len(manifests) == len(plans):
        for each in places:
            clear_leftovers(each)
        if options["strict"]:
            require_finite({each: found.nonfinite for each, found in zip(places, manifests, strict=True)})
        say(
            f"{out}: {'this merge is' if len(plans) == 1 else 'these merges are'} done already; nothing to do"
        )
    else:
        manifests = _run(plans, places, **options)
        for plan, name, manifest in zip(plans, _names(out, plans), manifests, strict=True):
            say(_merged(plan, name, manifest, together=len(plans)))
    for name, manifest in zip(_names(out, plans), manifests, strict=True):
        for line in in_lines(manifest.nonfinite or ()):
            say(f"warning: {name}: {line}")
    for shown in _names(str(place), plans):
        click.echo(shown)


def _run(
    plans: Sequence[MergePlan],
    places: Sequence[Path],
    *,
    executor: str | None,
    address: str | None,
    workers: int | None,
    fresh: bool,
    strict: bool,
    progress: bool,
    **_: Any,
) -> list[Manifest]:
    """Carry the plans out on the executor that the options name."""
    from pipeline.machine import local_share
    from pipeline.run import run_merges

    here = local_share(plans[0].device)["here"]
    with start_executor(executor, address, workers, here=here) as chosen:
        return run_merges(plans, places, chosen, fresh=fresh, strict=strict, show_progress=progress)


def _names(out: str, plans: Sequence[MergePlan]) -> list[str]:
    """Where each model goes, as the user would write it."""
    return [out] if len(plans) == 1 else [f"{out.rstrip('/')}/{plan.config.name}" for plan in plans]


def _merged(plan: MergePlan, out: str, manifest: Manifest, *, together: int) -> str:
    """What was merged, in one line; the time is that of the whole run."""
    from pipeline.plan.estimate import size_text

    timing = manifest.timings
    return (
        f"{out}: {len(plan.tensors)} tensors, {size_text(plan.cost.write_bytes)}, "
        f"{plan.config.merge_method} of {len(plan.experts)} models in {timing['seconds']:.1f} s "
        f"{f'({together} merges together) ' if together > 1 else ''}"
        f"on {timing['executor']} x {timing['workers']}{', weights discarded' if plan.discard else ''}"
    )


@click.command(epilog="Example:  mergescale plan configs/merge/ties.yaml --cluster nodes=8,gpus=8,disk=5GBps")
@click.argument("config")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON on stdout.")
@click.option(
    "--cluster",
    "cluster_text",
    metavar="SPEC",
    help="Estimate for a described cluster, one worker a GPU, or a CPU where it has none; one disk for all: "
    "nodes=8,gpus=8,disk=5GBps,memory=256GiB (of a node).",
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="As merge would be told.")
@click.option("--memory", metavar="SIZE", help=_MEMORY_HELP)
@click.option("--shard-size", metavar="SIZE", default="5GB", show_default=True, help="Largest output file.")
@device_option("Where the arithmetic would run.")
def plan(config: str, as_json: bool, cluster_text: str | None, **options: Any) -> None:
    """Say what a merge would do and what it would cost, from headers alone."""
    _print_plans(_plan(config, cluster=cluster_text, **options), as_json)


@click.command(epilog="Example:  mergescale verify merged/ties")
@click.argument("model", type=click.Path(path_type=Path))
def verify(model: Path) -> None:
    """Recompute every digest of a merged MODEL and compare with its manifest.

    Where several merges went into one directory, of each of them.
    """
    from pipeline.checkpoint.commit import verify as check
    from pipeline.checkpoint.manifest import read_manifest
    from pipeline.output import merges_in

    for each in merges_in(model):
        manifest = read_manifest(each)
        check(each)
        say(f"{each}: {len(manifest.outputs)} files are what the manifest says")
        click.echo(manifest.model_digest)


@click.command(epilog="Example:  mergescale status merged/ties --json")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The status as JSON on stdout.")
def status(out: Path, as_json: bool) -> None:
    """Say how far the merge into OUT is: absent, interrupted (and how much is done), or complete.

    Where several merges went into OUT, each of them.
    """
    from pipeline.errors import shown_lines
    from pipeline.output import merges_in
    from pipeline.status import describe, merge_status

    found = [merge_status(each) for each in merges_in(out)]
    if as_json:
        click.echo(json.dumps(found[0] if len(found) == 1 else found, indent=1))
    else:
        click.echo(shown_lines("\n".join(describe(each) for each in found)))


@click.command(epilog="Example:  mergescale methods ties")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def methods(name: str | None, as_json: bool) -> None:
    """List the merge methods, or one method's parameters, defaults and source."""
    from pipeline.methods import CATALOGUE, load_method
    from pipeline.methods.describe import as_data, as_text, overview

    chosen = [load_method(name)] if name else [load_method(each) for each in CATALOGUE]
    if as_json:
        click.echo(json.dumps([as_data(method) for method in chosen], indent=1))
    else:
        click.echo(as_text(chosen[0]) if name else overview(chosen))


def say(text: str) -> None:
    """Lines for people; names in them cannot move the cursor."""
    from pipeline.errors import shown_lines

    click.echo(shown_lines(text), err=True)


def _plan(
    config: str,
    *,
    memory: str | None,
    shard_size: str,
    device: str,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    cluster: str | None = None,
    **_: Any,
) -> tuple[MergePlan, ...]:
    """Load and plan. Notes and warnings go to stderr, each once."""
    from pipeline.config.load import load_configs
    from pipeline.errors import shown
    from pipeline.kernels import has_fused
    from pipeline.machine import choose_device_at, parse_bytes
    from pipeline.plan.build import plan_merges
    from pipeline.plan.estimate import limits_for

    processes = uses_ray(executor, address)
    configs = load_configs(config)
    device = choose_device_at(device, address or cluster, say)
    found = plan_merges(
        configs,
        device=device,
        limits=limits_for(memory, workers, device=device, processes=processes, cluster=cluster),
        shard_size_bytes=parse_bytes(shard_size),
    )
    slow = "numba cannot be loaded here: merging in plain torch, several times slower"
    notes = [note for plan in found for note in plan.notes]
    said = list(dict.fromkeys((*notes, *(() if device != "cpu" or has_fused() else (slow,)))))
    for note in said[:_MOST_NOTES]:
        say(f"note: {shown(note, _MOST_NOTE)}")
    if len(said) > _MOST_NOTES:
        say(f"note: and {len(said) - _MOST_NOTES:,} more notes like these")
    return found


def _print_plans(plans: Sequence[MergePlan], as_json: bool) -> None:
    from pipeline.errors import shown_lines
    from pipeline.plan.estimate import as_text, together, together_text

    if len(plans) == 1:
        click.echo(json.dumps(plans[0].summary(), indent=1) if as_json else shown_lines(as_text(plans[0])))
    elif as_json:
        merges = {plan.config.name: plan.summary() for plan in plans}
        click.echo(json.dumps({"merges": merges, "together": together(plans)}, indent=1))
    else:
        for plan in plans:
            click.echo(shown_lines(f"name        {plan.config.name}\n{as_text(plan)}\n"))
        click.echo(shown_lines(together_text(plans)))
