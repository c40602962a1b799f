"""Telling a URL that a run has ended."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line
from orchestrator.base.web import NoRedirects, is_loopback
from orchestrator.run import progress
from orchestrator.run.directory import Run

VARIABLE = "FAIRFRONT_WEBHOOK"
TIMEOUT = 10.0
"""Seconds."""


def webhook_of(given: str | None) -> str | None:
    """Return the URL to tell, of ``--webhook`` or `VARIABLE`; `InputError` for one that is none.

    It goes into no file of the run: it may hold a secret.
    """
    url = given or os.environ.get(VARIABLE)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        known = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        known = known and bool(host)
        parts.port  # noqa: B018, which raises
    except ValueError:
        known = False
    if not known:
        raise InputError(
            f"--webhook {_shown(url)}: give an https:// URL (or http://127.0.0.1:PORT, on this "
            "machine)"
        )
    return url


def _shown(url: str) -> str:
    """Return the scheme and host of a URL, without a name, a password, a path or a query."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{scheme}{separator}{host}" if separator else "URL"


@contextmanager
def telling(url: str | None, run: Run) -> Iterator[None]:
    """Tell a URL, as the block ends, how the run stands; what becomes of that changes nothing."""
    failed = True
    try:
        yield
        failed = False
    except KeyboardInterrupt:
        failed = False  # which the run's progress says
        raise
    finally:
        if url:
            _tell(url, run, failed=failed)


def _tell(url: str, run: Run, *, failed: bool) -> None:
    try:
        request = urllib.request.Request(
            url,
            data=json.dumps(ending(run, failed=failed)).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "fairfront"},
        )
        with urllib.request.build_opener(NoRedirects).open(request, timeout=TIMEOUT):
            pass
    except Exception as error:
        why = one_line(error).replace(url, _shown(url))
        print(f"fairfront: --webhook {_shown(url)} was not told: {why}", file=sys.stderr)


def ending(run: Run, *, failed: bool = False) -> dict[str, Any]:
    """Return what is told of a run that has ended.

    ``run`` is its path, ``state`` finished, interrupted or failed, ``best`` its best trial with the
    fair metric on validation and what that is made of, ``trials`` the counts by state.
    """
    now = progress.read(run) if run.path.exists() else None
    best = now.best if now else None
    counts = dict.fromkeys(("complete", "pruned", "failed"), 0)
    for trial in now.ended if now else ():
        counts[trial.state] += 1
    return {
        "run": str(run.path),
        "state": "failed" if failed or now is None else now.state,
        "best": {"trial_id": best.trial_id, **best.score.model_dump()}
        if best and best.score
        else None,
        "trials": counts,
    }
