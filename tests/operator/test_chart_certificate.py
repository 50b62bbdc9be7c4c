"""The chart: who issues the certificate of the webhook, and how it is trusted."""

import base64
from datetime import timedelta

import pytest

from s3d_operator.__main__ import parser
from s3d_operator.certs import CertificateTarget
from s3d_operator.kube import WEBHOOK_CONFIGURATIONS
from s3d_operator.rotation import Schedule
from tests.operator.charts import NEEDS_HELM, alerts, args_of, objects, refusal

pytestmark = NEEDS_HELM

PEM = "-----BEGIN CERTIFICATE-----\\nQQ==\\n-----END CERTIFICATE-----"
BY_CERT_MANAGER = "certificate.certManager.enabled=true"
BY_US = ('certificate.existingSecret="mine"', f'certificate.caBundle="{PEM}"')


@pytest.mark.checklist(59)
def test_by_default_the_operator_issues_the_certificate() -> None:
    assert not parser().parse_args(args_of("s3d-operator")).no_certificate
    assert not [kind for kind, _ in objects() if kind in {"Certificate", "Issuer"}]


def schedule_of(*values: str) -> Schedule:
    said = parser().parse_args(args_of("s3d-operator", *values))
    lifetime, renew_before = said.certificate_lifetime, said.certificate_renew_before
    return Schedule(timedelta(seconds=lifetime), timedelta(seconds=renew_before), said.certificate_settle)


@pytest.mark.checklist(61)
def test_how_long_a_certificate_lives_is_a_value_and_by_default_what_the_program_says() -> None:
    assert schedule_of() == Schedule()
    changed = schedule_of('certificate={"lifetimeHours":48,"renewBeforeHours":12,"settleSeconds":5}')
    assert changed == Schedule(timedelta(days=2), timedelta(hours=12), 5)
    assert "certificate.renewBeforeHours" in refusal('certificate={"lifetimeHours":12,"renewBeforeHours":12}')


@pytest.mark.checklist(52)
@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((), 7 * 86400),
        (('certificate={"lifetimeHours":48,"renewBeforeHours":12}',), 6 * 3600),
        ((BY_CERT_MANAGER, "certificate.renewBeforeHours=12"), 7 * 86400),
    ],
)
def test_a_certificate_that_lives_for_days_alarms_when_half_of_the_time_for_its_renewal_is_gone(
    values: tuple[str, ...], seconds: int
) -> None:
    assert alerts(*values)["S3DCertificateEnds"]["expr"].endswith(f"- time() < {seconds}")


@pytest.mark.checklist(59)
@pytest.mark.parametrize("values", [(BY_CERT_MANAGER,), BY_US])
def test_where_others_issue_the_certificate_the_operator_does_not_and_may_not(values: tuple[str, ...]) -> None:
    made = objects(*values)
    assert parser().parse_args(args_of("s3d-operator", *values)).no_certificate
    assert ("Role", "s3d-operator") not in made
    assert ("RoleBinding", "s3d-operator") not in made
    rules = made["ClusterRole", "s3d-operator"]["rules"]
    assert not [rule for rule in rules if any("webhookconfigurations" in each for each in rule["resources"])]


@pytest.mark.checklist(59)
def test_cert_manager_issues_for_the_name_that_is_called_and_publishes_the_authority() -> None:
    made = objects(BY_CERT_MANAGER)
    leaf, authority = (made["Certificate", name]["spec"] for name in ("s3d-webhook-tls", "s3d-webhook-tls-ca"))
    target = CertificateTarget("s3d-system", "s3d-webhook", leaf["secretName"], "s3d")
    assert set(leaf["dnsNames"]) == set(target.hosts)
    assert made["Issuer", leaf["issuerRef"]["name"]]["spec"] == {"ca": {"secretName": authority["secretName"]}}
    assert made["Issuer", authority["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}
    for kind in WEBHOOK_CONFIGURATIONS:
        annotations = made[kind.name, "s3d"]["metadata"]["annotations"]
        assert annotations == {"cert-manager.io/inject-ca-from": "s3d-system/s3d-webhook-tls"}
    assert parser().parse_args(args_of("s3d-webhook", BY_CERT_MANAGER)).secret == leaf["secretName"]


@pytest.mark.checklist(59)
def test_cert_manager_issues_from_an_issuer_that_is_there() -> None:
    issuer = 'certificate.certManager={"enabled":true,"issuerRef":{"kind":"ClusterIssuer","name":"corp"}}'
    made = objects(issuer)
    assert made["Certificate", "s3d-webhook-tls"]["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "corp"}
    assert not [name for kind, name in made if kind == "Issuer" or name.endswith("-ca")]


@pytest.mark.checklist(59)
def test_a_certificate_of_ones_own_is_read_from_its_secret_and_its_authority_is_in_the_configuration() -> None:
    made = objects(*BY_US)
    assert parser().parse_args(args_of("s3d-webhook", *BY_US)).secret == "mine"
    assert made["Role", "s3d-webhook"]["rules"][0]["resourceNames"] == ["mine"]
    for entry in (each for kind in WEBHOOK_CONFIGURATIONS for each in made[kind.name, "s3d"]["webhooks"]):
        assert base64.b64decode(entry["clientConfig"]["caBundle"]).startswith(b"-----BEGIN CERTIFICATE-----\n")


@pytest.mark.checklist(59)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((BY_CERT_MANAGER, *BY_US), "exclude each other"),
        (BY_US[:1], "needs certificate.caBundle"),
        (BY_US[1:], "needs certificate.existingSecret"),
        ((BY_US[0], 'certificate.caBundle="QUJD"'), "has to be PEM"),
        (('certificate.certManager.issuerRef={"name":"x"}',), "needs certificate.certManager.enabled"),
    ],
)
def test_a_certificate_comes_from_one_place_and_whole(values: tuple[str, ...], said: str) -> None:
    assert said in refusal(*values)
