"""A model Hub on the loopback interface: the few endpoints huggingface_hub needs to list and fetch a model.

Weight files are answered with a redirect to another host name, as the real one does. It keeps an account of
the bytes it sent, stops with its context, and reaches nothing outside this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.helpers.loopback import Handler, LoopbackServer

_REPO = r"(?P<repo>[\w.-]+(?:/[\w.-]+)?)"
_INFO = re.compile(rf"/api/models/{_REPO}/revision/(?P<rev>[^/]+)")
_TREE = re.compile(rf"/api/models/{_REPO}/tree/(?P<rev>[^/]+)")
_FILE = re.compile(rf"/{_REPO}/resolve/(?P<rev>[^/]+)/(?P<file>.+)")
_CDN = re.compile(r"/cdn/(?P<rev>[0-9a-f]{40})/(?P<file>.+)")


@dataclass(frozen=True)
class Repository:
    """A directory served under a name. `commit` is what its branch main points to."""

    directory: Path
    commit: str
    gated: bool = False
    ranges: bool = True

    def files(self) -> list[str]:
        """Relative paths of all files."""
        return sorted(
            p.relative_to(self.directory).as_posix() for p in self.directory.rglob("*") if p.is_file()
        )


class HubServer(LoopbackServer):
    """Serves repositories while its context is open. `sent_bytes` counts what left, by file name."""

    def __init__(self, repositories: dict[str, Repository]) -> None:
        super().__init__(_Handler)
        self.repositories = repositories


def ask(endpoint: str, home: Path, *requests: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
    """Answer requests {"path", "revision"?, "swap"?, "fetch"?, "same"?} with our reader in a fresh process.

    huggingface_hub reads its environment when it is imported, hence the process. "swap" copies one file over
    another between planning and fetching. Each answer is {"directory", "commit", "config",
    "tensors": {name: [dtype, shape, file, start]}, "files": [[path, size, digest, mtime]],
    "same": [whether a pair of tensors in "same" is equal, for each]}
    or {"error": {field: text}}.
    """
    clean = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.hub", json.dumps(requests)],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from pipeline.checkpoint.compare import same_bytes
    from pipeline.checkpoint.hub import fetch_weights
    from pipeline.checkpoint.locate import read_index
    from pipeline.errors import CheckpointError
    from pipeline.values import ModelRef

    try:
        index = read_index(ModelRef(request["path"], request.get("revision")))
        if "swap" in request:
            shutil.copyfile(*request["swap"])
        if request.get("fetch"):
            index = fetch_weights(index)
        same = [
            same_bytes(index, index.tensors[name], index, index.tensors[other])
            for name, other in request.get("same", ())
        ]
    except CheckpointError as error:
        return {
            "error": {name: getattr(error, name) for name in ("what", "where", "expected", "found", "hint")}
        }
    return {
        "directory": index.directory,
        "commit": index.commit,
        "config": index.config,
        "same": same,
        "tensors": {
            name: [entry.spec.dtype.name, list(entry.spec.shape), entry.file, entry.start_byte]
            for name, entry in index.tensors.items()
        },
        "files": [[file.path, file.size_bytes, file.header_digest, file.mtime_ns] for file in index.files],
    }


class _Handler(Handler):
    """Answers one connection of a Hub."""

    served: HubServer

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        cdn = _CDN.fullmatch(path)
        if cdn is not None:
            repository = next(r for r in self.served.repositories.values() if r.commit == cdn["rev"])
            self._send_file(repository, cdn["file"], {})
            return
        match = _INFO.fullmatch(path) or _TREE.fullmatch(path) or _FILE.fullmatch(path)
        found = self.served.repositories.get(match["repo"]) if match else None
        if match is None or found is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif found.gated:
            self._refuse(403, "GatedRepo", "Access to this model is restricted")
        elif match["rev"] not in ("main", found.commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif match.re is _INFO:
            files = [{"rfilename": name} for name in found.files()]
            self._send_json({"id": match["repo"], "sha": found.commit, "siblings": files})
        elif match.re is _TREE:
            self._send_json([self._entry(found, name) for name in found.files()])
        else:
            self._send_entry(found, match["file"])

    do_HEAD = do_GET

    def _entry(self, found: Repository, name: str) -> dict[str, Any]:
        size = (found.directory / name).stat().st_size
        return {"type": "file", "path": name, "size": size, "oid": _etag(found, name)}

    def _send_entry(self, found: Repository, name: str) -> None:
        if name not in found.files():
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": found.commit, "ETag": f'"{_etag(found, name)}"'}
        if name.endswith(".safetensors"):
            size = str((found.directory / name).stat().st_size)
            headers |= {"X-Linked-Size": size, "X-Linked-ETag": headers["ETag"]}
            elsewhere = self.served.url.replace("127.0.0.1", "localhost")
            self._send(302, b"", headers | {"Location": f"{elsewhere}/cdn/{found.commit}/{name}"})
            return
        self._send_file(found, name, headers)

    def _send_file(self, found: Repository, name: str, headers: dict[str, str]) -> None:
        content = (found.directory / name).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status = 200
        if wanted is not None and found.ranges:
            start, stop = int(wanted[1]), int(wanted[2] or len(content)) + 1
            headers = headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
            status, content = 206, content[start:stop]
        if self.command == "GET":
            self.served.sent_bytes[name] += len(content)
        self._send(status, content, headers)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _etag(found: Repository, name: str) -> str:
    return hashlib.sha1((found.directory / name).read_bytes()).hexdigest()


if __name__ == "__main__":
    print(json.dumps([_answer(request) for request in json.loads(sys.argv[1])]))
