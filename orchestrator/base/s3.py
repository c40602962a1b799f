"""S3 as `s3fs` reads and writes it, with one rule for faults: wait for what passes, name the rest.

fsspec finds this class by its name, in whatever process a path of ours is opened
(`orchestrator.base.files` registers it), so s3fs is imported only where an ``s3://`` is used.
"""

import asyncio
import time
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NotConnectedError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from orchestrator.base.errors import StorageError

PATIENCE = 180.0
"""Seconds for which a request is tried again: a server that is restarted costs nobody a trial."""
LONGEST_WAIT = 5.0
"""Seconds between two tries, at most: work goes on soon after the server is back."""
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE and ~/.aws"
REFUSED = {
    "NoSuchBucket": "no such bucket; make it, or give another",
    "AccessDenied": f"access denied; ask for the rights to list, read and write, or {CREDENTIALS}",
    "403": f"access denied; {CREDENTIALS}",
    "InvalidAccessKeyId": f"the server does not know the access key; {CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is not the access key's; {CREDENTIALS}",
    "ExpiredToken": f"the session token has expired; {CREDENTIALS}",
    "InvalidToken": f"the session token is not valid; {CREDENTIALS}",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; set AWS_DEFAULT_REGION to that",
}
"""What a server refuses, by its code; its own message may quote what was sent, a key among it."""


class S3(S3FileSystem):  # type: ignore[misc]
    """The file system behind ``s3://``: no caches of what others change, and errors in one line."""

    retries = 2  # of s3fs's own, which know no pause worth the name
    patience = PATIENCE
    """Seconds for which a request of this process is tried again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # What another process has written must be seen; botocore's tries would multiply ours.
        options.setdefault("use_listings_cache", False)
        # With more, each file's size is asked for before it is read, lest it is a large one.
        options.setdefault("max_concurrency", 1)
        once = {"retries": {"mode": "standard", "total_max_attempts": 1}}
        options["config_kwargs"] = once | (options.get("config_kwargs") or {})
        super().__init__(*args, **options)

    async def _call_s3(self, method: str, *lists: Any, **named: Any) -> Any:
        deadline, wait = time.monotonic() + self.patience, 0.1
        while True:
            try:
                return await super()._call_s3(method, *lists, **named)
            except Exception as error:
                place = "/".join(str(named[n]) for n in ("Bucket", "Key") if n in named)
                failure = _named(error, f"s3://{place}")
                if not _passes(error) or time.monotonic() >= deadline:
                    raise failure from error
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    call_s3 = sync_wrapper(_call_s3)  # which S3File calls; s3fs's own would pass ours by

    async def _mkdir(self, path: str, *args: Any, **options: Any) -> None:
        """Do nothing: a folder is the names in it, and a missing bucket is the user's to make."""

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing, as `_mkdir`."""


def _code(error: BaseException) -> tuple[str, int]:
    """Return what a server answered: its code and the HTTP status; ("", 0) if it did not."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    if not isinstance(cause, ClientError):
        return "", 0
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(cause.response.get("Error", {}).get("Code", "")), int(status)


def _passes(error: BaseException) -> bool:
    """Tell whether the same request may be answered in a while."""
    code, status = _code(error)
    if status:
        return status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout")
    return isinstance(error, NotConnectedError | HTTPClientError | TimeoutError | ConnectionError)


def _named(error: Exception, place: str) -> Exception:
    """Return what to raise for an error: those that pathlib has, too, are as they are."""
    code, status = _code(error)
    if code in REFUSED:
        return StorageError(place, REFUSED[code])
    if isinstance(error, FileNotFoundError | FileExistsError):
        return error
    if status:
        reason = f"the server answered {code} ({status})"
    elif isinstance(error, NoCredentialsError | PartialCredentialsError):
        reason = f"no credentials; {CREDENTIALS}"
    elif _passes(error):
        reason = (
            f"the server cannot be reached ({type(error).__name__}); see that it runs, and that "
            "AWS_ENDPOINT_URL is its address where it is not Amazon's"
        )
    elif isinstance(error, BotoCoreError):  # of a profile that is not there, for example
        reason = " ".join(str(error).split())
    else:
        return error
    return StorageError(place, reason)
