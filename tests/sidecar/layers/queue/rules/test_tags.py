"""Tags as header and as document, and what S3 refuses of them."""

import pytest

from s3d.errors import S3Error
from s3d.layers.queue.rules import limits, tags
from s3d.protocol.headers import TAGGING


def test_a_header_is_a_query() -> None:
    assert tags.of_header("a=b&c=&d&e+f=g%26h") == [("a", "b"), ("c", ""), ("d", ""), ("e f", "g&h")]
    assert tags.to_header([("e f", "g&h"), ("ü", "")]) == "e%20f=g%26h&%C3%BC="
    assert tags.of_header(tags.to_header([("e f", "g&h"), ("ü", "+/:@=")])) == [("e f", "g&h"), ("ü", "+/:@=")]


@pytest.mark.parametrize("document", [{}, {"Tagging": {}}, {"Tagging": {"TagSet": [{"Key": "a"}]}}])
def test_a_document_without_its_elements_is_malformed(document: dict[str, object]) -> None:
    with pytest.raises(S3Error, match="MalformedXML"):
        tags.of_document(document)


FINE = [
    [],
    [(f"k{n}", "v") for n in range(10)],
    [("k" * 128, "v" * 256)],
    [("Grüße an:/@+-=._ x", "日本 語")],
]
REFUSED = [
    [(f"k{n}", "v") for n in range(11)],
    [("k", "1"), ("k", "2")],
    [("", "v")],
    [("k" * 129, "v")],
    [("k", "v" * 257)],
    [("a<b", "v")],
    [("k", "a;b")],
]


@pytest.mark.semantics("Q-15")
@pytest.mark.parametrize("pairs", FINE)
def test_tags_within_the_limits_pass(pairs: tags.Pairs) -> None:
    tags.check(pairs)


@pytest.mark.semantics("Q-15")
@pytest.mark.parametrize("pairs", REFUSED)
def test_tags_beyond_the_limits_are_refused_before_the_acknowledgement(pairs: tags.Pairs) -> None:
    with pytest.raises(S3Error, match="InvalidTag"):
        limits.check("k", 1, {TAGGING: tags.to_header(pairs)})


@pytest.mark.parametrize("header", ["a=%", "a=%zz", "a=%ff"])
def test_a_header_that_is_no_query_is_refused(header: str) -> None:
    with pytest.raises(S3Error, match="InvalidArgument"):
        tags.of_header(header)
