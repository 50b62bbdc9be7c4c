"""Which gateway a pod gets, or why none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3d_operator.choice import Gateway, overlap, read_gateway, selects, wanted
from s3d_operator.names import GATEWAY
from s3d_operator.spec import S3GatewaySpec
from s3d_operator.spec.selector import LabelSelector
from tests.operator.goldens import gateway
from tests.operator.injections import ANONYMOUS, pod


def selecting(name: str, created: str, selector: dict[str, Any] | None) -> Gateway:
    return gateway(ANONYMOUS | ({"podSelector": selector} if selector is not None else {}), name, created)


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
ALL = selecting("all", NEW, None)
SHOP = selecting("shop", OLD, {"matchLabels": {"app": "shop"}})
TWIN = selecting("twin", OLD, {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop"]}]})
BROKEN = gateway({"remote": {}}, "broken", OLD)


@pytest.mark.checklist(35)
@pytest.mark.parametrize(
    ("metadata", "gateways", "chosen"),
    [
        ({}, [], "NoGateway"),
        ({}, [ALL, SHOP], "all"),
        ({}, [SHOP], "NotSelected"),
        ({"labels": {"app": "shop"}}, [ALL, SHOP], "shop"),
        ({"labels": {"app": "shop"}}, [TWIN, SHOP], "shop"),
        ({"annotations": {GATEWAY: "shop"}}, [ALL, SHOP], "shop"),
        ({"annotations": {GATEWAY: "gone"}}, [ALL, SHOP], "NoSuchGateway"),
        ({"annotations": {GATEWAY: "broken"}}, [ALL, BROKEN], "InvalidGateway"),
        ({}, [BROKEN], "InvalidGateway"),
        ({}, [BROKEN, ALL], "all"),
    ],
)
def test_a_pod_gets_the_gateway_it_names_else_the_oldest_that_selects_it(
    metadata: dict[str, Any], gateways: list[Gateway], chosen: str
) -> None:
    choice = wanted(pod(**metadata), gateways)
    assert (choice.name if isinstance(choice, Gateway) else choice.reason) == chosen


@pytest.mark.parametrize(
    ("operator", "values", "matching"),
    [
        ("In", ["a", "b"], {"a"}),
        ("NotIn", ["a"], {"c", None}),
        ("Exists", [], {"a", "c"}),
        ("DoesNotExist", [], {None}),
    ],
)
def test_a_selector_means_what_kubernetes_means(operator: str, values: list[str], matching: set[str | None]) -> None:
    chosen = selecting("one", OLD, {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]})
    selected = {
        value
        for value in ("a", "c", None)
        if wanted(pod(labels={} if value is None else {"k": value}), [chosen]) == chosen
    }
    assert selected == matching


def test_a_gateway_that_cannot_be_read_says_where() -> None:
    assert "spec.remote.credentials" in BROKEN.problem
    assert BROKEN.spec is None


OF_NEXT = ANONYMOUS | {"signing": "AsBefore", "buckets": [{"name": "photos", "class": "AsBefore"}]}


@pytest.mark.parametrize(
    ("written", "ignored"),
    [
        ({"f:spec": {"f:remote": {}, "f:buckets": {'k:{"name":"photos"}': {".": {}, "f:name": {}}}}}, True),
        ({"f:status": {"f:signing": {}}}, True),
        ({"f:spec": {"f:signing": {}}}, False),
        ({"f:spec": {"f:buckets": {'k:{"name":"photos"}': {"f:class": {}}}}}, False),
        ({"f:spec": {"f:buckets": {}}}, False),
        (None, False),
    ],
)
def test_a_field_that_only_a_newer_release_has_is_ignored_where_nobody_has_written_it(
    written: dict[str, Any] | None, ignored: bool
) -> None:
    managed = [{"manager": "kubectl", "fieldsV1": written}, {"manager": "other"}] if written else None
    read = read_gateway({"metadata": {"name": "next", "managedFields": managed}, "spec": OF_NEXT})
    if ignored:
        assert read.ignored == ("spec.buckets.0.class", "spec.signing")
        assert read.spec == S3GatewaySpec.model_validate(ANONYMOUS | {"buckets": [{"name": "photos"}]})
    else:
        assert read.spec is None
        assert "upgrade both" in read.problem


def test_a_value_that_only_a_newer_release_has_is_never_ignored() -> None:
    managed = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:remote": {}}}}]
    spec = OF_NEXT | {"appCredentials": "Federated"}
    read = read_gateway({"metadata": {"name": "next", "managedFields": managed}, "spec": spec})
    assert read.spec is None
    assert "spec.appCredentials" in read.problem
    assert "spec.signing" not in read.problem


requirements = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        "values": values if operator in {"In", "NotIn"} else [],
    },
    st.sampled_from(["app", "tier"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2),
)
selectors = st.builds(
    lambda labels, expressions: LabelSelector.model_validate({"matchLabels": labels, "matchExpressions": expressions}),
    st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]), max_size=2),
    st.lists(requirements, max_size=3),
)
every_pod = [
    {key: value for key, value in {"app": app, "tier": tier}.items() if value}
    for app in ("", "a", "b", "c")
    for tier in ("", "a", "b", "c")
]


@pytest.mark.checklist(35)
@given(selectors | st.none(), selectors | st.none())
def test_two_selectors_overlap_where_a_pod_can_have_the_labels_of_both(
    one: LabelSelector | None, other: LabelSelector | None
) -> None:
    assert overlap(one, other) == any(selects(one, labels) and selects(other, labels) for labels in every_pod)
