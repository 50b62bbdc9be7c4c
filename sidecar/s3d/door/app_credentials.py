"""The access key that the daemon makes for its applications, in a file of AWS shared credentials (SEMANTICS A-2d).

SDKs read that file by themselves (AWS_SHARED_CREDENTIALS_FILE), so no key has to be made, copied or kept anywhere else.
It is written whole before the door opens, and a restart takes the key that is in it. Other users may read it, since
applications run as other users: who gets the key is decided by who may enter the directory, as with a volume of a pod.
"""

import configparser
import os
from pathlib import Path

from s3d import files
from s3d.access import document
from s3d.access.keys import AccessKey, new_id, new_secret
from s3d.errors import ConfigError

SETTING = "S3D_APP_CREDENTIALS_FILE"
MODE = 0o644
MAX_BYTES = 4096


def keep(path: Path) -> AccessKey:
    """The key in the file, which is made where there is none. Raises ConfigError."""
    if not os.path.lexists(path):
        key = AccessKey(id=new_id(), secrets=(new_secret(),))
        write(path, key)
        return key
    return parse(files.read_own(path, MAX_BYTES), path)


def parse(data: bytes, where: object) -> AccessKey:
    """Read the file. Raises ConfigError, which holds nothing of what was read."""
    said = configparser.RawConfigParser()
    try:
        said.read_string(data.decode())
        key_id, secret = said["default"]["aws_access_key_id"], said["default"]["aws_secret_access_key"]
        return AccessKey(id=document.check_id(key_id), secrets=(document.check_secret(secret),))
    except (configparser.Error, KeyError, ValueError):
        raise ConfigError(
            f"{SETTING}: {where} has no key that s3d has made", hint="remove it, and s3d makes another one"
        ) from None


def write(path: Path, key: AccessKey) -> None:
    """Write the file, whole. Raises ConfigError."""
    (secret,) = key.secrets
    text = f"[default]\naws_access_key_id = {key.id}\naws_secret_access_key = {secret}\n"
    try:
        files.write_whole(path, text.encode(), mode=MODE)
    except OSError as error:
        raise ConfigError(
            f"{SETTING}: {path} cannot be written: {error.strerror}", hint="s3d's user needs a directory to write it to"
        ) from None
