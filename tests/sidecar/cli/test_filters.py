"""`s3d filter test`, as a person and a script meet it."""

import json

import pytest

from s3d.cli import USAGE, main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    """The lines of the command."""
    assert main(["filter", "test", *words]) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


@pytest.mark.semantics("F-1a")
def test_it_shows_each_rule_and_which_decides(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "!b/tmp/*, b", "b/k")[1:] == [
        ["!b/tmp/*", "no", ""],
        ["b", "yes", "takes it in, and decides"],
        ["yes"],
    ]
    assert said(capsys, "photos, !photos/tmp/*, *[tag:x]", "photos/tmp/a") == [
        ["", "", "no object is in until a rule matches"],
        ["photos", "yes", "takes it in"],
        ["!photos/tmp/*", "yes", "leaves it out"],
        ["*[tag:x]", "unknown", "would take it in, if it matched, and makes the answer unknown"],
        ["unknown"],
    ]


@pytest.mark.parametrize(
    ("rules", "words", "answer"),
    [
        ("", [], "yes"),
        ("!b", [], "no"),
        ("b/*[tag:class=public]", ["--tag", "class=public"], "yes"),
        ("b/*[tag:class!=public]", [], "yes"),
        ("b/*[tag:class!=public]", ["--op", "delete"], "unknown"),
        ("b/*[tag:class!=public]", ["--op", "delete", "--tag", "class=public"], "no"),
        ("b[tag:team=blue]", ["--bucket-tag", "team=blue"], "yes"),
        ("b[hdr:content-length<1Ki]", ["--size", "1023"], "yes"),
        ("b[hdr:X-Amz-Acl=private]", ["--hdr", "x-amz-acl=private"], "yes"),
        ("b[md:Author=Ada]", ["--md", "author=Ada"], "yes"),
        ("b[id:alice]", ["--id", "alice"], "yes"),
        ("b[id:alice]", [], "unknown"),
    ],
)
def test_the_command_line_says_what_is_known(
    rules: str, words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, rules, "b/k", *words)[-1] == [answer]
    assert main(["filter", "test", rules, "b/k", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == answer


@pytest.mark.semantics("F-1b")
def test_a_rule_that_cannot_be_read_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", "test", "b[tga:k]", "b/k"]) == USAGE
    assert "did you mean tag?, at character 3 of 'b[tga:k]'" in capsys.readouterr().err


@pytest.mark.semantics("F-3")
@pytest.mark.parametrize(("operation", "is_asked"), [("put", True), ("delete", True), ("get", False)])
def test_where_a_policy_is_asked_too_it_says_so_and_the_answer_stays_the_last_line(
    operation: str, is_asked: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["filter", "test", "b", "b/k", "--op", operation]
    assert main(words) == 0
    assert "policy" not in capsys.readouterr().err
    monkeypatch.setenv("S3D_OPA_URL", "http://127.0.0.1:8181")
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "yes"
    assert ("a policy is asked, too (S3D_OPA_URL)" in shown.err) is is_asked
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policy"] is is_asked


def test_wrong_settings_are_no_matter_of_a_filter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3D_OPA_URL", "ftp://policy")
    assert said(capsys, "b", "b/k")[-1] == ["yes"]
