import kopf

from s3d_operator.api import GROUP
from s3d_operator.reconcile import accept, configure, registry

BODY = kopf.Body(
    {
        "metadata": {"name": "default", "generation": 2},
        "spec": {"remote": {"endpoint": "http://minio:9000", "credentials": {"anonymous": {}}}},
    }
)


async def test_status_and_nothing_else_is_written() -> None:
    patch = kopf.Patch()
    assert await accept(body=BODY, patch=patch) is None
    assert list(patch) == ["status"]
    assert patch["status"]["observedGeneration"] == 2


def test_deletion_never_waits_for_the_operator() -> None:
    """A handler that asks for a finalizer would hold a gateway's deletion while the operator is away."""
    handlers = registry()._changing.get_all_handlers()
    assert {str(handler.reason) for handler in handlers} == {"create", "update", "None"}
    assert not any(handler.requires_finalizer for handler in handlers)


def test_what_kopf_notes_on_a_gateway_is_under_our_name() -> None:
    settings = kopf.OperatorSettings()
    configure(settings=settings)
    for storage in (settings.persistence.diffbase_storage, settings.persistence.progress_storage):
        assert storage.prefix == GROUP
    assert settings.posting.loggers is False
    assert settings.watching.server_timeout
