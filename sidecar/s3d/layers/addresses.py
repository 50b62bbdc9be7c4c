"""Where the remote has a bucket: host, path and region of a request, by path or by name (virtual-hosted style)."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from s3d.bounded import BoundedMap
from s3d.errors import ConfigError
from s3d.layers.credentials import Chain
from s3d.settings import Remote as RemoteSettings

MAX_REGIONS = 10_000
"""Buckets in another region of which that is remembered; of one that was forgotten the remote says it again."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the URL without query, and what is signed."""

    scheme: str
    host: str
    path: str
    region: str


class Addresses:
    """The addresses of a remote's buckets."""

    def __init__(self, settings: RemoteSettings, chain: Chain) -> None:
        """Take the remote, and what knows AWS's own endpoints. Raises ConfigError for a region that AWS has not."""
        self._chain = chain
        self._is_aws = not settings.endpoint
        self.region = chain.region()
        self.endpoint = settings.endpoint or self._aws_endpoint(self.region)
        parts = urlsplit(self.endpoint)
        self.scheme, self.host, self.base = parts.scheme, parts.netloc, parts.path
        self.is_virtual = settings.addressing == "virtual" or (settings.addressing == "auto" and self._is_aws)
        """Whether requests name their bucket in the host name (virtual-hosted style)."""
        self._regions: BoundedMap[str, str] = BoundedMap(MAX_REGIONS)

    def learn(self, bucket: str, region: str) -> None:
        """Remember that a bucket is in a region."""
        self._regions[bucket] = region

    def target(self, bucket: str, path: str) -> Target:
        """Address a bucket, or a key of it by `path`: a slash and the key, which may itself begin with one. Raises
        ConfigError for a region that AWS has not."""
        region = self._regions.get(bucket) or self.region
        host = self.host
        if region != self.region and self._is_aws:
            host = urlsplit(self._aws_endpoint(region)).netloc
        key = path.removeprefix("/")
        if not bucket:
            return Target(self.scheme, host, f"{self.base}/", region)
        if self.is_virtual and "." not in bucket:
            return Target(self.scheme, f"{bucket}.{host}", f"{self.base}/{key}", region)
        place = f"{self.base}/{quote(bucket, safe='-_.~')}"
        return Target(self.scheme, host, f"{place}/{key}" if key else place, region)

    def _aws_endpoint(self, region: str) -> str:
        found = self._chain.session.get_component("endpoint_resolver").construct_endpoint("s3", region)
        if not found:
            raise ConfigError(f"AWS_REGION: {region} is not a region of AWS", hint="or set S3_ENDPOINT")
        return f"https://{found['hostname']}"
