r"""Reading rules (SEMANTICS F-1): one pass over the text, so that no text takes longer than its length.

    list      = rule *("," rule)
    rule      = ["!"] pattern *bracket ["/" pattern *bracket]
    bracket   = "[" member ":" name [operator value] "]" | "[id:" pattern "]"
    member    = "tag" | "hdr" | "md"
    operator  = "=" | "!=" | "<" | "<=" | ">" | ">="
    pattern   = text, which a "*" may end

Blanks count within quotes only. `'` begins and ends a quotation, `''` within one is a quote; a `*` at the end of a
pattern stands for any rest, in quotes or behind them. `\*` is a star and `\\` a backslash.
"""

import difflib
from collections.abc import Sequence

from s3d.filters.rule import (
    ANY,
    BLANKS,
    IN_BUCKET,
    IN_KEY,
    IN_NAME,
    IN_VALUE,
    ORDER,
    UNITS,
    Condition,
    Member,
    Operator,
    Pattern,
    Rule,
    Rules,
)

MAX_TEXT = 64 << 10
"""Characters of a list."""
MAX_RULES = 1000
MAX_DIGITS = 30
SHOWN_AROUND = 40
"""Characters that an error shows before and behind its place."""
MEMBERS = {"tag": Member.TAG, "hdr": Member.HEADER, "md": Member.METADATA, "id": Member.IDENTITY}
OPERATORS = (Operator.UNEQUAL, Operator.AT_MOST, Operator.AT_LEAST, Operator.EQUAL, Operator.LESS, Operator.MORE)
"""The longer ones first."""


class FilterError(ValueError):
    """A rule that cannot be read: where, what is wrong, and what was expected."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        """Take the text and where in it the problem is, counted from 0."""
        super().__init__(f"{problem}, at character {position + 1} of {shortened(text, position)}")
        self.text = text
        self.position = position
        self.problem = problem


def parse(text: str | Sequence[str]) -> Rules:
    """Read a list of rules: one text with commas, or a rule in each text. Raises FilterError."""
    if not isinstance(text, str):
        return Rules(bounded([rule for one in text for rule in parse(one).rules], ""))
    if len(text) > MAX_TEXT:
        raise FilterError(text, MAX_TEXT, f"the list is longer than {MAX_TEXT} characters")
    reader = Reader(text)
    rules: list[Rule] = []
    reader.skip_blanks()
    while not reader.at_end():
        rules.append(reader.rule())
        reader.skip_blanks()
        if reader.at_end():
            break
        if not reader.takes(","):
            raise reader.error("a comma or the end of the list is expected")
        reader.skip_blanks()
    return Rules(bounded(rules, text))


def bounded(rules: list[Rule], text: str) -> tuple[Rule, ...]:
    """The rules, if they are not too many. Raises FilterError."""
    if len(rules) > MAX_RULES:
        raise FilterError(text, 0, f"the list has more than {MAX_RULES} rules")
    return tuple(rules)


class Reader:
    """Reads a text from its beginning to its end."""

    def __init__(self, text: str) -> None:
        """Begin at the first character."""
        self._text = text
        self._at = 0

    def at_end(self) -> bool:
        """Whether all is read."""
        return self._at >= len(self._text)

    def error(self, problem: str, at: int | None = None) -> FilterError:
        """What is wrong here, or at another place."""
        return FilterError(self._text, self._at if at is None else at, problem)

    def takes(self, what: str) -> bool:
        """Whether this comes next; it is read then."""
        if not self._text.startswith(what, self._at):
            return False
        self._at += len(what)
        return True

    def skip_blanks(self) -> None:
        """Go on to what is no blank."""
        while not self.at_end() and self._text[self._at] in BLANKS:
            self._at += 1

    def rule(self) -> Rule:
        """Read one rule."""
        excludes = self.takes("!")
        self.skip_blanks()
        if self._text.startswith(("/", "["), self._at):
            raise self.error("a rule begins with the name of a bucket; * is any bucket")
        bucket = self.pattern("the name of a bucket", IN_BUCKET)
        conditions = self.brackets(of_bucket=True)
        key = ANY
        if self.takes("/"):
            if not self.at_end() and self._text[self._at] not in ",[" + BLANKS:
                key = self.pattern("a key", IN_KEY)
            conditions += self.brackets(of_bucket=False)
        return Rule(bucket, key, tuple(conditions), excludes)

    def brackets(self, *, of_bucket: bool) -> list[Condition]:
        """Read what stands in brackets here."""
        found = []
        while self.takes("["):
            found.append(self.condition(of_bucket=of_bucket))
            self.skip_blanks()
            if not self.takes("]"):
                raise self.error("the bracket is not closed: ] is expected")
        return found

    def condition(self, *, of_bucket: bool) -> Condition:
        """Read a condition behind its bracket."""
        self.skip_blanks()
        begin = self._at
        while not self.at_end() and self._text[self._at] not in ":]":
            self._at += 1
        word = self._text[begin : self._at].strip(BLANKS)
        if word not in MEMBERS:
            close = difflib.get_close_matches(word, MEMBERS, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise self.error(f"{word!r} is none of tag, hdr, md and id{meant}", begin)
        if not self.takes(":"):
            raise self.error(f": and a name are expected behind {word}")
        member = MEMBERS[word]
        if member is Member.IDENTITY:
            return Condition(member, "", Operator.EQUAL, self.pattern("the name of an identity", IN_VALUE))
        if member is Member.TAG and of_bucket:
            member = Member.BUCKET_TAG
        at = self._at
        name = self.pattern("a name", IN_NAME)
        if name.is_prefix:
            raise self.error("a name has no *; \\* is a star", at)
        text = name.text.lower() if member in (Member.HEADER, Member.METADATA) else name.text
        return self.compared(member, text)

    def compared(self, member: Member, name: str) -> Condition:
        """Read how the condition compares, and with what."""
        self.skip_blanks()
        operator = next((one for one in OPERATORS if self.takes(one)), Operator.PRESENT)
        if operator is Operator.PRESENT:
            return Condition(member, name)
        self.skip_blanks()
        at = self._at
        if operator not in ORDER:
            # An empty value is one: [tag:k=].
            ends = self.at_end() or self._text[self._at] == "]"
            return Condition(member, name, operator, Pattern("") if ends else self.pattern("a value", IN_VALUE))
        value = self.pattern("a number", IN_VALUE)
        number = as_quantity(value.text)
        if number is None or value.is_prefix:
            raise self.error(f"{value.text!r} is no number; write for example 100, 64Ki or 1.5G", at)
        return Condition(member, name, operator, value, number)

    def pattern(self, what: str, special: frozenset[str]) -> Pattern:
        """Read a pattern as far as what is special in its place. `what` names it in an error."""
        begin = self._at
        found = ""
        star: int | None = None
        quotes = False
        while not self.at_end():
            at, sign = self._at, self._text[self._at]
            if sign == "'":
                if quotes and self.takes("''"):
                    found += "'"
                    continue
                quotes = not quotes
                self._at += 1
                continue
            if not quotes and sign in special:
                break
            if sign == "\\":
                self._at += 1
                sign = self._text[self._at : self._at + 1]
                if sign not in ("*", "\\"):
                    raise self.error("a backslash stands before * or another backslash only", at)
            elif sign == "*":
                if star is not None:
                    break
                star, sign = at, ""
            if star is not None and sign:
                raise self.error("a * stands for any rest, and only at the end; \\* is a star", star)
            found += sign
            self._at += 1
        if quotes:
            raise self.error("the quotation is not closed: ' is expected")
        if self._at == begin:
            raise self.error(f"{what} is expected")
        return Pattern(found, is_prefix=star is not None)


def as_number(digits: str) -> float | None:
    """A decimal number of digits and at most one point; None for anything else."""
    whole, _, rest = digits.partition(".")
    if not (whole + rest).isascii() or not (whole + rest).isdigit() or len(digits) > MAX_DIGITS:
        return None
    return float(digits)


def as_quantity(text: str) -> float | None:
    """A number with or without a unit; None for anything else."""
    digits = text.rstrip("kKMGTi")
    number = as_number(digits)
    unit = UNITS.get(text[len(digits) :])
    return None if number is None or unit is None else number * unit


def shortened(text: str, position: int) -> str:
    """What stands around a position, for an error."""
    first = max(0, position - SHOWN_AROUND)
    last = min(len(text), position + SHOWN_AROUND)
    return ("..." if first else "") + repr(text[first:last]) + ("..." if last < len(text) else "")
