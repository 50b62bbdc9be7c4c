"""Stores that list as S3 allows, or as some that call themselves S3 do: a fake whose pages are as a test has them."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from multidict import CIMultiDict

from s3d.api import BytesBody, Reply, Wire
from s3d.errors import S3Error
from s3d.protocol import decode
from s3d.protocol.encode import escape
from tests.fakes.fake import Fake
from tests.gateways import Gateway


@dataclass(frozen=True, slots=True)
class Style:
    """How a store lists."""

    most: int = 1000
    """Entries of a page, whatever it is asked for."""
    empty: int = 0
    """Empty truncated pages before each page that is not."""
    starts: bool = True
    """It starts after a name where it is asked to; else only its own tokens lead anywhere."""
    order: Callable[[str], Any] = str.encode
    encodes: bool = True
    """It encodes names where it is asked to."""
    says: bool = True
    """It says so."""
    cdata: bool = False
    """Texts are written as CDATA."""


class Lister(Fake):
    """The fake, with listings of its own. Tokens, and markers that it gives itself, are opaque."""

    def __init__(self, style: Style, keys: Mapping[str, list[str]] | None = None) -> None:
        """Take how it lists, and keys by bucket."""
        super().__init__()
        self.style = style
        self._tokens: dict[str, tuple[str, int]] = {}
        self._numbers = itertools.count(1)
        for bucket, names in (keys or {}).items():
            self.make_bucket(bucket, names)

    def make_bucket(self, bucket: str, names: list[str]) -> None:
        """Make a bucket with objects in it."""
        self.answer(Wire("PUT", f"/{bucket}", "", CIMultiDict()), b"", {})
        for name in names:
            self.answer(Wire("PUT", f"/{bucket}/{quote(name)}", "", CIMultiDict()), b"x", {})

    def answer(self, wire: Wire, data: bytes, sums: Mapping[str, str]) -> Reply:
        """Answer one request."""
        operation, params = decode.request(wire, ())
        if operation is None or operation.name not in ("ListObjects", "ListObjectsV2"):
            return super().answer(wire, data, sums)
        page = self._page(params, second=operation.name == "ListObjectsV2")
        return Reply(200, CIMultiDict({"Content-Type": "application/xml"}), body=BytesBody(page.encode()))

    def _entries(self, params: Mapping[str, Any]) -> list[tuple[str, bool]]:
        """Names in the store's order, and whether they are prefixes."""
        bucket, prefix = self.buckets[params["Bucket"]], params.get("Prefix", "")
        delimiter = params.get("Delimiter", "")
        found: dict[tuple[str, bool], None] = {}
        for key in sorted(bucket.keys, key=self.style.order):
            if bucket.current(key) is not None and key.startswith(prefix):
                end = key.find(delimiter, len(prefix)) if delimiter else -1
                found[(key, False) if end < 0 else (key[: end + len(delimiter)], True)] = None
        return list(found)

    def _page(self, params: Mapping[str, Any], *, second: bool) -> str:
        style, entries = self.style, self._entries(params)
        token = params.get("ContinuationToken") or params.get("Marker", "")
        after, empty = "", style.empty
        if token in self._tokens:
            after, empty = self._tokens[token]
        elif style.starts:
            after = params.get("StartAfter") or params.get("Marker", "")
        start = sum(style.order(name) <= style.order(after) for name, _ in entries) if after else 0
        end = start if empty else min(len(entries), start + min(style.most, params.get("MaxKeys", 1000)))
        shown, more = entries[start:end], end < len(entries)
        encoded = style.encodes and "EncodingType" in params
        new = f"opaque+/={next(self._numbers)}"
        self._tokens[new] = (entries[end - 1][0] if end else "", empty - 1 if empty else style.empty)

        def named(text: str) -> str:
            return self._written(quote(text, safe="/") if encoded else text)

        parts = [f"<Name>{params['Bucket']}</Name><IsTruncated>{'true' if more else 'false'}</IsTruncated>"]
        parts += ["<EncodingType>url</EncodingType>"] if encoded and style.says else []
        if more:
            parts.append(f"<NextContinuationToken>{self._written(new)}</NextContinuationToken>" if second else "")
            marker = quote(new, safe="/") if encoded else new
            parts.append("" if second else f"<NextMarker>{self._written(marker)}</NextMarker>")
        for name, rolled in shown:
            parts.append(
                f"<CommonPrefixes><Prefix>{named(name)}</Prefix></CommonPrefixes>"
                if rolled
                else f"<Contents><Key>{named(name)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
                "<ETag>&quot;0&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>{"".join(parts)}</ListBucketResult>'

    def _written(self, text: str) -> str:
        return f"<![CDATA[{text}]]>" if self.style.cdata else escape(text)


class Begun(Exception):
    """A listing is refused that is under way."""


async def walked(gate: Gateway, bucket: str, *, second: bool = True, pages: int = 1000, **query: Any) -> list[str]:
    """The names of a listing, page by page, in the order in which they come."""
    names: list[str] = []
    for _ in range(pages):
        page = await gate.ask("ListObjectsV2" if second else "ListObjects", {"Bucket": bucket, **query})
        if isinstance(page, S3Error):
            raise Begun if page.code == "InvalidArgument" and names else page
        result = page.result
        shown = [one["Key"] for one in result.get("Contents", ())]
        shown += [one["Prefix"] for one in result.get("CommonPrefixes", ())]
        assert shown or not result["IsTruncated"], "a page is empty and truncated"
        names += sorted(shown, key=unquote if query.get("EncodingType") else str)
        if not result["IsTruncated"]:
            return names
        if second:
            query["ContinuationToken"] = result["NextContinuationToken"]
        else:
            query["Marker"] = result.get("NextMarker") or result["Contents"][-1]["Key"]
    raise AssertionError(f"the listing does not end: {names[:50]}")
