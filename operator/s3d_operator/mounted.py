"""What a pod's gateway reads from files, as volumes and mounts: keys, certificates, identities. Pure.

The sidecar alone sees what is secret. The app's containers see the access key that was made for them, and the CAs that
they have to trust. The kubelet changes these files with their Secrets. It makes them root's, and the pod's fsGroup's
where there is one (decision 29).
"""

from typing import Any

from s3d_operator.spec import S3GatewaySpec

CA, CA_DIR, CA_FILE = "s3d-ca", "/etc/s3d/ca", "ca.crt"
"""Whom the sidecar trusts when it asks the remote."""
IDENTITY, IDENTITY_DIR = "s3d-identity", "/var/run/secrets/s3d.dev/identity"
"""The gateway's own keys or token for the remote."""
IDENTITIES, IDENTITIES_DIR, IDENTITIES_FILE = "s3d-identities", "/etc/s3d/identities", "identities.json"
"""The identities for which access keys may stand."""
KEYS, KEYS_DIR, KEYS_FILE = "s3d-keys", "/etc/s3d/keys", "keys.json"
"""The access keys of the door."""
TLS, TLS_DIR = "s3d-tls", "/etc/s3d/tls"
"""The certificate of the door."""
CLIENT_CA_FILE = "client-ca.crt"
TRUST, TRUST_DIR, TRUST_FILE = "s3d-trust", "/var/run/secrets/s3d.dev/trust", "ca.crt"
"""Whom to trust when one asks the door."""
APP, APP_DIR, APP_FILE = "s3d-app", "/var/run/secrets/s3d.dev/app", "credentials"
"""Where the sidecar writes the access key of its pod, and where the app's containers read it."""
OPA, OPA_DIR, TOKEN_FILE = "s3d-opa", "/etc/s3d/opa", "token"
"""What the policy is asked with."""
OTEL, OTEL_DIR, HEADERS_FILE = "s3d-otel", "/etc/s3d/otel", "headers"
"""What the collector of telemetry is sent it with."""
ALL = frozenset({CA, IDENTITY, IDENTITIES, KEYS, TLS, TRUST, APP, OPA, OTEL})
OF_THE_DOOR = frozenset({KEYS, TLS, TRUST, APP})
"""What the S3 door needs, and a drain job does not, which has none."""
SECRET_MODE = 0o440
# The agent of EKS Pod Identity, on every node (EKS user guide, "Pod Identity agent").
POD_IDENTITY_AUDIENCE = "pods.eks.amazonaws.com"
POD_IDENTITY_SECONDS = 86_400

Object = dict[str, Any]


def volumes(spec: S3GatewaySpec) -> list[Object]:
    """The volumes of these files."""
    out: list[Object] = []
    if sources := identity_sources(spec):
        out.append({"name": IDENTITY, "projected": {"sources": sources}})
    if bundle := spec.remote.ca_bundle:
        out.append(certificates(CA, bundle.config_map_ref.name, bundle.config_map_ref.key))
    if spec.remote.identities:
        secret = spec.remote.identities.secret_ref
        out.append(private(IDENTITIES, secret.name, secret.key, IDENTITIES_FILE))
    if spec.access:
        keys = spec.access.keys_secret_ref
        out.append(private(KEYS, keys.name, keys.key, KEYS_FILE))
    if spec.tls:
        # One volume, so that certificate and key change in one moment.
        out.append({"name": TLS, "projected": {"sources": tls_sources(spec), "defaultMode": SECRET_MODE}})
        if bundle := spec.tls.ca_bundle:
            out.append(certificates(TRUST, bundle.config_map_ref.name, bundle.config_map_ref.key))
        else:
            item = {"key": "ca.crt", "path": TRUST_FILE}
            out.append({"name": TRUST, "secret": {"secretName": spec.tls.secret_name, "items": [item]}})
    if sources := opa_sources(spec):
        out.append({"name": OPA, "projected": {"sources": sources, "defaultMode": SECRET_MODE}})
    if sources := otel_sources(spec):
        out.append({"name": OTEL, "projected": {"sources": sources, "defaultMode": SECRET_MODE}})
    if spec.app_credentials == "Generated":
        out.append({"name": APP, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    return out


def private(name: str, secret: str, key: str, path: str) -> Object:
    """The volume of one file that the sidecar alone can read."""
    items = [{"key": key, "path": path}]
    return {"name": name, "secret": {"secretName": secret, "items": items, "defaultMode": SECRET_MODE}}


def certificates(name: str, config_map: str, key: str) -> Object:
    """The volume of certificates that all may read."""
    return {"name": name, "configMap": {"name": config_map, "items": [{"key": key, "path": CA_FILE}]}}


def mounts(spec: S3GatewaySpec) -> list[Object]:
    """Where the sidecar sees them."""
    places = {
        IDENTITY: IDENTITY_DIR,
        CA: CA_DIR,
        IDENTITIES: IDENTITIES_DIR,
        KEYS: KEYS_DIR,
        TLS: TLS_DIR,
        TRUST: TRUST_DIR,
        APP: APP_DIR,
        OPA: OPA_DIR,
        OTEL: OTEL_DIR,
    }
    names = [volume["name"] for volume in volumes(spec)]
    return [{"name": name, "mountPath": places[name], **({} if name == APP else {"readOnly": True})} for name in names]


def has_private(spec: S3GatewaySpec) -> bool:
    """Whether the sidecar has files that root's group may read, and nobody else."""
    return bool(spec.access or spec.tls or spec.remote.identities or opa_sources(spec) or otel_sources(spec))


def identity_sources(spec: S3GatewaySpec) -> list[Object]:
    """What the volume of the identity is projected from: keys, or a token for nobody but whom it is shown to."""
    credentials = spec.remote.credentials
    if secret := credentials.secret_ref:
        keys = [{"key": key, "path": key} for key in ("accessKeyID", "secretAccessKey")]
        token = [{"key": "sessionToken", "path": "sessionToken"}]
        return [
            {"secret": {"name": secret.name, "items": keys}},
            {"secret": {"name": secret.name, "items": token, "optional": True}},
        ]
    if web := credentials.web_identity:
        return [token_source(web.audience, web.expiration_seconds)]
    if credentials.pod_identity:
        return [token_source(POD_IDENTITY_AUDIENCE, POD_IDENTITY_SECONDS)]
    return []


def token_source(audience: str, seconds: int) -> Object:
    """A token of the pod's service account, bound to an audience."""
    return {"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": seconds}}


def tls_sources(spec: S3GatewaySpec) -> list[Object]:
    """What the volume of the certificate is projected from."""
    if spec.tls is None:
        return []
    pair = [{"key": name, "path": name} for name in ("tls.crt", "tls.key")]
    sources: list[Object] = [{"secret": {"name": spec.tls.secret_name, "items": pair}}]
    if authority := spec.tls.client_ca_secret_ref:
        item = {"key": authority.key, "path": CLIENT_CA_FILE}
        sources.append({"secret": {"name": authority.name, "items": [item]}})
    return sources


def opa_sources(spec: S3GatewaySpec) -> list[Object]:
    """What the volume of the policy is projected from: whom to trust, and the token."""
    out: list[Object] = []
    if spec.opa and (bundle := spec.opa.ca_bundle):
        item = {"key": bundle.config_map_ref.key, "path": CA_FILE}
        out.append({"configMap": {"name": bundle.config_map_ref.name, "items": [item]}})
    if spec.opa and (token := spec.opa.token_secret_ref):
        out.append({"secret": {"name": token.name, "items": [{"key": token.key, "path": TOKEN_FILE}]}})
    return out


def otel_sources(spec: S3GatewaySpec) -> list[Object]:
    """What the volume of telemetry is projected from: whom to trust, and the headers."""
    out: list[Object] = []
    if spec.telemetry and (bundle := spec.telemetry.ca_bundle):
        item = {"key": bundle.config_map_ref.key, "path": CA_FILE}
        out.append({"configMap": {"name": bundle.config_map_ref.name, "items": [item]}})
    if spec.telemetry and (headers := spec.telemetry.headers_secret_ref):
        out.append({"secret": {"name": headers.name, "items": [{"key": headers.key, "path": HEADERS_FILE}]}})
    return out
