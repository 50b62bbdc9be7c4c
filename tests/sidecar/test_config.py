"""Settings come from the environment and a file, and nothing that is wrong is passed over."""

import json
from pathlib import Path

import pytest

from s3d import config
from s3d.errors import ConfigError
from s3d.settings import SECTIONS, Settings
from s3d.settings.values import parse_bytes, parse_duration


def test_defaults_need_no_environment() -> None:
    settings = config.load({})
    assert settings.gateway.endpoint == "http://localhost:33333"
    assert settings.remote.endpoint is None
    assert settings.write_queue.enabled
    assert settings.queue_dir == settings.gateway.local_dir / "queue"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s3d.toml"
    file.write_text('S3D_WRITE_QUEUE_MAX_SIZE = "1Gi"\nS3D_BUCKETS = "a, b"\n')
    settings = config.load({"S3D_CONFIG": str(file), "S3D_WRITE_QUEUE_MAX_SIZE": "2Gi"})
    assert settings.write_queue.max_size == 2 << 30
    assert settings.remote.buckets == ("a", "b")


def test_the_file_may_be_the_variable_itself() -> None:
    settings = config.load({"S3D_CONFIG": json.dumps({"S3D_DRAIN_SECONDS": "1m", "S3D_WRITE_QUEUE": False})})
    assert settings.gateway.drain == 60
    assert not settings.write_queue.enabled


@pytest.mark.parametrize(
    "text, size",
    [("0", 0), ("1000", 1000), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 3 << 29), ("10GB", 10**10), ("2Ti", 2 << 40)],
)
def test_sizes_are_written_as_in_kubernetes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text, seconds", [("5", 5), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("24h", 86400), ("7d", 604800)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def folders(*said: tuple[str, str, str, str]) -> dict[str, str]:
    """A list of folders, by name, directory, bucket and prefix."""
    members = ("name", "dir", "bucket", "prefix")
    return {"S3D_SYNC_FOLDERS": json.dumps([dict(zip(members, one, strict=True)) for one in said])}


FIRST = {
    "S3D_SYNC_FOLDER": "true",
    "S3D_SYNC_FOLDER_DIR": "/docs",
    "S3D_SYNC_FOLDER_BUCKET": "b",
    "S3D_SYNC_FOLDER_PREFIX": "docs/",
}
REFUSED = [
    ({"S3D_LOCALDIR": "/x"}, "did you mean S3D_LOCAL_DIR"),
    ({"S3_ENDPIONT": "http://x"}, "did you mean S3_ENDPOINT"),
    ({"S3D_READ_CACHE_MAXSIZE": "1Gi"}, "did you mean S3D_READ_CACHE_MAX_SIZE"),
    (
        {"S3D_READ_CACHE": "true", "S3D_READ_CACHE_MAX_SIZE": "1Gi", "S3D_VOLUME_SIZE": "3Gi"}
        | {"S3D_WRITE_QUEUE_MAX_SIZE": "2Gi"},
        "S3D_WRITE_QUEUE_MAX_SIZE and S3D_READ_CACHE_MAX_SIZE: 3221225472 bytes and 512Mi do not fit",
    ),
    ({"S3D_SYNC_FOLDER": "true", "S3D_SYNC_FOLDER_DIR": "/x"}, "which folder and which bucket"),
    ({"S3D_SYNC_FOLDER_PREFIX": "a"}, "it is not the path of a folder in a bucket"),
    (
        {
            "S3D_SYNC_FOLDER": "true",
            "S3D_SYNC_FOLDER_DIR": "/x",
            "S3D_SYNC_FOLDER_BUCKET": "b",
            "S3D_LOCAL_DIR": "/x/y",
        },
        "are one in the other",
    ),
    (
        {
            "S3D_SYNC_FOLDER": "true",
            "S3D_SYNC_FOLDER_DIR": "/x",
            "S3D_SYNC_FOLDER_BUCKET": "b",
            "S3D_WRITE_QUEUE": "false",
        },
        "sends by the write queue, which is off",
    ),
    (
        {
            "S3D_SYNC_FOLDER": "true",
            "S3D_SYNC_FOLDER_DIR": "/x",
            "S3D_SYNC_FOLDER_BUCKET": "b",
            "S3D_FUSE_MOUNT": "true",
            "S3D_FUSE_MOUNT_DIR": "/x/y",
        },
        "are one in the other",
    ),
    ({"S3D_SYNC_FOLDERS": "docs"}, "S3D_SYNC_FOLDERS: "),
    ({"S3D_SYNC_FOLDERS": '{"name": "docs"}'}, "it is not a list such as"),
    ({"S3D_SYNC_FOLDERS": '[{"name": "Docs"}]'}, "S3D_SYNC_FOLDERS[0].name: "),
    ({"S3D_SYNC_FOLDERS": '[{"name": "a", "direktion": "Push"}]'}, "did you mean direction?"),
    ({"S3D_SYNC_FOLDERS": '[{"name": "a", "poll": "soon"}]'}, "S3D_SYNC_FOLDERS[0].poll: 'soon' is not a duration"),
    ({"S3D_SYNC_FOLDERS": '[{"name": "a", "dir": "/a"}]'}, "S3D_SYNC_FOLDERS, 'a': it is not said which folder"),
    (folders(("a", "/x", "b", ""), ("a", "/y", "c", "")), "two folders are called 'a'"),
    (folders(*((f"a{n}", f"/{n}", "b", f"{n}/") for n in range(17))), "S3D_SYNC_FOLDERS: "),
    (folders(("a", "/x/y/../z", "b", "")) | {"S3D_LOCAL_DIR": "/x/z/local"}, "S3D_SYNC_FOLDERS, 'a': /x/y/../z and"),
    (folders(("a", "/x", "b", "a/"), ("c", "/x/c", "b", "c/")), "'a' and 'c' are one in the other: /x and /x/c"),
    (folders(("a", "/x", "b", "a/"), ("c", "/x", "c", "")), "are one in the other"),
    (folders(("a", "/x", "b", "a/"), ("c", "/y", "b", "a/c/")), "have objects of the bucket b in common"),
    (folders(("a", "/x", "b", ""), ("c", "/y", "b", "c/")), "have objects of the bucket b in common"),
    (FIRST | folders(("a", "/y", "b", "docs/a/")), "'folder' and 'a' have objects of the bucket b in common"),
    (FIRST | folders(("folder", "/y", "c", "")), "'folder' is what the folder of S3D_SYNC_FOLDER is called"),
    ({"S3D_WRITE_QUEUE_MAX_AGE": "old"}, "S3D_WRITE_QUEUE_MAX_AGE: 'old' is not a duration"),
    ({"S3D_WRITE_QUEUE_MAX_SIZE": "5Gx"}, "S3D_WRITE_QUEUE_MAX_SIZE: '5Gx' is not a size"),
    ({"S3D_BARRIER_TIMEOUT": "soon"}, "S3D_BARRIER_TIMEOUT: 'soon' is not a duration"),
    ({"S3D_WRITE_QUEUE": "perhaps"}, "S3D_WRITE_QUEUE: "),
    ({"S3_ENDPOINT": "ftp://x"}, "S3_ENDPOINT: it is not a URL such as"),
    ({"S3_ENDPOINT": "http://127.0.0.1:99999"}, "is not a URL"),
    ({"S3_ENDPOINT": "http://localhost:33333"}, "it would call itself"),
    ({"S3_ENDPOINT": "http://127.0.0.1:33333"}, "it would call itself"),
    ({"S3D_ENDPOINT": "http://0.0.0.0:33333"}, "is not a loopback address"),
    ({"S3D_ENDPOINT": "https://localhost:33333"}, "S3D_TLS_CERT and S3D_TLS_KEY are not set"),
    ({"S3D_ENDPOINT": "https://localhost:33333", "S3D_TLS_CERT": "/c"}, "S3D_TLS_KEY is not set"),
    ({"S3D_TLS_CERT": "/c", "S3D_TLS_KEY": "/k"}, "S3D_TLS_CERT, S3D_TLS_KEY would not be used"),
    ({"S3D_TLS_CLIENT_CA": "/ca"}, "S3D_TLS_CLIENT_CA would not be used"),
    ({"S3D_TLS_CA": "/ca"}, "S3D_TLS_CA would not be used"),
    (
        {
            "S3D_ENDPOINT": "https://127.0.0.1:443",
            "S3D_TLS_CERT": "/c",
            "S3D_TLS_KEY": "/k",
            "S3_ENDPOINT": "https://localhost",
        },
        "it would call itself",
    ),
    ({"S3D_CONFIG": "{"}, "S3D_CONFIG cannot be read"),
    ({"S3D_CONFIG": "/does/not/exist"}, "S3D_CONFIG cannot be read"),
    ({"S3D_CONFIG": '{"AWS_SECRET_ACCESS_KEY": "x"}'}, "S3D_CONFIG holds AWS_SECRET_ACCESS_KEY"),
    ({"S3D_CONFIG": '{"queue": 1}'}, "queue is not a setting"),
]


@pytest.mark.parametrize("environment, words", REFUSED)
def test_what_is_wrong_is_refused_with_its_name(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(environment)
    assert words in str(refused.value)
    assert refused.value.hint


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        config.load({"S3D_WRITE_QUEUE_WAIT": "x", "S3D_WRITE_QUEUE_WORKERS": "0", "S3D_NONSENSE": "1"})
    assert all(
        name in str(refused.value) for name in ("S3D_WRITE_QUEUE_WAIT", "S3D_WRITE_QUEUE_WORKERS", "S3D_NONSENSE")
    )


@pytest.mark.parametrize(
    "name", ["S3D_SERVICE_HOST", "S3D_PORT", "S3D_WEBHOOK_PORT_443_TCP_ADDR", "S3D_A_SERVICE_PORT"]
)
def test_what_a_kubelet_sets_for_services_is_not_misspelt(name: str) -> None:
    config.load({name: "tcp://10.0.0.1:443"})


def test_what_reloads_changes_the_section_that_others_hold() -> None:
    settings = config.load({"S3D_WRITE_QUEUE_MAX_SIZE": "1Gi"})
    held = settings.write_queue
    changed = config.reload(settings, {"S3D_WRITE_QUEUE_MAX_SIZE": "2Gi", "S3D_WRITE_QUEUE_WAIT": 30})
    assert changed == ["S3D_WRITE_QUEUE_MAX_SIZE"]
    assert held.max_size == 2 << 30


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"S3D_BUCKETS": "b"}, "S3D_BUCKETS cannot change while s3d runs"),
        ({"S3D_WRITE_QUEUE_MAX_SIZE": "1Mi", "S3D_WRITE_QUEUE_WAIT": "soon"}, "'soon' is not a duration"),
        ({"S3D_WRITE_QUEUE_MAX_SIZE": "2.6Gi"}, "do not fit into the volume"),
    ],
)
def test_what_cannot_be_reloaded_changes_nothing(values: dict[str, object], words: str) -> None:
    settings = config.load({"S3D_WRITE_QUEUE_MAX_SIZE": "1Gi", "S3D_VOLUME_SIZE": "3Gi"})
    before = settings.model_copy(deep=True)
    with pytest.raises(ConfigError, match=words):
        config.reload(settings, values)
    assert settings == before


@pytest.mark.checklist(16)
def test_a_queue_that_could_outgrow_its_volume_is_refused() -> None:
    with pytest.raises(ConfigError, match="do not fit into the volume"):
        config.load({"S3D_WRITE_QUEUE_MAX_SIZE": "3Gi", "S3D_VOLUME_SIZE": "3Gi"})
    config.load({"S3D_WRITE_QUEUE_MAX_SIZE": "3Gi", "S3D_VOLUME_SIZE": "3Gi", "S3D_WRITE_QUEUE": "false"})


def test_no_two_settings_share_a_section() -> None:
    """A reload changes sections in place."""
    one, other = Settings(), Settings()
    assert [name for name, _ in SECTIONS if getattr(one, name) is getattr(other, name)] == []


@pytest.mark.semantics("F-1", "F-2")
@pytest.mark.parametrize(
    "written", ["b/'x, y', !b[tag:k=v]/*", ["b/'x, y'", "!b[tag:k=v]/*"], ["b/'x, y', !b[tag:k=v]/*"]]
)
def test_a_filter_is_a_text_or_a_list_and_is_shown_as_it_can_be_set(written: object) -> None:
    settings = config.load({"S3D_CONFIG": json.dumps({"S3D_WRITE_QUEUE_FILTER": written})})
    shown = str(settings.write_queue.filter)
    assert len(settings.write_queue.filter.rules) == 2
    assert config.load({"S3D_WRITE_QUEUE_FILTER": shown}) == settings


@pytest.mark.semantics("F-2")
@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            "a, b[tga:x]",
            "did you mean tag?, at character 6 of 'a, b[tga:x]'",
        ),
        (["a", "b[tag:"], "S3D_WRITE_QUEUE_FILTER: a name is expected, at character 7 of 'b[tag:'"),
        (7, "S3D_WRITE_QUEUE_FILTER: a filter is a text, or a list of texts"),
        ({"rules": []}, "S3D_WRITE_QUEUE_FILTER: a filter is a text, or a list of texts"),
    ],
)
def test_a_filter_that_cannot_be_read_stops_the_start_with_its_place(written: object, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load({"S3D_CONFIG": json.dumps({"S3D_WRITE_QUEUE_FILTER": written})})
    assert words in refused.value.message


@pytest.mark.semantics("S-11")
def test_folders_of_a_list_are_kept_beside_the_one_that_has_settings_of_its_own(tmp_path: Path) -> None:
    listed = folders(("media", "/media", "b", "media/"), ("team.docs", "/docs-of-team", "c", ""))
    (tmp_path / "s.toml").write_text(
        '[[S3D_SYNC_FOLDERS]]\nname = "media"\ndir = "/media"\nbucket = "b"\nprefix = "media/"\n'
        '[[S3D_SYNC_FOLDERS]]\nname = "team.docs"\ndir = "/docs-of-team"\nbucket = "c"\n'
        '[[S3D_SYNC_FOLDERS]]\nname = "later"\nenabled = false\n'
    )
    local = {"S3D_LOCAL_DIR": "/local"}
    for given in (local | FIRST | listed, local | FIRST | {"S3D_CONFIG": str(tmp_path / "s.toml")}):
        settings = config.load(given)
        kept = {name: (str(one.dir), str(settings.folder_dir(name))) for name, one in settings.folders.items()}
        assert kept == {
            "folder": ("/docs", "/local/sync"),
            "media": ("/media", "/local/sync/folders/media"),
            "team.docs": ("/docs-of-team", "/local/sync/folders/team.docs"),
        }
        assert settings.folders["media"].poll == 10.0


@pytest.mark.semantics("S-11")
def test_a_folder_goes_on_where_it_was_when_it_moves_to_the_list() -> None:
    settings = config.load({"S3D_LOCAL_DIR": "/local"} | folders(("folder", "/docs", "b", "docs/")))
    assert str(settings.folder_dir("folder")) == "/local/sync"
