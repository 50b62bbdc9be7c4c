"""The canonical request, part by part."""

import pytest

from s3d.protocol import canonical


@pytest.mark.parametrize(
    ("text", "canonical_path"),
    [
        ("/b/a/../c//./d/", "/b/a/../c//./d/"),
        ("/b/a%2fb", "/b/a/b"),
        ("/b/a%252Fb", "/b/a%252Fb"),
        ("/b/%7e%41!*'()", "/b/~A%21%2A%27%28%29"),
        ("/b/a+b%20c", "/b/a%2Bb%20c"),
        ("/b/é", "/b/%C3%A9"),
    ],
)
def test_a_path_is_decoded_once_and_quoted_anew(text: str, canonical_path: str) -> None:
    assert canonical.path(text) == canonical_path


@pytest.mark.parametrize(
    ("text", "canonical_query"),
    [
        ("", ""),
        ("uploads", "uploads="),
        ("b=2&a=1&a=0", "a=0&a=1&b=2"),
        ("prefix=a+b%20c/d", "prefix=a%20b%20c%2Fd"),
        ("a=b=c&&%7e=~", "a=b%3Dc&~=~"),
    ],
)
def test_a_query_is_quoted_anew_and_sorted(text: str, canonical_query: str) -> None:
    assert canonical.query(text) == canonical_query
