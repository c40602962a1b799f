"""The way to a Ray cluster's Jobs API: its address, its token, and its errors in one line."""

import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import build_opener, getproxies, proxy_bypass

from orchestrator.base.errors import InputError
from orchestrator.base.web import NoRedirects, is_loopback

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
PLAIN_VARIABLE = "FAIRFRONT_PLAIN_HTTP"
"""Hosts, with commas between them, to which a token may be sent over plain HTTP."""

ANSWER_SECONDS = 120
"""How long an answer may take; Ray's client waits for ever."""


def connect(address: str | None) -> "JobSubmissionClient":
    """Return a client of the cluster at `address`; `InputError` when it cannot be used."""
    url = cluster_url(address)
    headers = _token_header(url)
    _check_answer(url, headers)
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        """Ray's, which follows no redirect: what it sends is for the address that was given.

        And which does not wait for ever where no answer comes.
        """

        def _do_request(self, *words: Any, **options: Any) -> Any:
            options = {"timeout": ANSWER_SECONDS, "allow_redirects": False, **options}
            return super()._do_request(*words, **options)

    for chatty in ("dashboard_sdk", "job.sdk"):  # they log every upload and every closed socket
        logging.getLogger(f"ray.dashboard.modules.{chatty}").setLevel(logging.WARNING)
    # Ray lets its environment variables win over an address that is given; here the option wins.
    before = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = url
    try:
        return Client(url, headers=headers)
    finally:
        del os.environ["RAY_API_SERVER_ADDRESS"]
        if before is not None:
            os.environ["RAY_API_SERVER_ADDRESS"] = before


def cluster_url(address: str | None) -> str:
    """Return the URL of the cluster's dashboard; `InputError` when it is no HTTP address."""
    given = {"--address": address} | {name: os.environ.get(name) for name in ADDRESS_VARIABLES}
    name, url = next(((n, u) for n, u in given.items() if u), ("--address", DEFAULT_ADDRESS))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"{name} {url}: jobs are submitted over HTTP to the cluster's dashboard; "
            "give --address http://HOST:8265"
        )
    return url.rstrip("/")


def find_token() -> tuple[str, str] | None:
    """Return the cluster token and where it was found, looked for where Ray looks, or None.

    Ray itself sends it only when RAY_AUTH_MODE=token is set, although a head started by
    ``ray start`` asks for it as soon as there is one in the home folder.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip(), "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        path = Path(named) if named else Path.home() / ".ray" / "auth_token"
        return path.read_text(encoding="utf-8").strip(), str(path)
    except (OSError, RuntimeError):  # of a user without a home
        if named:
            raise InputError(f"RAY_AUTH_TOKEN_PATH {named}: cannot be read; correct it") from None
        return None


def _token_header(url: str) -> dict[str, str]:
    """Return the header with the token; `InputError` where others could read it on its way."""
    found = find_token()
    if found is None:
        return {}
    parts = urlsplit(url)
    host = parts.hostname or ""
    direct = is_loopback(host) and not _proxy(url)
    if parts.scheme == "http" and not direct and host not in _plain_hosts():
        raise InputError(
            f"{url}: the token of {found[1]} could be read on its way to {host}; give an https:// "
            f"address, or an SSH tunnel's (ssh -L 8265:127.0.0.1:8265 {host}, and --address "
            f"http://127.0.0.1:8265), or set {PLAIN_VARIABLE}={host} where the network is trusted"
        )
    return {"Authorization": f"Bearer {found[0]}"}


def _plain_hosts() -> list[str]:
    """Return the hosts to which the user has a token sent over plain HTTP."""
    return [host.strip().lower() for host in os.environ.get(PLAIN_VARIABLE, "").split(",")]


def _check_answer(url: str, headers: dict[str, str]) -> None:
    """Ask for the version with a time limit, which Ray's client does not set."""
    request = urllib.request.Request(f"{url}/api/version", headers=headers)
    try:
        with build_opener(NoRedirects).open(request, timeout=10) as answer:
            json.load(answer)["ray_version"]
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            where = error.headers.get("Location", "elsewhere")
            raise InputError(
                f"{url}: redirects to {where}, and is not followed, with the token; give --address "
                "the cluster's own address"
            ) from None
        if error.code not in (401, 403):
            raise InputError(
                f"{url}: not a Ray dashboard (HTTP {error.code}){_proxy(url)}; correct --address"
            ) from None
        raise InputError(f"{url}: {token_complaint()}{_proxy(url)}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{url}: no Ray cluster answers ({reason}){_proxy(url)}; start one with `ray start "
            "--head`, or give --address http://HOST:8265"
        ) from None
    except (ValueError, KeyError, TypeError, HTTPException):
        raise InputError(f"{url}: not a Ray dashboard{_proxy(url)}; correct --address") from None


def ask(client: "JobSubmissionClient", path: str) -> Any:
    """Return what the dashboard says at a path, from its JSON; None: it has nothing there.

    Raises
    ------
    InputError
        It does not answer, or refuses.
    """
    with one_line_errors(client):
        answer = client._do_request("GET", path)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            client._raise_error(answer)
        return answer.json()


def token_complaint() -> str:
    """Say which token a cluster refuses, or that it asks for one, and the mend."""
    mend = "set RAY_AUTH_TOKEN to what `ray get-auth-token` prints on the head"
    if found := find_token():
        return f"the cluster refuses the token of {found[1]}; {mend}"
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return "the cluster asks for a token, but RAY_AUTH_MODE=disabled is set here; unset it"
    return f"the cluster asks for a token and there is none here; {mend}"


def _proxy(url: str) -> str:
    """Name the variable of the proxy that was asked in the cluster's place; empty: none was."""
    parts = urlsplit(url)
    host, name = parts.hostname or "", f"{parts.scheme}_proxy"
    if parts.scheme not in getproxies() or proxy_bypass(host):
        return ""
    name = name if os.environ.get(name) else name.upper()
    return f", asked through the proxy that {name} names (add {host} to no_proxy to go past it)"


@contextmanager
def one_line_errors(client: "JobSubmissionClient", job: str = "") -> Iterator[None]:
    """Turn what Ray's client raises into `InputError`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        where = client.get_address()
        if job and "status code 404" in str(error):
            raise InputError(
                f"{job}: no such job at {where}; `fairfront jobs` lists them"
            ) from None
        raise InputError(f"{where}: the cluster refused: {last_line(error)}") from None


def last_line(error: Exception) -> str:
    """Return what matters of a message that may hold the server's traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
