"""What an endpoint shows of a set of buckets: keys, bytes, ETags, metadata, tags. Two views can be told apart.

Last-Modified is left out: it may move once, when a change is delivered (SEMANTICS Q-4). So is the storage class
STANDARD, which AWS does not say and some servers do.
"""

import hashlib
from typing import Any

from botocore.exceptions import ClientError

SHOWN = (
    *("ETag", "ContentLength", "ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage"),
    *("CacheControl", "ExpiresString", "Metadata", "WebsiteRedirectLocation", "StorageClass", "ServerSideEncryption"),
)
View = dict[str, dict[str, Any]]
"""By `bucket/key`: what GET shows, or the code of its error."""


def take(client: Any, prefix: str) -> View:
    """Look at every object of every bucket whose name holds `prefix`."""
    shown: View = {}
    for bucket in client.list_buckets()["Buckets"]:
        if prefix in bucket["Name"]:
            shown[bucket["Name"]] = {}
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                for entry in page.get("Contents", ()):
                    shown[f"{bucket['Name']}/{entry['Key']}"] = look(client, bucket["Name"], entry)
    return shown


def look(client: Any, bucket: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One object, as the listing and GET have it."""
    key = entry["Key"]
    listed = {"listed ETag": entry["ETag"], "listed size": entry["Size"]}
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        return {**listed, "error": error.response["Error"]["Code"]}
    digest = hashlib.sha256()
    for block in answer["Body"].iter_chunks(1 << 20):
        digest.update(block)
    try:
        tags = {tag["Key"]: tag["Value"] for tag in client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}
    except ClientError as error:
        tags = {"error": error.response["Error"]["Code"]}
    headers = {name: answer[name] for name in SHOWN if answer.get(name) not in (None, "", "STANDARD")}
    return {**listed, **headers, "sha256": digest.hexdigest(), "tags": tags}


def difference(acknowledged: View, delivered: View) -> str:
    """The first thing in which two views differ; "" where there is none."""
    for name in sorted({*acknowledged, *delivered}):
        if name not in delivered:
            return f"{name} is not on the remote"
        if name not in acknowledged:
            return f"{name} is on the remote and was not shown"
        ours, theirs = acknowledged[name], delivered[name]
        for field in sorted({*ours, *theirs}):
            if ours.get(field) != theirs.get(field):
                return f"{name}: {field} was {ours.get(field)!r} and is {theirs.get(field)!r}"
    return ""
