"""Steps of uploads in parts."""

from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import rule

from s3d.errors import S3Error
from tests.callers import Answer
from tests.machine.answers import away
from tests.machine.world import FIRST_PART, IDENTITIES, NAMES, PARTS, few, keys
from tests.machine.writes import Writes
from tests.model import Upload, Wrong, assembled, md5


class Uploads(Writes):
    """What is uploaded in parts."""

    @rule(key=keys)
    def create_upload(self, key: str) -> None:
        """Open an upload."""
        number = self.number()
        answer = self.client("CreateMultipartUpload", key, Metadata={"n": number})
        if isinstance(answer, Answer):
            staged = answer.source == "queue"
            self.model.uploads.append(Upload(key, answer.result["UploadId"], number, self.who, staged))
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    def upload(self, which: int) -> Upload | None:
        """One of the open uploads, a new one where there is none."""
        if not self.model.uploads:
            self.create_upload(NAMES[which % len(NAMES)])
        return self.model.uploads[which % len(self.model.uploads)] if self.model.uploads else None

    @rule(which=few, number=st.sampled_from([1, 1, 2, 7]), part=st.sampled_from([*PARTS]))
    def put_part(self, which: int, number: int, part: str) -> None:
        data = PARTS[part]
        if not (upload := self.upload(which)):
            return
        named: dict[str, Any] = {"UploadId": upload.id, "PartNumber": number}
        answer = self.client("UploadPart", upload.key, data, identity=upload.who, **named)
        if isinstance(answer, Answer):
            if answer.etag != md5(data):
                raise Wrong(f"a part is acknowledged with ETag {answer.etag}")
            upload.parts[number] = data
            upload.doubtful.discard(number)
        elif away(answer):
            upload.doubtful.add(number)
        else:
            raise Wrong(f"{answer} is no answer to this") from answer

    @rule(which=few, source=keys)
    def copy_part(self, which: int, source: str) -> None:
        if not (upload := self.upload(which)):
            return
        said: dict[str, Any] = {"UploadId": upload.id, "PartNumber": 3, "CopySource": f"{self.bucket}/{quote(source)}"}
        answer = self.client("UploadPartCopy", upload.key, identity=upload.who, **said)
        if isinstance(answer, Answer):
            etag = answer.result["CopyPartResult"]["ETag"].strip('"')
            self.model.see(source, lambda one: one is not None and md5(one.data) == etag, f"ETag {etag} to a copy")
            upload.parts[3] = next(one.data for one in self.model.states(source) if one)
            upload.doubtful.discard(3)
        elif away(answer):
            upload.doubtful.add(3)
        else:
            self.not_there(source, answer)

    @rule(which=few)
    def list_parts(self, which: int) -> None:
        if not (upload := self.upload(which)):
            return
        answer = self.client("ListParts", upload.key, identity=upload.who, UploadId=upload.id)
        if isinstance(answer, Answer):
            listed = {one["PartNumber"]: one["ETag"].strip('"') for one in answer.result.get("Parts", ())}
            known = {number: md5(data) for number, data in upload.parts.items()}
            for number in {*listed, *known} - upload.doubtful:
                if listed.get(number) != known.get(number):
                    raise Wrong(f"part {number} is listed as {listed.get(number)}, not {known.get(number)}")
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    @rule(which=few, operation=st.sampled_from(["UploadPart", "ListParts", "AbortMultipartUpload"]))
    def touch_anothers(self, which: int, operation: str) -> None:
        """An upload is not there for who has not begun it (A-8d)."""
        if not (upload := self.upload(which)) or not upload.staged:
            return
        said: dict[str, Any] = {"UploadId": upload.id, **({"PartNumber": 1} if operation == "UploadPart" else {})}
        data = b"not of its owner" if operation == "UploadPart" else None
        stranger = next(one for one in IDENTITIES if one != upload.who)
        answer = self.client(operation, upload.key, data, identity=stranger, **said)
        if isinstance(answer, Answer) or not (away(answer) or answer.code == "NoSuchUpload"):
            raise Wrong(f"{operation} of another identity's upload is answered by {answer}")

    @rule()
    def list_uploads(self) -> None:
        answer = self.client("ListMultipartUploads")
        if isinstance(answer, Answer):
            listed = {one["UploadId"] for one in answer.result.get("Uploads", ())}
            known = {upload.id for upload in self.model.uploads if upload.who == self.who}
            if known - listed:
                raise Wrong(f"open uploads are not listed: {known - listed}")
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer

    @rule(which=few)
    def complete(self, which: int) -> None:
        upload = self.upload(which)
        if not upload or not upload.parts or upload.doubtful:
            return
        numbers = [n for n in sorted(upload.parts) if len(upload.parts[n]) >= len(FIRST_PART)]
        numbers = [*numbers, max(upload.parts)] if max(upload.parts) not in numbers else numbers
        new = assembled(upload, numbers)
        parts = [{"PartNumber": number, "ETag": f'"{md5(upload.parts[number])}"'} for number in numbers]
        document: dict[str, Any] = {"MultipartUpload": {"Parts": parts}}
        named = {"UploadId": upload.id, **document}
        try:
            answer = self.write(
                "CompleteMultipartUpload", upload.key, becomes=lambda _: new, identity=upload.who, **named
            )
        except S3Error as error:
            raise Wrong(f"an upload cannot be completed: {error}") from error
        if answer:
            if answer.etag != new.etag:
                raise Wrong(f"an upload is completed with ETag {answer.etag}, not {new.etag}")
            self.model.put(upload.key, new)
        if answer or self.fate in ("applied", "unsure"):
            self.model.uploads.remove(upload)

    @rule(key=keys, large=st.booleans())
    def whole_upload(self, key: str, large: bool) -> None:
        """All of an upload, from its beginning to its end."""
        before = len(self.model.uploads)
        self.create_upload(key)
        if len(self.model.uploads) > before:
            for number, part in ((1, "5 MiB"), (2, "end")) if large else ((1, "other end"),):
                self.put_part(before, number, part)
            self.complete(before)

    @rule(which=few)
    def abort(self, which: int) -> None:
        if not (upload := self.upload(which)):
            return
        answer = self.client("AbortMultipartUpload", upload.key, identity=upload.who, UploadId=upload.id)
        if isinstance(answer, Answer) or self.fate in ("applied", "unsure"):
            self.model.uploads.remove(upload)
        elif not away(answer):
            raise Wrong(f"{answer} is no answer to this") from answer
