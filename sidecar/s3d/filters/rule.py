"""A rule and what it is made of; in print it reads as it is written (SEMANTICS F-1).

A rule names a bucket, and after a slash a key. Both may end in `*`, which stands for any rest. Conditions follow in
brackets, and all of them must hold. A condition on tags looks at those of the bucket where it stands before the slash,
and at those of the object where it stands behind it; the others look at the object in either place.
"""

from dataclasses import dataclass
from enum import StrEnum

BLANKS = " \t\r\n"
IN_BUCKET = frozenset(BLANKS + "',[]/!")
IN_KEY = frozenset(BLANKS + "',[")
IN_NAME = frozenset(BLANKS + "',[]!=<>")
IN_VALUE = frozenset(BLANKS + "',[]")
"""What the text of each place says within quotes only."""
UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
"""What may stand behind a number, as in Kubernetes' quantities."""


class Member(StrEnum):
    """What a condition looks at."""

    BUCKET_TAG = "bucket tag"
    TAG = "tag"
    HEADER = "hdr"
    METADATA = "md"
    IDENTITY = "id"


class Operator(StrEnum):
    """How a condition compares."""

    PRESENT = ""
    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


ORDER = frozenset([Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST])
"""Those that compare numbers."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text, or the beginning of one."""

    text: str
    is_prefix: bool = False

    def matches(self, text: str) -> bool:
        """Whether a text is meant."""
        return text.startswith(self.text) if self.is_prefix else text == self.text

    def write(self, special: frozenset[str]) -> str:
        """Write it, quoted where it has what is special in its place."""
        if self.is_prefix:
            return (quoted(self.text, special) if self.text else "") + "*"
        return quoted(self.text, special)


ANY = Pattern("", is_prefix=True)


@dataclass(frozen=True, slots=True)
class Condition:
    """What stands in a bracket."""

    member: Member
    name: str
    """Of a tag as it is, of a header or metadata in lower case; of an identity empty."""
    operator: Operator = Operator.PRESENT
    value: Pattern = ANY
    """What it is compared with."""
    number: float = 0.0
    """The same where numbers are compared, its unit multiplied out."""

    def __str__(self) -> str:
        """Write it with its bracket."""
        if self.member is Member.IDENTITY:
            return f"[id:{self.value.write(IN_VALUE)}]"
        member = Member.TAG if self.member is Member.BUCKET_TAG else self.member
        value = "" if self.operator is Operator.PRESENT else self.value.write(IN_VALUE)
        return f"[{member}:{quoted(self.name, IN_NAME)}{self.operator}{value}]"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a list."""

    bucket: Pattern
    key: Pattern = ANY
    conditions: tuple[Condition, ...] = ()
    excludes: bool = False
    """Whether what it matches is left out."""

    def __str__(self) -> str:
        """Write it: conditions on the bucket's tags before the slash, all others behind the key."""
        of_bucket = "".join(str(one) for one in self.conditions if one.member is Member.BUCKET_TAG)
        of_object = "".join(str(one) for one in self.conditions if one.member is not Member.BUCKET_TAG)
        key = f"/{self.key.write(IN_KEY)}{of_object}" if self.key != ANY or of_object else ""
        return f"{'!' if self.excludes else ''}{self.bucket.write(IN_BUCKET)}{of_bucket}{key}"


@dataclass(frozen=True, slots=True)
class Rules:
    """A list of rules: the last one that matches decides."""

    rules: tuple[Rule, ...] = ()

    @property
    def begins_with_all(self) -> bool:
        """Whether what no rule matches is in: of an empty list, and of one whose first rule leaves something out."""
        return not self.rules or self.rules[0].excludes

    def asks_for(self, member: Member) -> bool:
        """Whether a rule has a condition on it."""
        return any(condition.member is member for rule in self.rules for condition in rule.conditions)

    def __str__(self) -> str:
        """Write the list as a setting has it."""
        return ", ".join(map(str, self.rules))


def quoted(text: str, special: frozenset[str]) -> str:
    """A text as it is read again: stars and backslashes are escaped, and quotes stand around it where it needs them."""
    text = text.replace("\\", "\\\\").replace("*", "\\*")
    if text and special.isdisjoint(text):
        return text
    return "'" + text.replace("'", "''") + "'"
