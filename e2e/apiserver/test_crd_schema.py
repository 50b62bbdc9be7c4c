"""What the API server makes of an S3Gateway: defaults, and each rule with a spec that breaks it."""

import copy
from typing import Any

import pytest

from e2e.apiserver.conftest import GATEWAYS, Kubectl, Resources
from s3d_operator import schema
from s3d_operator.crd import NAME_RULE, s3gateway
from s3d_operator.gateway_status import ClaimStatus, LastPod
from s3d_operator.kube import GATEWAYS as RESOURCE
from s3d_operator.kube import ApiError, Kube
from s3d_operator.parse import parse_gateway
from s3d_operator.schema import Resource
from s3d_operator.spec import S3GatewaySpec
from tests.operator.requests import request

KEYS = {"secretRef": {"name": "s3-keys"}}
LEAST = {"remote": {"credentials": KEYS}}
ROLE = {"roleARN": "arn:aws:iam::123456789012:role/photos"}
FULL: dict[str, Any] = {
    "remote": {
        "endpoint": "https://s3.example.com",
        "region": "eu-1",
        "addressing": "Virtual",
        "checksums": "WhenRequired",
        "adminAPI": True,
        "caBundle": {"configMapRef": {"name": "corp-ca"}},
        "awayAfterSeconds": 3,
        "requestTimeoutSeconds": 60,
        "identities": {"secretRef": {"name": "accounts", "key": "mine.json"}},
        "credentials": {
            "webIdentity": ROLE
            | {"audience": "sts.example.com", "expirationSeconds": 900}
            | {"stsEndpoint": "https://sts.example.com"}
        },
    },
    "buckets": [{"name": "photos"}, {"name": "logs"}],
    "podSelector": {
        "matchLabels": {"app": "shop"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
    },
    "writeQueue": {
        "enabled": True,
        "maxSize": "2Gi",
        "maxFiles": 7,
        "maxAgeSeconds": 60,
        "waitSeconds": 3,
        "delaySeconds": 1,
        "barrierSeconds": 5,
        "lateWriteWindowSeconds": 60,
        "maxUploadAgeSeconds": 3600,
        "maxUploads": 77,
        "ballast": "8Mi",
        "workers": 4,
        "versioned": "Queue",
        "unverifiedWrites": "Reject",
        "conflict": "Park",
        "conflictCheckAfterSeconds": 7,
        "filter": ["photos", "!photos/'tmp, x'/*"],
        "pushFilter": ["!photos[tag:team=red]"],
    },
    "readCache": {
        "enabled": True,
        "filter": ["photos", "!photos/raw/*"],
        "maxSize": "2Gi",
        "maxFiles": 8,
        "maxNames": 9,
        "maxAgeSeconds": 86_400,
        "freshSeconds": 5,
        "maxStaleSeconds": 3600,
        "validateTimeoutSeconds": 2,
        "pinRate": "5Mi",
    },
    "fuseMount": {
        "enabled": True,
        "mountPath": "/mnt/objects",
        "readOnly": True,
        "maxSize": "512Mi",
        "publishAfterSeconds": 5,
        "maxRename": 10,
    },
    "opa": {
        "url": "https://opa.opa.svc:8181",
        "path": "a/b",
        "timeoutSeconds": 2,
        "failMode": "Open",
        "cachePath": "a/cache",
        "cacheFailMode": "Closed",
        "caBundle": {"configMapRef": {"name": "opa-ca", "key": "bundle.pem"}},
        "tokenSecretRef": {"name": "opa-token", "key": "mine"},
    },
    "telemetry": {
        "endpoint": "https://collector.monitoring.svc:4318",
        "traces": False,
        "metrics": False,
        "logs": True,
        "keys": True,
        "sampler": {"type": "TraceIDRatio", "ratio": "0.25"},
        "caBundle": {"configMapRef": {"name": "collector-ca", "key": "bundle.pem"}},
        "headersSecretRef": {"name": "collector", "key": "mine"},
    },
    "volume": {"ephemeral": {"storageClassName": "fast", "size": "5Gi"}},
    "access": {"keysSecretRef": {"name": "door-keys", "key": "mine.json"}},
    "tls": {
        "secretName": "door-tls",
        "caBundle": {"configMapRef": {"name": "all-cas", "key": "bundle.pem"}},
        "clientCASecretRef": {"name": "clients", "key": "all.pem"},
    },
    "cors": {
        "origins": ["https://*.example", "null"],
        "methods": ["GET", "PUT"],
        "headers": ["x-amz-*"],
        "expose": ["ETag"],
        "maxAgeSeconds": 60,
    },
    "appCredentials": "Generated",
    "drain": {"seconds": 90, "job": False},
    "resources": {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": 1, "memory": "512Mi"},
        "quality": "Guaranteed",
    },
    "logLevel": "Debug",
    "accessLog": "Errors",
}
CACHED = {"enabled": True, "maxSize": "3Gi"}
MOUNTED = {"enabled": True, "maxSize": "2Gi"}
UNQUEUED = {"writeQueue": {"enabled": False}}
GUARANTEED = {"quality": "Guaranteed", "limits": {"memory": "256Mi"}}
CREDENTIALS = "credentials: give exactly one of secretRef, webIdentity, podIdentity and anonymous"
VOLUME = "volume: give exactly one of emptyDir, persistentVolumeClaim and ephemeral"
CLAIM = "volume.persistentVolumeClaim: give exactly one of claimName and template"
SELECTOR = "matchExpressions: In and NotIn take values, Exists and DoesNotExist take none"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"remote": {"credentials": {}}}, CREDENTIALS),
    ({"remote": {"credentials": KEYS | {"anonymous": {}}}}, CREDENTIALS),
    ({"remote": {"credentials": {"webIdentity": ROLE, "podIdentity": {}}}}, CREDENTIALS),
    (
        {
            "remote": {
                "endpoint": "http://minio:9000",
                "caBundle": {"configMapRef": {"name": "ca"}},
                "credentials": KEYS,
            }
        },
        "remote.caBundle is for an endpoint or an stsEndpoint that begins with https://",
    ),
    (
        {"remote": {"credentials": {"webIdentity": {"roleARN": "arn:store:iam:::role/photos"}}}},
        "webIdentity.roleARN: the account in a role of AWS is 12 digits",
    ),
    ({"volume": {}}, VOLUME),
    ({"volume": {"emptyDir": {}, "ephemeral": {}}}, VOLUME),
    ({"volume": {"persistentVolumeClaim": {}}}, CLAIM),
    ({"volume": {"persistentVolumeClaim": {"claimName": "a", "template": "b"}}}, CLAIM),
    (
        {"writeQueue": {"maxSize": "3Gi"}, "volume": {"emptyDir": {"sizeLimit": "3Gi"}}},
        "volume.emptyDir.sizeLimit has to be at least writeQueue.maxSize and 512Mi",
    ),
    ({"writeQueue": {"maxSize": "3Gi"}}, "volume.emptyDir.sizeLimit has to be at least writeQueue.maxSize and 512Mi"),
    (
        {"writeQueue": {"maxSize": 3 << 30}, "volume": {"ephemeral": {"size": "3Gi"}}},
        "volume.ephemeral.size has to be at least writeQueue.maxSize and 512Mi",
    ),
    (
        UNQUEUED | {"readCache": CACHED, "volume": {"emptyDir": {"sizeLimit": "3Gi"}}},
        "volume.emptyDir.sizeLimit has to be at least readCache.maxSize and 512Mi",
    ),
    (
        UNQUEUED | {"readCache": CACHED, "volume": {"ephemeral": {"size": "3Gi"}}},
        "volume.ephemeral.size has to be at least readCache.maxSize and 512Mi",
    ),
    (
        {"readCache": CACHED, "volume": {"emptyDir": {"sizeLimit": "4Gi"}}},
        "volume.emptyDir.sizeLimit has to be at least writeQueue.maxSize, readCache.maxSize and 512Mi together",
    ),
    (
        {"readCache": CACHED, "volume": {"ephemeral": {"size": "4Gi"}}},
        "volume.ephemeral.size has to be at least writeQueue.maxSize, readCache.maxSize and 512Mi together",
    ),
    ({"fuseMount": {"mountPath": "s3"}}, "write the path at which a container of the pod mounts the volume"),
    ({"fuseMount": {"maxSize": "1023Ki"}}, "fuseMount.maxSize is below 1Mi"),
    *(
        (
            {"fuseMount": MOUNTED, "volume": {kind: {size: "3Gi"}}} | more,
            f"volume.{kind}.{size} has to be at least fuseMount.maxSize, {names} and 512Mi together",
        )
        for kind, size in (("emptyDir", "sizeLimit"), ("ephemeral", "size"))
        for more, names in (
            ({}, "writeQueue.maxSize"),
            (UNQUEUED | {"readCache": {"enabled": True}}, "readCache.maxSize"),
            ({"readCache": {"enabled": True, "maxSize": "512Mi"}}, "writeQueue.maxSize, readCache.maxSize"),
        )
    ),
    (
        {
            "fuseMount": {"enabled": True},
            "drain": {"job": True},
            "volume": {"persistentVolumeClaim": {"claimName": "queue"}},
        },
        "drain.job is not for a gateway with fuseMount",
    ),
    ({"readCache": {"maxSize": "1023Ki"}}, "readCache.maxSize is below 1Mi"),
    ({"readCache": {"pinRate": "0"}}, "readCache.pinRate is 0"),
    (
        {"opa": {"url": "http://opa:8181", "tokenSecretRef": {"name": "opa-token"}}},
        "opa.caBundle and opa.tokenSecretRef are for a url that begins with https://",
    ),
    (
        {"opa": {"url": "http://opa:8181", "cacheFailMode": "Closed"}},
        "opa.cacheFailMode Closed needs opa.cachePath: the rule that is asked what the cache may keep",
    ),
    (
        {"telemetry": {"endpoint": "http://collector:4318", "caBundle": {"configMapRef": {"name": "collector-ca"}}}},
        "telemetry.caBundle is for an endpoint that begins with https://",
    ),
    (
        {"appCredentials": "Dummy", "access": {"keysSecretRef": {"name": "door-keys"}}},
        "appCredentials: Dummy keys sign nothing that access.keysSecretRef lets in",
    ),
    (
        {"remote": {"credentials": KEYS, "identities": {"secretRef": {"name": "accounts"}}}},
        "remote.identities needs access.keysSecretRef",
    ),
    ({"drain": {"job": True}}, "drain.job needs volume.persistentVolumeClaim"),
    (
        {"drain": {"job": True}, "volume": {"ephemeral": {}}},
        "drain.job needs volume.persistentVolumeClaim",
    ),
    ({"writeQueue": {"maxSize": "1023Ki"}}, "writeQueue.maxSize is below 1Mi"),
    ({"writeQueue": {"ballast": "257Mi"}}, "writeQueue.ballast is above 256Mi"),
    (
        {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "256Mi"}}},
        "resources: limits.memory is below requests.memory",
    ),
    ({"resources": {"limits": {"cpu": "10m"}}}, "resources: limits.cpu is below requests.cpu"),
    ({"resources": GUARANTEED}, "resources: quality Guaranteed needs limits.cpu"),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}, SELECTOR),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["x"]}]}}, SELECTOR),
]
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"remote": {"credentials": KEYS, "endpoint": "s3.example.com"}}, "spec.remote.endpoint"),
    ({"remote": {"credentials": {"secretRef": {"name": "S3_Keys"}}}}, "spec.remote.credentials.secretRef.name"),
    (
        {"remote": {"credentials": {"secretRef": {"name": "a", "namespace": "b"}}}},
        'unknown field "spec.remote.credentials.secretRef.namespace"',
    ),
    ({"remote": {"credentials": {"webIdentity": {"roleARN": "photos"}}}}, "webIdentity.roleARN"),
    ({"remote": {"credentials": {"webIdentity": ROLE | {"expirationSeconds": 599}}}}, "webIdentity.expirationSeconds"),
    ({"buckets": [{"name": "photos"}, {"name": "photos"}]}, "spec.buckets[1]: Duplicate value"),
    ({"buckets": [{"name": "a/b"}]}, "spec.buckets[0].name"),
    ({"drain": {"seconds": -1}}, "spec.drain.seconds"),
    ({"writeQueue": {"maxSize": "-1Gi"}}, "spec.writeQueue.maxSize"),
    ({"writeQueue": {"workers": 0}}, "spec.writeQueue.workers"),
    ({"resources": {"limits": {"memory": "lots"}}}, "spec.resources.limits.memory"),
    ({"cors": {"origins": []}}, "spec.cors.origins"),
    ({"cors": {"methods": ["GET"]}}, "spec.cors.origins"),
    ({"cors": {"origins": ["*"], "methods": ["PATCH"]}}, "spec.cors.methods[0]"),
    ({"cors": {"origins": ["*"], "maxAgeSeconds": 86_401}}, "spec.cors.maxAgeSeconds"),
    ({"access": {}}, "spec.access.keysSecretRef"),
    ({"tls": {}}, "spec.tls.secretName"),
    ({"tls": {"secretName": "Door"}}, "spec.tls.secretName"),
    ({"tls": {"secretName": "door", "clientCASecretRef": {}}}, "spec.tls.clientCASecretRef.name"),
    ({"tls": {"secretName": "door", "key": "a"}}, 'unknown field "spec.tls.key"'),
    ({"remote": {"credentials": KEYS, "identities": {}}}, "spec.remote.identities.secretRef"),
    ({"remote": {"credentials": KEYS, "identities": [{"name": "etl"}]}}, "spec.remote.identities"),
    ({"appCredentials": "Mine"}, "spec.appCredentials"),
    ({"nfsMount": {"enabled": True}}, 'unknown field "spec.nfsMount"'),
    ({"image": "mine"}, 'unknown field "spec.image"'),
]

IN_WORDS: list[tuple[dict[str, Any], str]] = [
    ({"remote": {"credentials": KEYS, "endpoint": "s3.example.com"}}, schema.ENDPOINT_PATTERN),
    ({"remote": {"credentials": KEYS, "region": "eu central"}}, schema.REGION_PATTERN),
    ({"remote": {"credentials": {"webIdentity": ROLE | {"stsEndpoint": "sts:443"}}}}, schema.ENDPOINT_PATTERN),
    ({"remote": {"credentials": {"secretRef": {"name": "S3_Keys"}}}}, schema.DNS_NAME),
    ({"remote": {"credentials": {"webIdentity": {"roleARN": "photos"}}}}, schema.ROLE_PATTERN),
    ({"buckets": [{"name": "a/b"}]}, schema.BUCKET_PATTERN),
    ({"writeQueue": {"maxSize": "10GB"}}, schema.SIZE_PATTERN),
    ({"opa": {"url": "http://opa:8181", "path": "s3d.allow"}}, schema.POLICY_PATTERN),
    ({"telemetry": {"endpoint": "http://collector:4318", "sampler": {"ratio": "1.5"}}}, schema.RATIO_PATTERN),
    ({"resources": {"limits": {"memory": "lots"}}}, schema.SIZE_PATTERN),
    ({"resources": {"limits": {"cpu": "half"}}}, schema.CPU_PATTERN),
    ({"volume": {"persistentVolumeClaim": {"template": "a.b"}}}, schema.LABEL_PATTERN),
    ({"cors": {"origins": ["https://*.example.*"]}}, schema.WILDCARD_PATTERN),
    ({"cors": {"origins": ["*"], "headers": ["x-amz-*,*"]}}, schema.WILDCARD_PATTERN),
    ({"cors": {"origins": ["*"], "expose": ["x-*"]}}, schema.HEADER_PATTERN),
    (
        {
            "remote": {
                "endpoint": "https://s3.example.com",
                "caBundle": {"configMapRef": {"name": "ca", "key": "a/b"}},
                "credentials": KEYS,
            }
        },
        schema.KEY_PATTERN,
    ),
]


def rules(schema: dict[str, Any]) -> list[str]:
    """The messages of all rules of a schema."""
    found = [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]
    children = [*schema.get("properties", {}).values(), schema.get("items", {}), schema.get("additionalProperties", {})]
    return found + [message for child in filter(None, children) for message in rules(child)]


@pytest.mark.checklist(47)
@pytest.mark.parametrize(("spec", "message"), REFUSED, ids=lambda value: value[:60] if isinstance(value, str) else "")
async def test_a_spec_that_breaks_a_rule_is_refused_with_its_message(
    gateways: Resources, spec: dict[str, Any], message: str
) -> None:
    assert message in await gateways.refusal("refused", LEAST | spec)


@pytest.mark.parametrize(("spec", "pattern"), IN_WORDS, ids=str)
async def test_a_value_that_cannot_be_meant_is_refused_in_words_and_once(
    gateways: Resources, spec: dict[str, Any], pattern: str
) -> None:
    said = await gateways.refusal("refused", LEAST | spec)
    assert said.count(schema.MESSAGES[pattern]) == 1
    assert pattern not in said
    assert "regular expression" not in said
    assert said.count("Invalid value") == 1


@pytest.mark.checklist(47)
@pytest.mark.checklist(33)
@pytest.mark.parametrize(("spec", "message"), MALFORMED, ids=lambda value: value[:60] if isinstance(value, str) else "")
async def test_a_value_that_cannot_be_meant_is_refused_with_its_place(
    gateways: Resources, spec: dict[str, Any], message: str
) -> None:
    assert message in await gateways.refusal("refused", LEAST | spec)


@pytest.mark.checklist(47)
def test_each_rule_has_a_spec_that_breaks_it() -> None:
    broken = [message for _, message in REFUSED] + [schema.MESSAGES[pattern] for _, pattern in IN_WORDS]
    elsewhere = ["remote.endpoint is immutable with volume.persistentVolumeClaim", "metadata.name is longer"]
    for rule in rules(s3gateway()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
        assert any(rule.startswith(message) for message in broken + elsewhere), rule


@pytest.mark.checklist(47)
async def test_the_endpoint_of_a_claim_stays(kube: Kube, gateways: Resources) -> None:
    claim = {"volume": {"persistentVolumeClaim": {"claimName": "queue"}}}
    made = await gateways.create("kept", LEAST | claim)
    path, endpoint = f"{GATEWAYS}/kept", {"spec": {"remote": {"endpoint": "http://minio:9000"}}}
    with pytest.raises(ApiError, match=r"remote\.endpoint is immutable with volume\.persistentVolumeClaim"):
        await request(kube, "PATCH", path, endpoint)
    await request(kube, "PATCH", path, {"spec": {"writeQueue": {"maxFiles": 7}}})
    without: dict[str, Any] = {"spec": {"volume": {"persistentVolumeClaim": None, "emptyDir": {}}} | endpoint["spec"]}
    changed = await request(kube, "PATCH", path, without)
    assert changed["metadata"]["generation"] == made["metadata"]["generation"] + 2


@pytest.mark.checklist(47)
async def test_a_name_that_is_no_value_of_a_label_is_refused(gateways: Resources) -> None:
    assert NAME_RULE.message in await gateways.refusal("a" * 64, LEAST)
    await gateways.create("a" * 63, LEAST, dry=True)


async def test_the_api_server_completes_what_is_not_said_as_the_models_do(gateways: Resources) -> None:
    for spec in (LEAST, LEAST | {"volume": {"emptyDir": {}}, "resources": {}, "writeQueue": {}, "drain": {}}):
        made = await gateways.create("least", spec, dry=True)
        assert made["spec"] == dumped(parse_gateway({"spec": spec})[0])


async def test_all_that_can_be_said_is_kept_and_read(gateways: Resources) -> None:
    completed = copy.deepcopy(FULL)
    completed["remote"]["caBundle"]["configMapRef"]["key"] = "ca.crt"
    made = await gateways.create("full", FULL, dry=True)
    assert made["spec"] == completed
    assert dumped(parse_gateway(made)[0]) == completed
    assert everything(S3GatewaySpec) - set(paths(FULL)) == {
        "remote.credentials.secretRef",
        "remote.credentials.podIdentity",
        "remote.credentials.anonymous",
        "volume.emptyDir",
        "volume.persistentVolumeClaim",
        "remote.caBundle.configMapRef.key",
        "remote.credentials.secretRef.name",
        "volume.emptyDir.sizeLimit",
        "volume.persistentVolumeClaim.claimName",
        "volume.persistentVolumeClaim.template",
    }


@pytest.mark.parametrize("credentials", [KEYS, {"webIdentity": ROLE}, {"podIdentity": {}}, {"anonymous": {}}])
async def test_each_kind_of_credentials_is_taken(gateways: Resources, credentials: dict[str, Any]) -> None:
    await gateways.create("kind", {"remote": {"credentials": credentials}}, dry=True)


@pytest.mark.parametrize(
    "volume",
    [
        {"emptyDir": {"sizeLimit": "1536Mi"}},
        {"persistentVolumeClaim": {"claimName": "queue"}},
        {"persistentVolumeClaim": {"template": "queue"}},
        {"ephemeral": {}},
    ],
)
async def test_each_kind_of_volume_is_taken(gateways: Resources, volume: dict[str, Any]) -> None:
    await gateways.create("kind", LEAST | {"volume": volume}, dry=True)


@pytest.mark.checklist(48)
def test_the_definition_applies_server_side_and_a_second_time_changes_nothing(kubectl: Kubectl) -> None:
    """A rule whose cost could not be bounded would be refused."""
    # The chart's own copy, with its labels, may have been applied meanwhile.
    kubectl("apply", "--server-side", given=s3gateway())
    before = kubectl("get", "crd", "s3gateways.s3d.dev", "-o", "jsonpath={.metadata.resourceVersion}")
    kubectl("apply", "--server-side", given=s3gateway())
    assert kubectl("get", "crd", "s3gateways.s3d.dev", "-o", "jsonpath={.metadata.resourceVersion}") == before


def dumped(spec: Resource) -> dict[str, Any]:
    """A spec as the API has it: nothing that is unset."""

    def without_unset(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_unset(each) for name, each in value.items() if each not in (None, [])}
        return [without_unset(each) for each in value] if isinstance(value, list) else value

    kept: dict[str, Any] = without_unset(spec.model_dump(mode="json", by_alias=True))
    return kept


def paths(value: Any, path: str = "") -> list[str]:
    """Where something stands in a spec."""
    if not isinstance(value, dict):
        return []
    at = {f"{path}.{name}".lstrip("."): each for name, each in value.items()}
    return [*at, *(below for place, each in at.items() for below in paths(each, place))]


def everything(model: type[Resource]) -> set[str]:
    """Every field of a spec that is not in a list, or a label."""
    from s3d_operator.crd import schema_of

    def walk(schema: dict[str, Any], path: str = "") -> list[str]:
        at = {f"{path}.{name}".lstrip("."): child for name, child in schema.get("properties", {}).items()}
        return [*at, *(below for place, child in at.items() for below in walk(child, place))]

    return set(walk(schema_of(model)))


@pytest.mark.checklist(49)
async def test_what_is_said_of_the_last_pod_of_a_claim_may_become_less(kube: Kube, gateways: Resources) -> None:
    made = await gateways.create("claims", LEAST)
    known = {name: made["metadata"][name] for name in ("name", "namespace", "uid")}
    bound = LastPod(uid="a", node_selector={"disk": "ssd"}, image_pull_secrets=("x",), tolerations=({"key": "x"},))
    for last in (bound, LastPod(uid="b")):
        claim = ClaimStatus(claim_name="queue", last_pod=last).model_dump(mode="json", by_alias=True, exclude_none=True)
        raw = {"metadata": known, "status": {"claims": [claim]}}
        written = await kube.apply(RESOURCE, raw, "s3d-operator", part="status")
        assert ClaimStatus.model_validate(written["status"]["claims"][0]).last_pod == last
