"""`filter test`: what a list of rules says of an object, and which rule decides. Nothing is asked of the daemon.

Where the settings name a policy, that is said too: a list is not all that is asked whether a change may leave.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from s3d import config, words
from s3d.cli import terminal
from s3d.errors import ConfigError
from s3d.filters.explain import explain
from s3d.filters.grammar import FilterError, parse
from s3d.filters.match import Subject, Truth, Values

PUT = "put"
ASKED = frozenset([PUT, "delete"])
"""What a policy is asked about."""
COLOURS = {Truth.YES: "green", Truth.NO: "red", Truth.UNKNOWN: "yellow"}


def test(options: argparse.Namespace) -> int:
    """Print each rule, whether it matches, and what the list says in the end. Raises ConfigError."""
    try:
        rules = parse(options.rules)
    except FilterError as error:
        raise ConfigError(str(error), hint="docs/FILTERS.md shows the forms of a rule") from None
    verdict, lines = explain(rules, subject(options))
    if options.json:
        fields = ("rule", "matches", "effect")
        shown = [dict(zip(fields, line, strict=True)) for line in lines]
        decider = None if verdict.decider is None else str(rules.rules[verdict.decider])
        is_asked = asks_policy(options.op)
        terminal.print_json({"answer": verdict.answer, "decider": decider, "rules": shown, "policy": is_asked})
        return 0
    if terminal.is_terminal():
        width = max(len(rule) for rule, _, _ in lines)
        for rule, said, effect in lines:
            sys.stdout.write(f"{words.printable(rule):<{width}}  {said:<8} {effect}".rstrip() + "\n")
        sys.stdout.write(f"{terminal.paint(verdict.answer, 'bold', COLOURS[verdict.answer])}\n")
    else:
        for line in lines:
            terminal.print_fields(*line)
        terminal.print_fields(verdict.answer)
    if asks_policy(options.op):
        sys.stderr.write("a policy is asked, too (S3D_OPA_URL): it may hold what the push filter lets leave\n")
    return 0


def asks_policy(operation: str) -> bool:
    """Whether the settings here name a policy that is asked about an operation; wrong ones are not reported here."""
    with suppress(ConfigError):
        return operation in ASKED and bool(config.load(os.environ).opa.url)
    return False


def subject(options: argparse.Namespace) -> Subject:
    """What is known of the object: of a put all there is, of anything else what the command line names."""
    headers = [(name.lower(), value) for name, value in options.hdr]
    if options.size is not None:
        headers.append(("content-length", str(options.size)))
    return Subject(
        options.target.bucket,
        options.target.key,
        bucket_tags=dict(options.bucket_tag) or None,
        tags=known(options.tag, options.op),
        headers=known(headers, options.op),
        metadata=known([(name.lower(), value) for name, value in options.md], options.op),
        identity=options.id,
    )


def known(pairs: Sequence[tuple[str, str]], operation: str) -> Values:
    """The values of one kind: where none is named, a put has none, and of the others they are not known."""
    return dict(pairs) if pairs or operation == PUT else None
