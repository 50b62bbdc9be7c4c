"""Steps that list, page by page."""

from typing import Any
from urllib.parse import unquote_plus

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.callers import Answer
from tests.machine.answers import away, rolled
from tests.machine.world import CONTENTS, NAMES, Paging, bodies, keys
from tests.machine.writes import Writes
from tests.model import Wrong


class Listings(Writes):
    """What is listed."""

    @rule(
        second=st.booleans(),
        prefix=st.sampled_from(["", "a", "a/", "b\u00e9"]),
        delimiter=st.sampled_from(["", "/"]),
        most=st.sampled_from([1, 2, 3, 1000]),
        encoded=st.booleans(),
    )
    def list_first(self, second: bool, prefix: str, delimiter: str, most: int, encoded: bool) -> None:
        params: dict[str, Any] = {"Prefix": prefix, "MaxKeys": most}
        params |= {"Delimiter": delimiter} if delimiter else {}
        params |= {"EncodingType": "url"} if encoded else {}
        operation = "ListObjectsV2" if second else "ListObjects"
        self.paging = Paging(operation, params, times=dict(self.model.times))
        self.list_next()

    @rule()
    def list_next(self) -> None:
        if (paging := self.paging) is None:
            return
        answer = self.client(paging.operation, identity=paging.who, **paging.params)
        paging.who = self.who
        if not isinstance(answer, Answer):
            if not away(answer):
                raise Wrong(f"{paging.operation} fails with {answer}")
            return
        result = answer.result
        decode = unquote_plus if result.get("EncodingType") == "url" else str
        page = [decode(one["Key"]) for one in result.get("Contents", ())]
        page += [decode(one["Prefix"]) for one in result.get("CommonPrefixes", ())]
        paging.names += sorted(page, key=str.encode)
        if sorted(set(paging.names), key=str.encode) != paging.names:
            raise Wrong(f"a listing is out of order or says a name twice: {paging.names}")
        paging.etags |= {decode(one["Key"]): one["ETag"].strip('"') for one in result.get("Contents", ())}
        if not result["IsTruncated"]:
            self.paging = None
            self.judge_listing(paging)
        elif not page:
            raise Wrong("a page is empty and truncated")
        elif paging.operation == "ListObjectsV2":
            paging.params = paging.params | {"ContinuationToken": result["NextContinuationToken"]}
        else:
            marker = result.get("NextMarker")
            paging.params = paging.params | {"Marker": decode(marker) if marker else paging.names[-1]}

    @rule(key=keys, body=bodies, versions=st.booleans())
    def list_across_a_push(self, key: str, body: str, versions: bool) -> None:
        """What is pending when a listing begins reaches the remote before it ends."""
        flaky = self.onion.flaky
        flaky.stalled = True
        self.put_bytes(key, CONTENTS[body], "")
        flaky.stalled, flaky.sluggish = False, True
        self.onion.loop.call_later(0.001, flaky.release)
        if versions:
            self.list_versions("")
        else:
            self.paging = Paging("ListObjectsV2", {"Prefix": "", "MaxKeys": 1000}, times=dict(self.model.times))
            self.list_next()
        flaky.sluggish = False

    @rule(second=st.booleans(), delimiter=st.sampled_from(["", "/"]), key=keys, body=bodies)
    def list_while_it_drains(self, second: bool, delimiter: str, key: str, body: str) -> None:
        """What is pending on the first page is not any more on a later one (R-8)."""
        self.onion.flaky.stalled = True
        self.put_bytes(key, CONTENTS[body], "")
        self.list_first(second, "", delimiter, 1, encoded=False)
        self.onion.flaky.release()
        for _ in NAMES:
            self.list_next()

    def judge_listing(self, paging: Paging) -> None:
        """Of keys that nobody changed meanwhile exactly those that are there."""
        steady = {key for key in self.model.may if self.model.times.get(key) == paging.times.get(key)}
        prefix, delimiter = paging.params["Prefix"], paging.params.get("Delimiter", "")
        for key in steady:
            if not key.startswith(prefix):
                continue
            group = rolled(key, prefix, delimiter)
            if group:
                if group not in paging.names and None not in self.model.states(key):
                    raise Wrong(f"a listing leaves out {group!r}, in which {key!r} is: {paging.names}")
                continue
            etag = paging.etags.get(key)
            self.model.see(key, lambda one: (one.etag if one else None) == etag, f"ETag {etag} in a listing")  # noqa: B023
        for name in paging.names:
            inside = [key for key in self.model.may if key == name or rolled(key, prefix, delimiter) == name]
            if all(key in steady and self.model.states(key) == {None} for key in inside):
                raise Wrong(f"a listing shows {name!r}, where nothing is")

    @rule(prefix=st.sampled_from(["", "a/"]))
    def list_versions(self, prefix: str) -> None:
        answer = self.client("ListObjectVersions", Prefix=prefix)
        if isinstance(answer, Answer):
            listed = {
                one["Key"]: one["ETag"].strip('"') for one in answer.result.get("Versions", ()) if one["IsLatest"]
            }
            for key in self.model.may:
                if key.startswith(prefix):
                    etag = listed.get(key)
                    self.model.see(key, lambda one: (one.etag if one else None) == etag, f"ETag {etag} of versions")  # noqa: B023
        elif not away(answer):
            raise Wrong(f"ListObjectVersions fails with {answer}")
