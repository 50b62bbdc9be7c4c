"""The part of a spec that is about the door of a pod's gateway: who may use it, over what, and from which pages."""

from typing import Annotated

from pydantic import Field

from s3d.settings import Browsers
from s3d.settings.browsers import Method
from s3d_operator.schema import HEADER_PATTERN, WILDCARD_PATTERN, Name, Resource, help_of
from s3d_operator.spec.references import CaBundle, CaSecret, KeysSecret


class Access(Resource):
    """Who may use the gateway of a pod."""

    keys_secret_ref: KeysSecret = Field(
        description="A Secret of the pod's namespace with the access keys that requests are signed with, as JSON "
        "(docs/ACCESS.md). Changed keys are used without a restart. Requests that none of them signs are refused."
    )


class Tls(Resource):
    """The gateway of a pod speaks TLS, and no plain HTTP."""

    secret_name: Name = Field(
        description="A Secret of the pod's namespace, of type kubernetes.io/tls, whose certificate is for 127.0.0.1 "
        "and localhost. A changed one is used without a restart."
    )
    ca_bundle: CaBundle | None = Field(
        default=None,
        description="Which authorities the app's containers trust (AWS_CA_BUNDLE, for all services of AWS). Unset: "
        "those in the key ca.crt of the Secret.",
    )
    client_ca_secret_ref: CaSecret | None = Field(
        default=None,
        alias="clientCASecretRef",
        description="A Secret of the pod's namespace with certificates of CAs as PEM. Clients then have to show a "
        "certificate that one of these has signed.",
    )


class Cors(Resource):
    """One CORS rule for every bucket, in the place of those that the remote has."""

    origins: tuple[Annotated[str, Field(pattern=WILDCARD_PATTERN, max_length=253)], ...] = Field(
        description=help_of(Browsers, "origins"), min_length=1, max_length=64
    )
    methods: tuple[Method, ...] = Field(
        default=(), description=help_of(Browsers, "methods") + " Unset: all.", max_length=5
    )
    headers: tuple[Annotated[str, Field(pattern=WILDCARD_PATTERN, max_length=253)], ...] = Field(
        default=(), description=help_of(Browsers, "headers") + " Unset: all.", max_length=64
    )
    expose: tuple[Annotated[str, Field(pattern=HEADER_PATTERN, max_length=253)], ...] = Field(
        default=(),
        description=help_of(Browsers, "expose") + " Unset: ETag, x-s3d-durability and a few more.",
        max_length=64,
    )
    max_age_seconds: int = Field(default=3600, description=help_of(Browsers, "max_age"), ge=0, le=86_400)
