"""Access keys as values."""

import pytest

from s3d.access.keys import AccessKey, Keys
from tests.sidecar.access.examples import ID, KEY, KEYS, SECRET


def test_a_key_is_found_by_its_id() -> None:
    assert KEYS.find(ID) is KEY
    assert KEYS.find("nobody") is None
    assert list(KEYS) == [KEY]


@pytest.mark.semantics("A-5")
def test_no_secret_is_in_a_repr() -> None:
    assert SECRET not in repr(KEY) + repr(KEYS)


@pytest.mark.parametrize("keys", [[KEY, AccessKey(ID, ("other",))], [AccessKey("a", ())], [AccessKey("a", ("",))]])
def test_keys_that_nobody_could_tell_apart_or_use_are_refused(keys: list[AccessKey]) -> None:
    with pytest.raises(ValueError, match="access key"):
        Keys(keys, None)


def test_as_many_secrets_are_tried_for_each_key_and_for_none() -> None:
    keys = Keys([KEY, AccessKey("rotated", ("new", "old"))], None)
    tried = [keys.candidates(keys.find(name)) for name in (ID, "rotated", "nobody")]
    assert [len(secrets) for secrets in tried] == [2, 2, 2]
    assert (tried[0][0], tried[1]) == (SECRET, ("new", "old"))
    assert len({*tried[0], *tried[1], *tried[2]}) == 5
