"""The specs of the custom resources as models, named in snake_case: `gateway.py` and `folder.py`, and a module for each
part of a gateway.

A field that becomes a setting of the daemon takes its description from `s3d.settings`, so that the schema, the CLI and
the documentation say the same. Only what something implements is in here. There is no webhook for the resources
themselves.
"""

from s3d_operator.spec.folder import SyncFolderSpec
from s3d_operator.spec.gateway import S3GatewaySpec

__all__ = ["S3GatewaySpec", "SyncFolderSpec"]
