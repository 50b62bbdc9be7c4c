"""Releases that meet: what one makes of gateways whose definition is already that of the next."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.apiserver.conftest import GATEWAYS, Kubectl, Resources
from e2e.apiserver.test_crd_schema import LEAST
from s3d.errors import ConfigError
from s3d_operator.crd import s3gateway
from s3d_operator.kube import Kube
from s3d_operator.parse import parse_gateway
from tests.operator.requests import request

Object = dict[str, Any]
DRAIN = LEAST | {"drain": {"seconds": 7}, "buckets": [{"name": "photos"}]}


@pytest.fixture
async def upgrade(kubectl: Kubectl, gateways: Resources) -> AsyncIterator[Any]:
    """A function that brings the next release's definition, with three fields more."""
    definition = s3gateway()

    def bring() -> None:
        newer = copy.deepcopy(definition)
        (version,) = newer["spec"]["versions"]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        field = {"type": "string", "default": "AsBefore"}
        spec["signing"] = spec["drain"]["properties"]["order"] = field
        spec["buckets"]["items"]["properties"]["class"] = field
        kubectl("apply", "--server-side", "--force-conflicts", given=newer)

    yield bring
    kubectl("apply", "--server-side", "--force-conflicts", given=definition)
    while True:
        if "signing" not in (await gateways.create("probe", LEAST, dry=True))["spec"]:
            return
        await asyncio.sleep(0.05)


async def served(kube: Kube, name: str) -> Object:
    """A gateway, as soon as the new definition is that of the API server."""
    while True:
        raw = await request(kube, "GET", f"{GATEWAYS}/{name}")
        if "signing" in raw["spec"]:
            return raw
        await asyncio.sleep(0.05)


async def test_a_field_of_a_newer_definition_is_ignored_until_somebody_writes_it(
    gateways: Resources, kube: Kube, upgrade: Any
) -> None:
    await gateways.create("before", DRAIN)
    upgrade()
    raw = await served(kube, "before")
    spec, ignored = parse_gateway(raw)
    assert (spec.drain.seconds, [bucket.name for bucket in spec.buckets]) == (7, ["photos"])
    assert sorted(ignored) == ["spec.buckets.0.class", "spec.drain.order", "spec.signing"]

    path = f"{GATEWAYS}/before"
    await request(kube, "PATCH", path, {"spec": {"drain": {"seconds": 8}}, "metadata": {"labels": {"a": "b"}}})
    status = {"observedGeneration": 1, "conditions": []}
    raw = await request(kube, "PATCH", f"{path}/status", {"status": status})
    assert len(parse_gateway(raw)[1]) == 3, "other fields and the status are written, and all is stored with defaults"

    for change, field in (
        ({"signing": "Other"}, "spec.signing"),
        ({"drain": {"order": "Other"}}, "spec.drain.order"),
        ({"buckets": [{"name": "photos", "class": "Other"}]}, "spec.buckets.0.class"),
    ):
        written = await request(kube, "PATCH", f"{path}?dryRun=All", {"spec": change})
        with pytest.raises(ConfigError, match=f"^{field}: Extra"):
            parse_gateway(written)


async def test_a_field_of_a_newer_definition_is_ignored_in_what_is_applied_without_it(
    kube: Kube, gateways: Resources, kubectl: Kubectl, upgrade: Any
) -> None:
    await gateways.create("before", DRAIN)
    upgrade()
    await served(kube, "before")
    head = {"apiVersion": "s3d.dev/v1alpha1", "kind": "S3Gateway", "metadata": {"name": "after"}}
    kubectl("apply", "--server-side", given=head | {"spec": DRAIN})
    _, ignored = parse_gateway(await request(kube, "GET", f"{GATEWAYS}/after"))
    assert len(ignored) == 3
    made = await gateways.create("made", DRAIN, dry=True)
    with pytest.raises(ConfigError, match=r"spec\.signing: Extra"):
        parse_gateway(made)
    kubectl("apply", "--server-side", given=head | {"spec": DRAIN | {"signing": "AsBefore"}})
    with pytest.raises(ConfigError, match=r"^spec\.signing: Extra"):
        parse_gateway(await request(kube, "GET", f"{GATEWAYS}/after"))
