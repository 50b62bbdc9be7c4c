"""Every example of docs/FILTERS.md: each form of a rule with an object that it means and one that it does not."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from s3d.filters.explain import explain
from s3d.filters.grammar import parse
from s3d.filters.match import Subject, Truth, decide

GUIDE = (Path(__file__).parents[3] / "docs/FILTERS.md").read_text()
FORMS = re.findall(r"^\| `(.+?)` \| ", GUIDE.partition("## Rules")[2].partition("## Lists")[0], re.MULTILINE)
SHOWN = re.findall(r"```console\n\$ (s3d [^\n]+)\n(.*?)```", GUIDE, re.DOTALL)
A = Subject(
    "photos", "2026/a.jpg", bucket_tags={}, tags={}, headers={"content-length": "5"}, metadata={}, identity="bob"
)
CASES: dict[str, tuple[Subject, Subject]] = {
    "photos": (A, replace(A, bucket="photos-2")),
    "logs-*": (replace(A, bucket="logs-x"), A),
    "photos/2026/a.jpg": (A, replace(A, key="2026/a.jpg.bak")),
    "photos/2026/*": (A, replace(A, key="2025/a.jpg")),
    "photos[tag:team]": (replace(A, bucket_tags={"team": ""}), replace(A, tags={"team": ""})),
    "photos[tag:team=blue]": (replace(A, bucket_tags={"team": "blue"}), replace(A, bucket_tags={"team": "blues"})),
    "photos[tag:team!=blue]": (A, replace(A, bucket_tags={"team": "blue"})),
    "photos/*[tag:class=public]": (replace(A, tags={"class": "public"}), replace(A, bucket_tags={"class": "public"})),
    "photos[hdr:content-type=video/*]": (
        replace(A, headers={"content-type": "video/mp4"}),
        replace(A, headers={"content-type": "audio/mp4"}),
    ),
    "photos[hdr:content-length<64Ki]": (
        replace(A, headers={"content-length": "65535"}),
        replace(A, headers={"content-length": "65536"}),
    ),
    "photos[md:author=Ada]": (replace(A, metadata={"author": "Ada"}), replace(A, metadata={"author": "ada"})),
    "photos[id:alice]": (replace(A, identity="alice"), A),
    "photos[tag:a]/x*[tag:b][md:c]": (
        replace(A, key="xy", bucket_tags={"a": "1"}, tags={"b": ""}, metadata={"c": ""}),
        replace(A, key="xy", bucket_tags={"a": "1"}, tags={"b": ""}),
    ),
    "!photos/tmp/*": (A, replace(A, key="tmp/a.jpg")),
}


def test_every_form_that_is_shown_is_tried() -> None:
    assert [*CASES] == FORMS


@pytest.mark.semantics("F-1", "F-1a")
@pytest.mark.parametrize("rule", FORMS)
def test_a_form_means_what_its_row_says_and_nothing_else(rule: str) -> None:
    meant, other = CASES[rule]
    rules = parse(rule)
    assert decide(rules, meant).answer is Truth.YES
    assert decide(rules, other).answer is Truth.NO
    assert parse(str(rules)) == rules


@pytest.mark.semantics("F-1")
def test_what_it_says_of_signs_names_and_values() -> None:
    assert decide(parse("b/'it''s, [x]'"), replace(A, bucket="b", key="it's, [x]")).answer is Truth.YES
    assert decide(parse(r"b/\*"), replace(A, bucket="b", key="*")).answer is Truth.YES
    assert decide(parse(r"b/\\"), replace(A, bucket="b", key="\\")).answer is Truth.YES
    assert decide(parse("*"), A).answer is Truth.YES
    blue = replace(A, bucket_tags={"Team": "blue-2"})
    assert decide(parse("photos[tag:Team=blue*]"), blue).answer is Truth.YES
    assert decide(parse("photos[tag:team=blue*]"), blue).answer is Truth.NO, "names of tags are case-sensitive"
    assert decide(parse("photos[hdr:Content-Length=5]"), A).answer is Truth.YES
    for times, suffix in ((10**3, "k"), (10**6, "M"), (10**9, "G"), (10**12, "T")):
        assert decide(parse(f"photos[hdr:content-length>=1{suffix}]"), sized(times)).answer is Truth.YES
        assert decide(parse(f"photos[hdr:content-length>1{suffix}]"), sized(times)).answer is Truth.NO
    for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti"), 1):
        assert decide(parse(f"photos[hdr:content-length<=1{suffix}]"), sized(1 << 10 * power)).answer is Truth.YES
        assert decide(parse(f"photos[hdr:content-length<1{suffix}]"), sized(1 << 10 * power)).answer is Truth.NO


def sized(size: int) -> Subject:
    """An object of a size."""
    return replace(A, headers={"content-length": str(size)})


@pytest.mark.semantics("F-4b")
@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_what_is_shown_of_a_list_is_what_is_said_of_it(command: str, output: str) -> None:
    lines = explain(parse("photos, !photos/tmp/*"), Subject("photos", "tmp/a.jpg"))[1]
    said = ["  ".join(filter(None, line)) for line in lines]
    shown = [re.sub(r" {2,}", "  ", line.strip()) for line in output.splitlines()]
    assert len(said) == 3
    assert [line for line in shown if line in said] == said
