"""Whose form it is: the signature of a POST policy, over its base64 as the form carries it.

A policy has no time of its own but its expiration, which `forms.judge` holds the form against, like all its conditions.
They cover the credential and the date, so a form can be no other key's. What nothing covers is the file.
"""

from collections.abc import Mapping

from s3d.access import credential
from s3d.access.authorise import SOURCES
from s3d.access.credential import Malformed
from s3d.access.keys import AccessKey, Keys
from s3d.errors import S3Error
from s3d.protocol import sigv4

ALGORITHM, CREDENTIAL, DATE = "x-amz-algorithm", "x-amz-credential", "x-amz-date"
SIGNATURE, TOKEN = "x-amz-signature", "x-amz-security-token"
NEEDED = ("policy", ALGORITHM, CREDENTIAL, DATE, SIGNATURE)
VERSION_2 = frozenset(["awsaccesskeyid", "signature"])


def authenticate(fields: Mapping[str, str], keys: Keys, *, secure: bool) -> AccessKey:
    """Find out who signed a form, by its fields of lower-case names.

    A form with no policy and no signature is anybody's. `secure` is as for `verify.authenticate`. Raises S3Error as
    that does, InvalidArgument where a field is missing, and NotImplemented for a form that copies: it would read from
    a bucket that nobody has asked the key about.
    """
    for name in sorted(SOURCES & fields.keys()):
        raise S3Error(
            "NotImplemented", f"A form with the field {name} is not understood", status=501, hint="copy with PUT"
        )
    if not VERSION_2.isdisjoint(fields):
        raise credential.unsupported("version 2")
    if fields.keys().isdisjoint(NEEDED):
        return credential.unsigned(keys)
    for name in NEEDED:
        if not fields.get(name):
            raise S3Error(
                "InvalidArgument",
                f"Bucket POST must contain a field named '{name}'",
                hint="a form is signed whole, or not at all",
                details={"ArgumentName": name},
            )
    if fields[ALGORITHM] != sigv4.ALGORITHM:
        raise credential.unsupported(credential.kind(fields[ALGORITHM]))
    credential.check_token(fields.get(TOKEN))
    try:
        sigv4.long_date(fields[DATE])
        used = credential.read(fields[CREDENTIAL], fields[DATE])
    except Malformed as error:
        raise _invalid(CREDENTIAL, str(error)) from None
    except ValueError:
        raise _invalid(DATE, "it must be in the ISO8601 Long Format") from None
    credential.check_way(secure=secure)
    found = credential.match(keys, used, fields["policy"], fields[SIGNATURE])
    if found is None:
        raise credential.refusal(keys, used, fields["policy"])
    return found[0]


def _invalid(name: str, why: str) -> S3Error:
    return S3Error("InvalidArgument", f"The form field {name} is invalid: {why}", details={"ArgumentName": name})
