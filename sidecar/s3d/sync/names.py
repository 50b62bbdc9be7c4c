"""Which names can be both a key below a prefix and a path below a folder (SEMANTICS S-6), and how a conflict copy is
called (S-1). Pure.

A path is a key without the folder's prefix, and is written as S3 writes it: with `/`, and without one at its start.
What cannot live on the other side is left alone, and never renamed: two names that an escape makes alike would be two
files that take turns at one key.
"""

import re

OWN = ".s3d"
"""The directory in the folder that belongs to s3d: stage, trash and marker."""
TRASH = ".s3d-trash"
"""Below the prefix at the remote: what was deleted there since it was deleted in the folder."""
MAX_KEY_BYTES = 1024
"""Bytes of S3's longest key."""
MAX_NAME_BYTES = 255
"""Bytes of the longest name in a directory."""
CONTENT_DIGITS = 12
"""Hexadecimal digits of its content in the name of a conflict copy."""
MARK = re.compile(rf" \(conflict [0-9a-f]{{{CONTENT_DIGITS}}}(?: [0-9]+)?\)(?=(?:\.[^./]*)?\Z)")
"""What tells a conflict copy from other files."""


def why_not(path: str, prefix: str = "") -> str:
    """Why a path cannot be on both sides, in a few words; "" where it can."""
    if not path or path.endswith("/"):
        return "a key that ends with a slash is no file"
    if reason := why_not_key(prefix + path):
        return reason
    parts = path.split("/")
    if "" in parts:
        return "a path has no empty part"
    if "." in parts or ".." in parts:
        return "a part of the name is . or .."
    if parts[0] in (OWN, TRASH):
        return f"{parts[0]} belongs to s3d"
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return f"a part of the name is longer than {MAX_NAME_BYTES} bytes"
    return ""


def why_not_key(key: str) -> str:
    """Why a key is none that a file can have, in a few words; "" where it is one."""
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if len(raw) > MAX_KEY_BYTES:
        return f"the key is longer than {MAX_KEY_BYTES} bytes"
    return "a file's name has no zero byte" if b"\0" in raw else ""


def conflict_copy(path: str, sha256: bytes, number: int = 1) -> str:
    """What the copy of a conflict's loser is called, by its content: all who keep the same loser call it the same, and
    one of them uploads it.

    `number` tells it from another content that somebody has put there since. The ending stays, so that a copy opens
    with the same program.
    """
    directory, slash, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    which = sha256.hex()[:CONTENT_DIGITS] if number == 1 else f"{sha256.hex()[:CONTENT_DIGITS]} {number}"
    tail = f" (conflict {which}){dot}{ending}"
    if len(tail.encode()) > MAX_NAME_BYTES // 2:
        stem, tail = name, f" (conflict {which})"
    room = MAX_NAME_BYTES - len(tail.encode())
    return directory + slash + stem.encode()[:room].decode(errors="ignore") + tail


def original(path: str) -> str:
    """What a path is the conflict copy of; "" where it is none. Of a very long name it is the part that is left."""
    found = MARK.search(path)
    return path[: found.start()] + path[found.end() :] if found else ""
