"""An S3 bucket on the loopback interface: listing, sizes and ranged reads of a folder's files.

It answers what a reading client asks, counts the bytes it sent and stops with its context. Signatures are not
looked at; one account is refused. It can be made to lie: `planted` keys are listed beside the true ones, and
ranges of the files in `cut_short` come without their second half as often as is said there.
"""

from __future__ import annotations

from collections import Counter
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.helpers.loopback import Handler, LoopbackServer

REFUSED = "refused-account"


class Bucket(LoopbackServer):
    """Serves `folder` as the bucket of that name while its context is open."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(_Handler)
        self.name, self.folder = name, folder
        self.planted: dict[str, bytes] = {}
        self.cut_short: Counter[str] = Counter()

    def variables(self, cache: Path, account: str = "somebody") -> dict[str, str]:
        """The environment that sends S3 clients here, with a cache of their own."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MERGESCALE_CACHE": str(cache),
        }

    def listing(self, prefix: str, delimiter: str) -> str:
        """ListObjectsV2's answer."""
        keys, folders = [], set()
        found_here = [
            (path.relative_to(self.folder).as_posix(), path.stat())
            for path in sorted(path for path in self.folder.rglob("*") if path.is_file())
        ]
        sizes = [(key, stat.st_size, int(stat.st_mtime)) for key, stat in found_here]
        for key, size, changed_s in [*sizes, *((key, len(data), 0) for key, data in self.planted.items())]:
            if not key.startswith(prefix):
                continue
            below = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if below[1]:
                folders.add(prefix + below[0] + delimiter)
            else:
                keys.append((key, size, changed_s))
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:{changed_s % 60:02d}"
            f".000Z</LastModified><Size>{size}</Size></Contents>"
            for key, size, changed_s in keys
        )
        found += "".join(
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            for folder in sorted(folders)
        )
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.name}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
            f"<IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        )


class _Handler(Handler):
    """Answers one connection of a bucket."""

    served: Bucket

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        name, _, key = unquote(url.path).lstrip("/").partition("/")
        if REFUSED in self.headers.get("Authorization", ""):
            return self._send(403, b"<Error><Code>AccessDenied</Code><Message>no access</Message></Error>")
        if name != self.served.name:
            return self._send(
                404, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
            )
        if not key:
            asked = parse_qs(url.query)
            prefix, delimiter = (asked.get(word, [""])[0] for word in ("prefix", "delimiter"))
            return self._send(200, self.served.listing(prefix, delimiter).encode())
        path, planted = self.served.folder / key, self.served.planted.get(key)
        if planted is None and not path.is_file():
            return self._send(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
        content = path.read_bytes() if planted is None else planted
        span = self.headers.get("Range", "")
        if not span:
            return self._send(200, content, path.name)
        first, last = span.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1]
        if self.served.cut_short[path.name] > 0:
            self.served.cut_short[path.name] -= 1
            part = part[: len(part) // 2]
        kept = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return self._send(206, part, path.name, {"Content-Range": kept})

    def _send(self, status: int, body: bytes, name: str = "", extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        dated = {"Last-Modified": formatdate(0, usegmt=True), "ETag": '"0"'} if name else {}
        for key, value in ({"Content-Length": str(len(body))} | dated | (extra or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.served.sent_bytes[name] += len(body)  # before a client can have it and look here
            self.wfile.write(body)
