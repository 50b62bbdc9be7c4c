"""A label selector in a spec, as Kubernetes writes one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from s3d_operator.schema import LabelValue, Resource, Rule


class LabelRequirement(Resource):
    """One requirement of a label selector."""

    key: Annotated[str, Field(max_length=317)] = Field(description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How the label relates to `values`.")
    values: tuple[LabelValue, ...] = Field(
        default=(), description="Values for In and NotIn; empty for the others.", max_length=64
    )

    rules: ClassVar = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "matchExpressions: In and NotIn take values, Exists and DoesNotExist take none",
        ),
    )


class LabelSelector(Resource):
    """Which pods; all requirements have to hold, an empty selector matches every pod."""

    match_labels: dict[str, LabelValue] = Field(
        default_factory=dict, description="Labels with these values.", max_length=64
    )
    match_expressions: tuple[LabelRequirement, ...] = Field(
        default=(), description="Requirements on labels.", max_length=64
    )
