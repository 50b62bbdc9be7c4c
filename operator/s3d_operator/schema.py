"""What the models of the custom resources are made of: their base, CEL rules, and values as Kubernetes writes them.

Rules that span fields are CEL, on the model that they judge (`rules`), and the API server alone enforces them.
"""

from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from s3d.settings.section import Section

DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


class Rule(NamedTuple):
    """A CEL rule and what a person reads when it is broken."""

    rule: str
    message: str


def compare(left: str, how: str, right: str, *, add: tuple[str, ...] = ()) -> str:
    """A CEL expression that compares two quantities, others added to the left one; it holds where one of them is none,
    of which its field tells."""
    quantities = [f"string({each})" for each in (left, right, *add) if not each.startswith("'")]
    guards = "".join(f"!isQuantity({each}) || " for each in quantities)
    one, other, *more = (
        f"quantity({each if each.startswith(chr(39)) else f'string({each})'})" for each in (left, right, *add)
    )
    return f"{guards}{one}{''.join(f'.add({each})' for each in more)}.compareTo({other}) {how} 0"


def help_of(section: type[Section], field: str) -> str:
    """The documentation of the setting that a field becomes."""
    return section.model_fields[field].description or ""


class Resource(BaseModel):
    """A part of a custom resource."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel, validate_default=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Let the schema carry the rules."""
        schema = handler.resolve_ref_schema(handler(core))
        if cls.rules:
            schema["x-kubernetes-validations"] = [rule._asdict() for rule in cls.rules]
        return schema


def quantity(pattern: str) -> Any:
    """The schema of a Kubernetes quantity that `pattern` narrows."""
    return WithJsonSchema({"x-kubernetes-int-or-string": True, "minimum": 0, "pattern": pattern, "maxLength": 24})


SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?([kMGT]|[KMGT]i)?$"
Size = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=SIZE_PATTERN, max_length=24)], quantity(SIZE_PATTERN)
]
CPU_PATTERN = r"^[0-9]+(\.[0-9]{1,3}|m)?$"
Cpu = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=CPU_PATTERN, max_length=24)], quantity(CPU_PATTERN)
]
# The account is left to a rule beside it: stores with a token service of their own have none, or a name.
ROLE_PATTERN = r"^arn:[a-z0-9-]+:iam::[A-Za-z0-9_-]*:role/[A-Za-z0-9+=,.@_/-]+$"
ENDPOINT_PATTERN = r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~%/-]*)?$"
REGION_PATTERN = r"^[A-Za-z0-9-]+$"
BUCKET_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{2,62}$"
KEY_PATTERN = r"^[A-Za-z0-9._-]+$"
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
POLICY_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*(/[A-Za-z_][A-Za-z0-9_-]*)*$"
HEADER_PATTERN = r"^[A-Za-z0-9-]+$"
RATIO_PATTERN = r"^(0(\.[0-9]+)?|1(\.0+)?)$"
PREFIX_PATTERN = r"^([^/]+/)*$"
PLACE_PATTERN = r"^(/[A-Za-z0-9_@%+=,.~-]+)+$"
WILDCARD_PATTERN = r"^[A-Za-z0-9.:/_-]*[*]?[A-Za-z0-9.:/_-]*$"
# What a person reads where a value does not match.
MESSAGES = {
    SIZE_PATTERN: "write a number of bytes, or one with k, M, G, T, Ki, Mi, Gi or Ti behind it, such as 512Mi or 10G",
    CPU_PATTERN: "write processors, such as 2 or 0.5, or thousandths of one, such as 500m",
    DNS_NAME: "a name is of small letters, digits, - and ., and begins and ends with a letter or a digit",
    ROLE_PATTERN: "write the ARN of a role, such as arn:aws:iam::123456789012:role/photos",
    ENDPOINT_PATTERN: "write http:// or https://, a host and its port if it has one, such as https://s3.example.com:9000",
    REGION_PATTERN: "a region is of letters, digits and -, such as eu-central-1",
    BUCKET_PATTERN: "a bucket's name is of 3 to 63 letters, digits, ., _ and -, and begins with a letter or a digit",
    KEY_PATTERN: "a key of a ConfigMap or a Secret is of letters, digits, ., _ and -, such as ca.crt",
    RATIO_PATTERN: "write a share from 0 to 1, such as 0.01",
    HEADER_PATTERN: "a header is of letters, digits and -, such as ETag",
    WILDCARD_PATTERN: "write an origin or a header with at most one *, such as https://*.example or x-amz-*",
    PREFIX_PATTERN: "a prefix is the path of a folder in the bucket, with a slash at its end and none at its "
    "beginning, such as team/docs/",
    PLACE_PATTERN: "write the path at which a container of the pod mounts the volume, such as /data/docs",
    POLICY_PATTERN: "write the path of a rule below /v1/data/, such as s3d/allow",
    LABEL_PATTERN: "a name here is of small letters, digits and -, and begins and ends with a letter or a digit",
}
Name = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
MAX_RULES = 256
"""Most rules of a filter: the API server has to know a bound."""
FilterRule = Annotated[str, Field(min_length=1, max_length=1024)]
LabelValue = Annotated[str, Field(max_length=63)]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Count = Annotated[int, Field(ge=0)]
