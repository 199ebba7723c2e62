"""The README.md of a merged model: front matter for the Hub, the method, the inputs, the config. Pure text.

Holds no time and no path of this machine that the user did not write, so equal merges have equal cards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pipeline.checkpoint.index import CheckpointIndex

CARD_NAME = "README.md"


def model_card(
    *,
    title: str,
    method: str,
    base: CheckpointIndex | None,
    models: Sequence[CheckpointIndex],
    config_text: str,
    version: str,
) -> bytes:
    """The card as UTF-8 bytes.

    title: the model's name.  method: one line on the merge method.  models: the inputs beside the base.
    config_text: the merge config in YAML.  version: of mergescale.
    """
    inputs = ([] if base is None else [base]) + [model for model in models if model != base]
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", config_text))])
    return "\n".join(
        [
            *_front_matter(inputs),
            f"# {title}",
            "",
            f"This is a merge of {len(models)} language models, made with mergescale {version}.",
            "",
            "## Method",
            "",
            method,
            "",
            "## Models",
            "",
            *(_line(model, "base" if model is base else "") for model in inputs),
            "",
            "## Configuration",
            "",
            f"{fence}yaml",
            config_text.rstrip("\n"),
            fence,
            "",
            "## How it was made",
            "",
            "`mergescale merge` with the configuration above. `mergescale_manifest.json` beside this file",
            "records the resolved configuration, the digests of every input header and every output file,",
            "and the versions of the libraries; `mergescale verify` recomputes the digests.",
            "",
        ]
    ).encode()


def _front_matter(inputs: Sequence[CheckpointIndex]) -> list[str]:
    """YAML that the Hub reads. Only Hub repositories are named in it: a local path means nothing there."""
    repositories = list(dict.fromkeys(model.ref.path for model in inputs if model.commit is not None))
    return [
        "---",
        *(["base_model:"] if repositories else []),
        *(f"- {json.dumps(repository)}" for repository in repositories),
        "library_name: transformers",
        "tags:",
        "- mergescale",
        "- merge",
        "---",
        "",
    ]


def _line(model: CheckpointIndex, role: str) -> str:
    notes = [role, f"commit {model.commit}" if model.commit is not None else ""]
    told = ", ".join(note for note in notes if note)
    return f"- `{model.ref}`" + (f" ({told})" if told else "")
