"""What Ray asks of this machine, looked at before it starts: by the commands, and by `doctor`.

Ray itself would end in a traceback, or try for minutes.
"""

import os
import secrets
import socket
import tempfile
from pathlib import Path

import grpc

from cluster.client import find_token, token_complaint
from orchestrator.base.errors import InputError
from orchestrator.base.files import reason_of

PROBE_SECONDS = 5.0
"""How long a cluster may take to answer."""
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path."""
SOCKET = "/session_2026-11-26_20-40-47_123456_4194304/sockets/plasma_store"
"""Ray's longest one, in its folder."""
ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
UNSET = "unset RAY_ADDRESS to run on this machine"


def usual_parent() -> Path:
    """Return where Ray would have its folder ``ray``."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def temporary_parent() -> Path:
    """Return where Ray can have its folder ``ray``: where it would, or else a place of our own.

    Raises
    ------
    InputError
        There is none.
    """
    usual = usual_parent()
    if why_unusable(usual / "ray") is None:
        return usual
    for folder in (usual, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")):
        own = folder / f"fairfront-{os.geteuid()}"
        if why_unusable(own / "ray") is None and _is_ours(own):
            return own
    raise InputError(
        f"{usual}: no folder for Ray there ({why_unusable(usual / 'ray')}), nor in /tmp, /var/tmp "
        "or /dev/shm; set TMPDIR to a folder with a short path that can be written to"
    )


def why_unusable(folder: Path) -> str | None:
    """Say why Ray cannot work in a folder, which need not exist yet; None: it can."""
    if len(os.fsencode(folder) + SOCKET.encode()) > LONGEST_SOCKET:
        return "its path is too long for sockets"
    # What may not be looked at counts as not there: its parent says why.
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        return reason_of(error)


def _is_ours(folder: Path) -> bool:
    """Make a folder that nobody else can enter, or look whether it is one."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError:
        return False
    about = folder.lstat()
    return about.st_uid == os.geteuid() and about.st_mode & 0o777 == 0o700


def give_token() -> None:
    """Have a session of our own ask for a token that is nowhere but in this process.

    Ray would write one into the home, where it may not be able to, and where every head that is
    started later finds it and asks for it.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and find_token() is None:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def check_address(address: str) -> None:
    """Look whether the cluster that RAY_ADDRESS names can be joined.

    Where it asks for the token that there is here, Ray is told to send it.

    Raises
    ------
    InputError
        It cannot.
    """
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"RAY_ADDRESS {address} is a dashboard's: use it as `fairfront submit --address URL -- "
            f"COMMAND`, or {UNSET}"
        )
    if address == "local":
        return
    named = address
    if address == "auto":
        address = _latest_head()
        named = f"auto ({address})"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"RAY_ADDRESS {address}: not HOST:PORT; correct it, or {UNSET}")
    try:
        socket.create_connection((host, int(port)), PROBE_SECONDS).close()
    except OSError as error:
        raise _no_answer(named, reason_of(error)) from None
    if not address.startswith("ray://"):
        _check_head(address, named)


def _latest_head() -> str:
    """Return the head that Ray finds for ``auto``, which may be one that was killed."""
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError:
        raise _no_answer("auto", "no head runs on this machine") from None


def _check_head(address: str, named: str) -> None:
    """Ask a cluster's head whether it lives, first without the token, as Ray itself would."""
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    token = find_token()
    if mode == "token" and token is None:
        raise InputError(
            "RAY_AUTH_MODE=token: there is no token here to send; set RAY_AUTH_TOKEN to what `ray "
            "get-auth-token` prints on the head, or unset RAY_AUTH_MODE"
        )
    code = _ask(address, token[0] if token and mode == "token" else None)
    if code == grpc.StatusCode.UNAUTHENTICATED and token and not mode:
        code = _ask(address, token[0])
        if code is None:
            _send_token()
    if code == grpc.StatusCode.UNAUTHENTICATED:
        raise InputError(f"RAY_ADDRESS {named}: {token_complaint()}; or {UNSET}")
    if code is not None:
        raise _no_answer(named, f"what answers there is no head: {code.name}")


def _send_token() -> None:
    """Have Ray send the token, which it does on being asked to; it may be imported already."""
    from ray import _raylet

    os.environ["RAY_AUTH_MODE"] = "token"
    _raylet.Config.initialize("")  # type: ignore[attr-defined]


def _ask(address: str, token: str | None) -> grpc.StatusCode | None:
    """Return what is wrong with a head's answer; None: nothing."""
    sent = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=PROBE_SECONDS, metadata=sent)
        except grpc.RpcError as error:
            found: grpc.StatusCode = error.code()
            return found
    return None


def _no_answer(address: str, reason: str) -> InputError:
    return InputError(f"RAY_ADDRESS {address}: no Ray cluster answers ({reason}); {UNSET}")
