"""The document of the access keys: what it may say, and how it is told that it is wrong."""

import json

import pytest

from s3d.access import document
from s3d.access.keys import AccessKey
from s3d.errors import ConfigError

SECRET = "not-to-be-shown"

WRONG = {
    "nothing": (b"", "Invalid JSON"),
    "cut": (b'[{"id": "app", "secret": "not-to-be-shown"', "Invalid JSON"),
    "nested": (b"[" * 100_000, "Invalid JSON"),
    "no UTF-8": (b'[{"id": "app", "secret": "not-to-be-shown\xff"}]', "Invalid JSON"),
    "an object": (b'{"app": "not-to-be-shown"}', "Input should be a valid array"),
    "a string": (b'["not-to-be-shown"]', "entry 1: Input should be an object"),
    "no secret": ([{"id": "app"}], "entry 1: a key has an `id`, and either a `secret` or `secrets`"),
    "no id": ([{"secret": SECRET}], "entry 1: a key has an `id`"),
    "both": ([{"id": "app", "secret": SECRET, "secrets": [SECRET]}], "entry 1: a key has an `id`"),
    "a short secret": ([{"id": "app", "secret": "shown"}], "entry 1: secret: 8 to 128 characters"),
    "a secret with a space": ([{"id": "app", "secrets": [f"{SECRET} "]}], "entry 1: secrets: 8 to 128 characters"),
    "a number": ([{"id": "app", "secret": 1234567890}], "entry 1: secret: Input should be a valid string"),
    "three secrets": ([{"id": "app", "secrets": [SECRET, SECRET + "2", SECRET + "3"]}], "entry 1: secrets: a key has"),
    "one secret twice": ([{"id": "app", "secrets": [SECRET, SECRET]}], "entry 1: secrets: a key has one secret or two"),
    "an id with a slash": ([{"id": "a/b", "secret": SECRET}], "entry 1: id: 3 to 128 letters"),
    "an unknown field": ([{"id": "app", "secret": SECRET, "readonly": True}], "entry 1: readonly: Extra inputs"),
    "no list": ([{"id": "app", "secret": SECRET, "buckets": "b"}], "entry 1: buckets: Input should be a valid array"),
    "one id twice": ([{"id": "app", "secret": SECRET}] * 2, "entry 2 has the same id as entry 1"),
    "anonymous twice": ([{"anonymous": True}] * 2, "entry 2 has the same anonymous as entry 1"),
    "an anonymous key": ([{"anonymous": True, "id": "app"}], "entry 1: an entry with `anonymous` has neither"),
    "nobody": ([{"readOnly": True}], "entry 1: a key has an `id`"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_by_its_place_and_never_by_its_value(wrong: str) -> None:
    said, words = WRONG[wrong]
    with pytest.raises(ConfigError) as refused:
        document.parse(said if isinstance(said, bytes) else json.dumps(said).encode(), "keys.json")
    assert f"keys.json: {words}" in str(refused.value)
    assert "shown" not in str(refused.value) + refused.value.hint
    assert "docs/ACCESS.md" in refused.value.hint


def test_all_entries_are_judged_at_once() -> None:
    with pytest.raises(ConfigError, match=r"entry 1: secret.*; entry 3: buckets"):
        document.parse(
            json.dumps([{"id": "one", "secret": "x"}, {"anonymous": True}, {"id": "app", "buckets": 1}]).encode(), "f"
        )


def test_keys_are_what_their_entries_say() -> None:
    said = [
        {"id": "app", "secret": SECRET},
        {"id": "report", "secrets": ["the-new-one", SECRET], "readOnly": True, "buckets": ["sales"]},
        {"anonymous": True, "buckets": ["public"]},
    ]
    entries = document.parse(json.dumps(said).encode(), "f")
    keys = document.keys_of(entries)
    assert keys.find("app") == AccessKey("app", (SECRET,))
    assert keys.find("report") == AccessKey("report", ("the-new-one", SECRET), read_only=True, buckets=("sales",))
    assert keys.anonymous == AccessKey("", (), read_only=True, buckets=("public",))
    assert json.loads(document.write(entries)) == said
    assert SECRET not in repr(entries)


def test_unsigned_requests_write_only_where_the_entry_says_so() -> None:
    assert document.keys_of(document.parse(b"[]", "f")).anonymous is None
    for said, read_only in ((b'[{"anonymous": true}]', True), (b'[{"anonymous": true, "readOnly": false}]', False)):
        anonymous = document.keys_of(document.parse(said, "f")).anonymous
        assert anonymous is not None
        assert anonymous.read_only is read_only
