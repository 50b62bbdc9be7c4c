"""The part of a spec that is about the policy: who is asked what may leave, and what the read cache may keep."""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import Opa as OpaSettings
from s3d_operator.schema import ENDPOINT_PATTERN, POLICY_PATTERN, Resource, Rule, help_of
from s3d_operator.spec.references import CaBundle, TokenSecret


class Opa(Resource):
    """An Open Policy Agent that says what may leave, and what the read cache may keep."""

    url: str = Field(
        description="URL of Open Policy Agent, such as that of a Service. It is asked before a change is pushed "
        "(docs/POLICY.md).",
        pattern=ENDPOINT_PATTERN,
        max_length=512,
    )
    path: str = Field(
        default="s3d/allow", description=help_of(OpaSettings, "path"), pattern=POLICY_PATTERN, max_length=253
    )
    timeout_seconds: int = Field(default=1, description=help_of(OpaSettings, "timeout"), ge=1, le=60)
    fail_mode: Literal["Closed", "Open"] = Field(
        default="Closed",
        description="What becomes of a change of which there is no decision: Closed holds it and asks again, Open "
        "pushes it.",
    )
    cache_path: str | None = Field(
        default=None, description=help_of(OpaSettings, "cache_path"), pattern=POLICY_PATTERN, max_length=253
    )
    cache_fail_mode: Literal["Open", "Closed"] = Field(
        default="Open",
        description="What the read cache does with an object of which there is no decision: Open keeps it and answers "
        "from it, Closed does neither, and what is there already stays for a decision.",
    )
    ca_bundle: CaBundle | None = Field(
        default=None, description="Which authorities to trust for its certificate. Unset: those of the image."
    )
    token_secret_ref: TokenSecret | None = Field(
        default=None,
        description="A Secret of the pod's namespace with the bearer token that it is shown. A changed one is used "
        "without a restart.",
    )

    rules: ClassVar = (
        Rule(
            "(!has(self.caBundle) && !has(self.tokenSecretRef)) || self.url.startsWith('https://')",
            "opa.caBundle and opa.tokenSecretRef are for a url that begins with https://",
        ),
        Rule(
            "has(self.cachePath) || !has(self.cacheFailMode) || self.cacheFailMode == 'Open'",
            "opa.cacheFailMode Closed needs opa.cachePath: the rule that is asked what the cache may keep",
        ),
    )
