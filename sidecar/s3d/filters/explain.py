"""Why a list said what it said, for a person (`s3d filter test`)."""

from s3d.filters.match import Subject, Truth, Verdict, decide
from s3d.filters.rule import Rules


def explain(rules: Rules, subject: Subject) -> tuple[Verdict, list[tuple[str, str, str]]]:
    """The verdict, and of each rule its text, whether it matches, and what it did to the verdict."""
    verdict = decide(rules, subject)
    begins = "all objects are in" if rules.begins_with_all else "no object is in"
    lines = [("", "", begins + (", as the list is empty" if not rules.rules else " until a rule matches"))]
    for position, (rule, said) in enumerate(zip(rules.rules, verdict.rules, strict=True)):
        effect = "leaves it out" if rule.excludes else "takes it in"
        if said is Truth.NO:
            effect = ""
        elif said is Truth.UNKNOWN:
            effect = f"would {'leave it out' if rule.excludes else 'take it in'}, if it matched"
        if position == verdict.decider:
            effect += ", and makes the answer unknown" if said is Truth.UNKNOWN else ", and decides"
        lines.append((str(rule), said.value, effect))
    return verdict, lines
