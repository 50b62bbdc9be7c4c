"""CORS rules as S3 has them: which one lets a request pass, and what the browser is told."""

from typing import Any

import pytest

from s3d.access import cors
from s3d.access.cors import Rule, Rules

APP = "https://app.example"
# The examples of S3's documentation, and what its wildcards stand for.
ORIGINS = [
    ("*", APP, True),
    ("*", "null", True),
    (APP, APP, True),
    (APP, "https://app.example:8443", False),
    (APP, "http://app.example", False),
    (APP, "https://APP.example", False),
    ("https://*.example", APP, True),
    ("https://*.example", "https://example", False),
    ("https://*.example", "https://.example", True),
    ("https://*.example", "https://app.example.evil", False),
    ("*suffix", "foo.suffix", True),
    ("*suffix", "foo.suffix.get", False),
    ("start*end", "start12end", True),
    ("start*end", "startend", True),
    ("start*end", "0start12end", False),
    ("aba*bab", "abab", False),
    ("prefix*", "prefix.suffix", True),
    ("http*", APP, True),
    ("a*b*c", "abc", False),
    ("a*b*c", "a-b*c", False),
]
HEADERS = [
    ([], [], True),
    ([], ["content-type"], False),
    (["*"], ["Content-Type", "x-amz-meta-a"], True),
    (["x-amz-*"], ["X-Amz-Date", "x-amz-meta-a"], True),
    (["X-AMZ-*"], ["x-amz-date"], True),
    (["x-amz-*"], ["x-amz-date", "content-type"], False),
    (["x-amz-*", "Content-Type"], ["x-amz-date", "content-type"], True),
    (["x-amz-meta-header1"], ["x-amz-meta-header2"], False),
]
SITES = [
    ("*", False),
    ("null", False),
    ("http*", False),
    ("https:*", False),
    ("https://*", False),
    ("http://*", False),
    (APP, True),
    ("https://*.example", True),
    ("*.example", True),
    ("http*://app.example", True),
]


@pytest.mark.semantics("R-12")
@pytest.mark.parametrize(("pattern", "origin", "passes"), ORIGINS)
def test_an_origin_is_matched_with_one_wildcard(pattern: str, origin: str, passes: bool) -> None:
    rules = Rules((Rule((pattern,), ("GET",)),))
    assert (rules.find(origin, "GET") is not None) == passes
    assert rules.find(origin, "PUT") is None


@pytest.mark.semantics("R-12")
@pytest.mark.parametrize(("allowed", "asked", "passes"), HEADERS)
def test_every_header_that_is_asked_for_is_matched(allowed: list[str], asked: list[str], passes: bool) -> None:
    rules = Rules((Rule(("*",), ("PUT",), tuple(allowed)),))
    assert (rules.find(APP, "PUT", asked) is not None) == passes


@pytest.mark.semantics("R-12")
def test_the_first_rule_that_lets_all_of_the_request_pass_counts() -> None:
    narrow, wide = Rule((APP,), ("GET",), ("range",), max_age=1), Rule(("*",), ("GET", "PUT"), ("*",), max_age=2)
    rules = Rules((narrow, wide))
    assert rules.find(APP, "GET") is narrow
    assert rules.find(APP, "GET", ["Range"]) is narrow
    assert rules.find(APP, "GET", ["Range", "x-amz-date"]) is wide
    assert rules.find(APP, "PUT") is wide
    assert rules.find("https://other.example", "GET") is wide
    assert rules.find(APP, "DELETE") is None


@pytest.mark.semantics("R-12")
def test_an_answer_names_the_origin_unless_the_rule_is_for_all() -> None:
    assert cors.headers_of(Rule((APP, "https://b.example"), ("GET", "PUT"), ("*",), ("ETag", "x-amz-id"), 30), APP) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Expose-Headers": "ETag, x-amz-id",
        "Access-Control-Max-Age": "30",
    }
    assert cors.headers_of(Rule(("*",), ("GET",)), APP) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET",
    }


@pytest.mark.semantics("R-12")
def test_a_preflight_is_told_the_headers_that_it_asked_for() -> None:
    rule = Rule((APP,), ("PUT",), ("*",))
    asked = cors.preflight_headers_of(rule, APP, ["X-Amz-Date", "content-type"])
    assert asked["Access-Control-Allow-Headers"] == "x-amz-date, content-type"
    assert "Access-Control-Allow-Headers" not in cors.preflight_headers_of(rule, APP, [])


@pytest.mark.semantics("A-3c")
@pytest.mark.parametrize(("pattern", "named"), SITES)
def test_a_buckets_rule_for_every_site_admits_no_unsigned_request(pattern: str, named: bool) -> None:
    origin = pattern.replace("*", "https://x.example" if pattern == "*" else "x")
    rule = (Rule((pattern,), ("GET",)),)
    assert Rules(rule).find(origin, "GET") is not None
    assert Rules(rule).admit(origin, "GET") == named
    assert Rules(rule, by_settings=True).admit(origin, "GET")
    assert not Rules(rule, by_settings=True).admit(origin, "PUT")


@pytest.mark.semantics("A-3c")
def test_a_page_that_hides_its_origin_is_admitted_where_the_settings_let_in_all() -> None:
    everyone, one = (Rule(("*",), ("GET",)),), (Rule((APP,), ("GET",)),)
    assert Rules(everyone, by_settings=True).admit_unnamed("GET")
    assert not Rules(everyone, by_settings=True).admit_unnamed("PUT")
    assert not Rules(everyone).admit_unnamed("GET")
    assert not Rules(one, by_settings=True).admit_unnamed("GET")


def test_a_configuration_is_read_and_written() -> None:
    rules = (Rule((APP,), ("GET",), ("*",), ("ETag",), 0), Rule(("*",), ("HEAD",)))
    assert cors.of_configuration(cors.to_configuration(rules)) == rules
    assert cors.of_configuration({}) == ()
    many = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}] * 1000}
    assert len(cors.of_configuration(many)) == cors.MAX_RULES


@pytest.mark.parametrize(
    "rules",
    [
        "x",
        ["x"],
        [{"AllowedOrigins": "x"}],
        [{"AllowedOrigins": [1]}],
        [{"ExposeHeaders": ["a\r\nb: c"]}],
        [{"AllowedMethods": ["GET"], "MaxAgeSeconds": "9"}],
    ],
)
def test_what_is_no_configuration_is_refused(rules: Any) -> None:
    with pytest.raises(ValueError, match=r"(is a|is an) "):
        cors.of_configuration({"CORSRules": rules})
