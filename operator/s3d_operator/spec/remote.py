"""The part of a spec about the remote: where it is, as whom the gateway acts there, which buckets it has."""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import Gateway as Daemon
from s3d.settings import Remote as RemoteSettings
from s3d_operator.schema import BUCKET_PATTERN, ENDPOINT_PATTERN, REGION_PATTERN, ROLE_PATTERN, Resource, Rule, help_of
from s3d_operator.spec.references import CaBundle, IdentitiesSecret, SecretReference


class WebIdentity(Resource):
    """A role that the pod's service account may assume by its token (IRSA). Token and variables are ours."""

    role_arn: str = Field(
        alias="roleARN",
        description="The role, such as arn:aws:iam::123456789012:role/photos. Its trust policy has to allow the pod's "
        "service account.",
        pattern=ROLE_PATTERN,
        max_length=2048,
    )
    audience: str = Field(
        default="sts.amazonaws.com",
        description="The audience of the token, as the role's trust policy expects it.",
        min_length=1,
        max_length=253,
    )
    sts_endpoint: str | None = Field(
        default=None,
        description="URL of the token service (STS) that exchanges the token for keys, such as that of a store outside "
        "AWS. It has to know the cluster's issuer of tokens. Unset: AWS STS in the region.",
        pattern=ENDPOINT_PATTERN,
        max_length=512,
    )
    expiration_seconds: int = Field(
        default=3600, description="How long a token is valid; the kubelet renews it in time.", ge=600, le=86_400
    )

    rules: ClassVar = (
        Rule(
            "has(self.stsEndpoint) || !self.roleARN.matches('^arn:[^:]*:iam::[^:]*:role/') || "
            "self.roleARN.matches('^arn:[^:]*:iam::[0-9]{12}:')",
            "webIdentity.roleARN: the account in a role of AWS is 12 digits; a role of another store needs stsEndpoint",
        ),
    )


class PodIdentity(Resource):
    """EKS Pod Identity: the agent of the node gives keys for the pod's service account. The token is ours."""


class Anonymous(Resource):
    """No credentials: requests to the remote are not signed."""


class Credentials(Resource):
    """How the gateway authenticates to the remote; exactly one of the members."""

    secret_ref: SecretReference | None = Field(
        default=None,
        description="Access keys from a Secret of the pod's namespace. Changed keys are used without a restart.",
    )
    web_identity: WebIdentity | None = Field(
        default=None,
        description="A role of AWS, or of a store with a token service of its own, by a token of the pod's service "
        "account (IRSA).",
    )
    pod_identity: PodIdentity | None = Field(
        default=None, description="Keys from the EKS Pod Identity agent, for the pod's service account."
    )
    anonymous: Anonymous | None = Field(default=None, description="Send requests unsigned.")

    rules: ClassVar = (
        Rule(
            "[has(self.secretRef), has(self.webIdentity), has(self.podIdentity), has(self.anonymous)].exists_one(x, x)",
            "credentials: give exactly one of secretRef, webIdentity, podIdentity and anonymous",
        ),
    )


class Identities(Resource):
    """Identities by which a gateway acts at the remote, beside its own."""

    secret_ref: IdentitiesSecret = Field(
        description="A Secret of the pod's namespace with the identities as JSON (docs/IDENTITIES.md). Changed ones "
        "are used without a restart."
    )


class Remote(Resource):
    """The S3 store behind the gateway."""

    endpoint: str | None = Field(
        default=None,
        description=help_of(RemoteSettings, "endpoint"),
        pattern=ENDPOINT_PATTERN,
        max_length=512,
    )
    region: str | None = Field(
        default=None,
        description="Region that requests are signed for, here and in the apps. Unset: us-east-1.",
        pattern=REGION_PATTERN,
        max_length=64,
    )
    addressing: Literal["Auto", "Path", "Virtual"] = Field(
        default="Auto",
        description="How requests name the bucket. Auto: in the path if `endpoint` is given, else in the host name.",
    )
    checksums: Literal["WhenSupported", "WhenRequired"] = Field(
        default="WhenSupported",
        description="WhenRequired: a trailing checksum is verified here, and not sent on to a remote that refuses "
        "trailers.",
    )
    ca_bundle: CaBundle | None = Field(
        default=None,
        description="Which authorities to trust for the certificates of `endpoint` and `stsEndpoint`. Unset: those of "
        "the image.",
    )
    away_after_seconds: int = Field(default=5, description=help_of(RemoteSettings, "away_after"), ge=1, le=300)
    request_timeout_seconds: int = Field(
        default=120, description=help_of(RemoteSettings, "request_timeout"), ge=1, le=3600
    )
    admin_api: bool = Field(default=False, alias="adminAPI", description=help_of(Daemon, "admin_api"))
    credentials: Credentials = Field(
        description="How the gateway authenticates to the remote; exactly one of the members."
    )
    identities: Identities | None = Field(
        default=None,
        description="Accounts, users or roles of the remote for which access keys may stand. Unset: all act as the "
        "gateway.",
    )

    rules: ClassVar = (
        Rule(
            "!has(self.caBundle) || !has(self.endpoint) || self.endpoint.startsWith('https://') || "
            "(has(self.credentials.webIdentity) && has(self.credentials.webIdentity.stsEndpoint) && "
            "self.credentials.webIdentity.stsEndpoint.startsWith('https://'))",
            "remote.caBundle is for an endpoint or an stsEndpoint that begins with https://",
        ),
    )


class Bucket(Resource):
    """A bucket that is assumed to exist."""

    name: str = Field(description="Name of the bucket.", pattern=BUCKET_PATTERN, max_length=63)
