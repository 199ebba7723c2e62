"""Model references: `path`, `path@revision`, `s3://bucket/folder`, or the map form. Looks at names on disk
and opens nothing.

Relative paths start at the current directory, as in mergekit; what is not there is looked for beside the
config file. A path that exists is that path even if it has `@` or `+` in it (mergekit cuts there and reads
another model).
"""

from __future__ import annotations

import os

from pipeline.config.place import Place, describe
from pipeline.values import ModelRef

_EXPECTED = "a directory, a Hub repository or a bucket, as `path`, `path@revision` or `s3://bucket/folder`"
_DEEPER = "write `{model: {path: ..., revision: ...}}`, one level deeper"
_NO_LORA = "merge the adapter into its model first, and name the result here"


def read_reference(raw: object, place: Place) -> ModelRef:
    """A model as the user wrote it. Raises ConfigError for what is no reference and for `+lora` (not yet)."""
    return _read_map(raw, place) if isinstance(raw, dict) else _read_text(raw, place)


def local_path(ref: ModelRef, source: str) -> str | None:
    """The absolute path of a model on this machine, or None when nothing here has that name."""
    written = os.path.expanduser(ref.path)
    for path in (written, os.path.join(os.path.dirname(source), written)):
        if os.path.lexists(path):
            return os.path.abspath(path)
    return None


def write_reference(ref: ModelRef) -> str | dict[str, dict[str, str]]:
    """The text or map that reads back as `ref`, whatever exists on disk."""
    if ref.is_in_bucket or (ref.revision is None and not {"@", "+"} & set(ref.path)):
        return ref.path
    return {"model": {"path": ref.path} | ({} if ref.revision is None else {"revision": ref.revision})}


def _read_map(raw: dict[object, object], place: Place) -> ModelRef:
    """The map form `{model: {path, revision}}`; the path in it is taken as it stands."""
    place.only(raw, ["model", "lora"], lambda name: _DEEPER if name in ("path", "revision") else "")
    if raw.get("lora") is not None:
        raise place.key("lora").error("LoRA adapters are not supported yet", hint=_NO_LORA)
    inner = place.key("model")
    fields = inner.mapping(raw.get("model"), "a mapping with `path` and, if wanted, `revision`")
    inner.only(fields, ["path", "revision"])
    path = _printable(inner.key("path").text(fields.get("path"), _EXPECTED), inner.key("path"))
    if fields.get("revision") is None:
        return ModelRef(path)
    return ModelRef(path, inner.key("revision").text(fields["revision"], "a branch, tag or commit"))


def _read_text(raw: object, place: Place) -> ModelRef:
    """The text form `path[@revision]`."""
    text = _printable(place.text(raw, _EXPECTED), place)
    whole = ModelRef(text)  # in a bucket's folders @ and + are letters as any other
    if whole.is_in_bucket or local_path(whole, place.source) is not None:
        return whole
    if "+" in text:
        raise place.error("LoRA adapters are not supported yet", found=describe(text), hint=_NO_LORA)
    path, *revisions = text.split("@")
    if not path or len(revisions) > 1 or not all(revisions):
        raise place.error(
            "not a model reference",
            expected=_EXPECTED,
            found=describe(text),
            hint="write `{model: {path: ..., revision: ...}}` for a path with @ in it",
        )
    return ModelRef(path, revisions[0] if revisions else None)


def _printable(text: str, place: Place) -> str:
    """`text`, if no control character hides in it: it would end up in paths, addresses and messages."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise place.error("a control character in a model reference", found=describe(text))
    return text
