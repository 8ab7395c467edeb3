"""What the errors of botocore and of S3 mean for us: the one place that knows their names. Pure.

Of two kinds mostly: the store says no, which stops the run with a sentence about what to do, and the store did not
answer well, which another try may mend.
"""

from dataclasses import dataclass

import botocore.exceptions as boto

from tasks.errors import CallscribeError, StorageRefused, StorageUnavailable

_ACCESS_DENIED = (
    "these credentials may not do this. Grant s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, and where a "
    "key of KMS is used kms:GenerateDataKey and kms:Decrypt"
)
_WRONG_KEY = "the key that objects are encrypted with cannot be used. Correct storage.kms_key_id, or enable the key"
_WRONG_REGION = "the bucket is in another region. Set its region and endpoint"
_REFUSALS = {
    "NoSuchBucket": "the bucket does not exist. Correct the URI, or create the bucket",
    "InvalidBucketName": "no bucket can have this name. Correct the URI",
    "AccessDenied": _ACCESS_DENIED,
    "403": _ACCESS_DENIED,
    "InvalidAccessKeyId": "it does not know this access key. Correct AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong. Correct AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session token has expired. Renew the credentials",
    "InvalidToken": "the session token is wrong. Correct AWS_SESSION_TOKEN or the profile",
    "RequestTimeTooSkewed": "the clock of this machine is wrong. Set it",
    "PermanentRedirect": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "301": _WRONG_REGION,
    "KMS.DisabledException": _WRONG_KEY,
    "KMS.InvalidKeyUsageException": _WRONG_KEY,
    "KMS.KMSInvalidStateException": _WRONG_KEY,
    "KMS.NotFoundException": _WRONG_KEY,
    "InvalidEncryptionAlgorithmError": "it cannot encrypt in this way. Correct storage.encryption",
    "NotImplemented": "it lacks something that callscribe needs. Use another store, such as Amazon S3",
}
_LATER = {
    "BadDigest": "the bytes were damaged on their way",
    "InvalidObjectState": "it lies in an archive class; restore it first",
    "OperationAborted": "something else is being done to it",
    "RequestTimeout": "the connection was too slow",
    "SlowDown": "the store asks to slow down",
}
_NOT_FOUND = 404
_PRECONDITION_FAILED = 412
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500

_CREDENTIAL_ERRORS = (
    boto.CredentialRetrievalError,
    boto.LoginError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.TokenRetrievalError,
)
_ADDRESS_ERRORS = (boto.EndpointConnectionError, boto.ProxyConnectionError)
_LOST_ANSWERS = (boto.ConnectTimeoutError, boto.HTTPClientError, boto.IncompleteReadError, boto.FlexibleChecksumError)


class RangeBeyondEnd(StorageRefused):
    """The asked-for bytes begin at or after the object's end."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: `place` names bucket and endpoint, `what` the object (or the bucket).

    `gone` is the error for an absent object, `stale` the one for a condition that does not hold.
    """

    place: str
    what: str
    gone: type[CallscribeError]
    stale: type[CallscribeError]


def translate(error: Exception, request: Request) -> CallscribeError:
    """Turn an error of boto3 into one of ours.

    Args:
        error: what boto3 raised.
        request: what it was doing.
    """
    if isinstance(error, boto.ClientError):
        return _translate_answer(error, request)
    place = request.place
    if isinstance(error, _CREDENTIAL_ERRORS):
        advice = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role for this machine"
        return StorageRefused(f"{place}: no usable credentials were found. {advice}. ({error})")
    if isinstance(error, boto.SSLError):
        return StorageRefused(f"{place}: no trusted connection. Set ca_bundle to its authority's file. ({error})")
    if isinstance(error, _ADDRESS_ERRORS):
        return StorageRefused(f"{place}: cannot be reached. Correct the endpoint, or start the store. ({error})")
    if isinstance(error, _LOST_ANSWERS):
        return StorageUnavailable(f"{request.what}: no whole answer from {place}. ({error})")
    return StorageRefused(f"{request.what}: boto3 cannot ask {place}. ({error})")


def _translate_answer(error: boto.ClientError, request: Request) -> CallscribeError:
    """Turn an answer of the store into an error; an answer to HEAD has the status for a code."""
    code = error.response["Error"].get("Code", "")
    said = f"({code}: {error.response['Error'].get('Message', '')})"
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in _REFUSALS:
        return StorageRefused(f"{request.place}: {_REFUSALS[code]}. {said}")
    if code == "InvalidRange":
        return RangeBeyondEnd(f"{request.what} has no bytes there. {said}")
    if status == _PRECONDITION_FAILED or code == "ConditionalRequestConflict":
        return request.stale(f"{request.what} is another version than expected, says {request.place}. {said}")
    if status == _NOT_FOUND:
        return request.gone(f"{request.what} does not exist. {said}")
    if code in _LATER or status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        tries = error.response["ResponseMetadata"].get("RetryAttempts", 0) + 1
        why = f": {_LATER[code]}" if code in _LATER else ""
        return StorageUnavailable(f"{request.what}: no good answer from {request.place} in {tries} tries{why}. {said}")
    return StorageRefused(f"{request.what}: {request.place} refused. {said}")
