"""What a merge records of itself must be text that a file can hold: checked before any work starts.

Model card and manifest name the config, the models and where they lie. Paths that are not UTF-8 cannot stand
in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.checkpoint.index import CheckpointIndex
from pipeline.config.load import to_dict
from pipeline.config.merge import MergeConfig
from pipeline.errors import CheckpointError, ConfigError


def check_recordable(config: MergeConfig, models: Sequence[CheckpointIndex]) -> None:
    """Raise ConfigError for text in a config, CheckpointError for a model's path, that is not Unicode."""
    for index in models:
        for path in (index.directory, *(file.path for file in index.files)):
            if not _is_unicode(path):
                raise CheckpointError(
                    f'the path of model "{index.ref}" is not UTF-8, so no manifest can name it',
                    where=path,
                    found=ascii(path),
                    hint="rename the directory, or make a link to it with a name in UTF-8 and run from there",
                )
    for path, text in _texts(to_dict(config), ""):
        if not _is_unicode(text):
            raise ConfigError(
                "text that is not Unicode", where=f"{config.source}: {path}", found=ascii(text)[:200]
            )


def _texts(value: Any, path: str) -> list[tuple[str, str]]:
    """(path, text) of every key and text in plain data."""
    if isinstance(value, Mapping):
        below = [each for key, item in value.items() for each in _texts(item, f"{path}.{key}".lstrip("."))]
        return [*((path, str(key)) for key in value), *below]
    if isinstance(value, list):
        return [each for place, item in enumerate(value) for each in _texts(item, f"{path}[{place}]")]
    return [(path, value)] if isinstance(value, str) else []


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
