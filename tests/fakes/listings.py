"""Listings of objects and versions."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from s3d.errors import S3Error
from tests.fakes.contents import OWNER, Bucket, Contents, Request, Response, Version, moment

MOST = 1000
"""Entries of a page, at most."""


class Listings(Contents):
    """What is listed."""

    def listed(self, bucket: Bucket, params: Mapping[str, Any], after: str) -> list[tuple[str, Version | None]]:
        """Objects and common prefixes (None) after a name, in order."""
        names = sorted(bucket.keys, key=str.encode)
        there = [(name, bucket.current(name)) for name in names]
        shown = [(name, version) for name, version in there if version is not None]
        return rolled_up(shown, params.get("Prefix", ""), params.get("Delimiter", ""), after)

    def list_objects(self, request: Request) -> Response:
        params = request.params
        marker = params.get("Marker", "")
        items = self.listed(self.bucket(request), params, marker)
        page = items[: most_of(params)]
        result = listing(params, page, len(page) < len(items) and bool(page)) | {"Marker": encoder(params)(marker)}
        if result["IsTruncated"] and params.get("Delimiter"):
            result["NextMarker"] = encoder(params)(page[-1][0])
        return Response(result)

    def list_objects_v2(self, request: Request) -> Response:
        params = request.params
        token = params.get("ContinuationToken")
        after = params.get("StartAfter", "") if token is None else opened(token)
        items = self.listed(self.bucket(request), params, after)
        page = items[: most_of(params)]
        owner = bool(params.get("FetchOwner"))
        result = listing(params, page, len(page) < len(items) and bool(page), owner=owner) | {"KeyCount": len(page)}
        if "StartAfter" in params:
            result["StartAfter"] = encoder(params)(params["StartAfter"])
        if token is not None:
            result["ContinuationToken"] = token
        if result["IsTruncated"]:
            result["NextContinuationToken"] = sealed(page[-1][0])
        return Response(result)

    def list_object_versions(self, request: Request) -> Response:
        bucket = self.bucket(request)
        params = request.params
        encoded = encoder(params)
        versions, markers = [], []
        for key in sorted(bucket.keys, key=str.encode):
            if not key.startswith(params.get("Prefix", "")):
                continue
            for at, version in enumerate(reversed(bucket.keys[key])):
                entry = {
                    "Key": encoded(key),
                    "VersionId": version.id,
                    "IsLatest": at == 0,
                    "LastModified": moment(version.modified),
                    "Owner": OWNER,
                }
                if version.marker:
                    markers.append(entry)
                else:
                    size = len(version.data)
                    versions.append(entry | {"ETag": f'"{version.etag}"', "Size": size, "StorageClass": "STANDARD"})
        return Response(
            {
                "Name": bucket.name,
                "Prefix": encoded(params.get("Prefix", "")),
                "IsTruncated": False,
                "MaxKeys": 1000,
                "Versions": versions,
                "DeleteMarkers": markers,
                "EncodingType": params.get("EncodingType"),
            }
        )


def rolled_up(items: Iterable[tuple[str, Any]], prefix: str, delimiter: str, after: str) -> list[tuple[str, Any]]:
    """Of items in order, those of a prefix after a name; what a delimiter groups is its common prefix with None."""
    found: list[tuple[str, Any]] = []
    for name, item in items:
        if not name.startswith(prefix):
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = (name, item) if at < 0 else (name[: at + len(delimiter)], None)
        # A page that ended in a common prefix goes on behind everything in it.
        passed = entry[0].encode() <= after.encode() or (at >= 0 and after.startswith(entry[0]))
        if not passed and (at < 0 or found[-1:] != [entry]):
            found.append(entry)
    return found


def listing(
    params: Mapping[str, Any], page: list[tuple[str, Version | None]], truncated: bool, *, owner: bool = True
) -> dict[str, Any]:
    """What both listings of objects say."""
    encoded = encoder(params)
    contents = []
    for _, version in page:
        if version is not None:
            entry = {
                "Key": encoded(version.key),
                "LastModified": moment(version.modified),
                "ETag": f'"{version.etag}"',
                "Size": len(version.data),
                "StorageClass": "STANDARD",
            }
            contents.append(entry | {"Owner": OWNER} if owner else entry)
    return {
        "Name": params["Bucket"],
        "Prefix": encoded(params.get("Prefix", "")),
        "Delimiter": encoded(params.get("Delimiter", "")) or None,
        "MaxKeys": params.get("MaxKeys", 1000),
        "IsTruncated": truncated,
        "EncodingType": params.get("EncodingType"),
        "Contents": contents,
        "CommonPrefixes": [{"Prefix": encoded(name)} for name, version in page if version is None],
    }


def most_of(params: Mapping[str, Any]) -> int:
    """How many entries a page has."""
    most: int = params.get("MaxKeys", 1000)
    if most < 0:
        raise S3Error("InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647")
    return min(MOST, most)


def encoder(params: Mapping[str, Any]) -> Callable[[str], str]:
    """How names are written in a listing."""
    if params.get("EncodingType") == "url":
        return lambda name: quote(name, safe="/-_.~*").replace("%20", "+")
    return str


def sealed(name: str) -> str:
    """A token that names where a page ended."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def opened(token: str) -> str:
    """Where a token says that the page before ended."""
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
