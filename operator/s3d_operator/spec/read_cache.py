"""The part of a spec about the read cache."""

from typing import ClassVar

from pydantic import Field

from s3d.settings import ReadCache as ReadCacheSettings
from s3d_operator.schema import MAX_RULES, FilterRule, Resource, Rule, Size, compare, help_of


class ReadCache(Resource):
    """The read cache, on the gateway's volume."""

    enabled: bool = Field(default=False, description=help_of(ReadCacheSettings, "enabled"))
    filter: tuple[FilterRule, ...] = Field(
        default=(), description=help_of(ReadCacheSettings, "filter"), max_length=MAX_RULES
    )
    max_size: Size = Field(default="1Gi", description=help_of(ReadCacheSettings, "max_size"))
    max_files: int = Field(default=100_000, description=help_of(ReadCacheSettings, "max_files"), ge=1, le=100_000_000)
    max_names: int = Field(default=100_000, description=help_of(ReadCacheSettings, "max_names"), ge=0, le=100_000_000)
    max_age_seconds: int = Field(default=0, description=help_of(ReadCacheSettings, "max_age"), ge=0, le=31_536_000)
    fresh_seconds: int = Field(default=0, description=help_of(ReadCacheSettings, "fresh_for"), ge=0, le=31_536_000)
    max_stale_seconds: int = Field(
        default=86_400, description=help_of(ReadCacheSettings, "max_stale"), ge=0, le=31_536_000
    )
    validate_timeout_seconds: int = Field(
        default=1, description=help_of(ReadCacheSettings, "validate_timeout"), ge=1, le=120
    )
    pin_rate: Size = Field(default="50Mi", description=help_of(ReadCacheSettings, "pin_rate"))

    rules: ClassVar = (
        Rule(
            compare("self.maxSize", ">=", "'1Mi'"),
            "readCache.maxSize is below 1Mi: nothing would be cached; enabled: false switches it off",
        ),
        Rule(
            compare("self.pinRate", ">=", "'1'"),
            "readCache.pinRate is 0: it says how many bytes a second are fetched of pinned objects",
        ),
    )
