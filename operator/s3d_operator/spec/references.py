"""Secrets and ConfigMaps that a spec names, all of the pod's own namespace."""

from typing import Any

from pydantic import Field

from s3d_operator.schema import KEY_PATTERN, Name, Resource


def key_in_it(default: str) -> Any:
    """The field for a key of a Secret or a ConfigMap."""
    return Field(default=default, description="The key in it.", pattern=KEY_PATTERN, min_length=1, max_length=253)


class SecretReference(Resource):
    """A Secret of the same namespace."""

    name: Name = Field(
        description="Name of a Secret with the keys accessKeyID, secretAccessKey and, if there is one, sessionToken."
    )


class KeysSecret(Resource):
    """Access keys in a Secret."""

    name: Name = Field(description="Name of the Secret.")
    key: str = key_in_it("keys.json")


class IdentitiesSecret(Resource):
    """Identities in a Secret."""

    name: Name = Field(description="Name of the Secret.")
    key: str = key_in_it("identities.json")


class TokenSecret(Resource):
    """A bearer token in a Secret."""

    name: Name = Field(description="Name of the Secret.")
    key: str = key_in_it("token")


class HeadersSecret(Resource):
    """Headers of requests in a Secret."""

    name: Name = Field(description="Name of the Secret.")
    key: str = key_in_it("headers")


class CaSecret(Resource):
    """Certificates of CAs in a Secret."""

    name: Name = Field(description="Name of the Secret.")
    key: str = key_in_it("ca.crt")


class ConfigMapKey(Resource):
    """A key of a ConfigMap of the same namespace."""

    name: Name = Field(description="Name of the ConfigMap.")
    key: str = key_in_it("ca.crt")


class CaBundle(Resource):
    """Which authorities to trust for https, in place of those of the image."""

    config_map_ref: ConfigMapKey = Field(description="Certificates as PEM in a ConfigMap of the pod's namespace.")
