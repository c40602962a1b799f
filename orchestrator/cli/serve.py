"""`fairfront serve`: a trained network behind HTTP, until Ctrl-C."""

import argparse
import importlib.util
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, reason_of
from orchestrator.base.interrupts import sigterm_interrupts
from orchestrator.base.web import is_loopback
from orchestrator.cli.predict import thresholds_of, trial_of
from orchestrator.cli.runs import DONE, in_ray
from orchestrator.run.directory import Run

if TYPE_CHECKING:
    from orchestrator.cli.display import Terminal
    from orchestrator.deploy.serve.answers import Served
    from orchestrator.deploy.serve.engine import Engine

VARIABLE = "FAIRFRONT_SERVE_TOKEN"
PACKAGES = ("fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn")
BARE_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MISSING = "serve: packages are missing; pip install 'fairfront[serve]'"


def serve(arguments: argparse.Namespace) -> int:
    """Answer requests with what a trained network says of their pictures."""
    run = Run.open(arguments.target)
    trial_id = trial_of(run, arguments)
    wanted = (*PACKAGES, *(BARE_PACKAGES if arguments.bare else ()))
    if not all(importlib.util.find_spec(package) for package in wanted):
        raise InputError(MISSING)
    if arguments.bare and arguments.replicas is not None:
        raise InputError("--replicas: are Ray's; --bare has a thread for each core")
    from orchestrator.deploy.serve.app import Server
    from orchestrator.deploy.serve.server import bind, run_app, url_of
    from orchestrator.deploy.serve.uploads import Limits

    token = _token(arguments.token_file)
    limits = Limits(arguments.max_mb, arguments.max_megapixels, arguments.timeout)
    model = run.trial(trial_id).path / "model.safetensors"
    served, at = _served(arguments, run, trial_id, model)
    with bind(arguments.host, arguments.port) as bound, sigterm_interrupts():
        _warn(arguments.host, token)
        _allow_connections()
        try:
            with _engine(arguments, model) as (engine, screen):
                _check(engine, served)
                app = Server(served, engine, limits, token).app
                told = f"trial {trial_id} of {served.run}{at}: {url_of(bound)} (Ctrl-C ends it)"
                run_app(app, bound, lambda: screen.say(told), screen.say)
        except KeyboardInterrupt:
            pass
    return DONE


def _served(
    arguments: argparse.Namespace, run: Run, trial_id: str, model: Anywhere
) -> "tuple[Served, str]":
    """Return what is served, and how to speak of its thresholds."""
    from orchestrator.deploy.serve.answers import Served
    from orchestrator.training.model_file import load_model

    asked = arguments.threshold
    own, at = thresholds_of(run, trial_id, asked)
    by_gender = asked == "by-gender"
    shared = thresholds_of(run, trial_id, "shared")[0] if by_gender else own
    served = Served(
        run=arguments.target,
        trial_id=trial_id,
        image_size=load_model(model).image_size,
        threshold=shared.women,
        by_gender=own if by_gender else None,
    )
    return served, at + f", and {shared.women:.4g} where none is said" * by_gender


@contextmanager
def _engine(arguments: argparse.Namespace, model: Anywhere) -> "Iterator[tuple[Engine, Terminal]]":
    """Have what runs the network, and a terminal to speak on."""
    if arguments.bare:
        from orchestrator.cli.display import Terminal
        from orchestrator.deploy.serve.onnx_engine import OnnxEngine

        yield OnnxEngine(model), Terminal(sys.stdout)
        return
    with in_ray() as screen:
        try:
            from orchestrator.distributed.serve import replicas_of
        except ImportError:
            raise InputError(MISSING) from None
        with replicas_of(model, arguments.replicas or 1) as engine:
            yield engine, screen


def _check(engine: "Engine", served: "Served") -> None:
    """Have the network see a picture before anybody asks."""
    import asyncio

    import numpy as np

    side = served.image_size
    [logit] = asyncio.run(engine.logits(np.zeros((1, side, side, 3), np.uint8)))
    if not np.isfinite(logit):
        raise InputError(f"trial {served.trial_id}: its network gives no number; choose another")


def _token(file: str | None) -> str | None:
    """Return what requests have to bring, of a file or `VARIABLE`; None: nothing."""
    if file is None:
        return os.environ.get(VARIABLE)
    try:
        token = Path(file).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = reason_of(error) if isinstance(error, OSError) else "is no ASCII text"
        raise InputError(f"--token-file {file}: {why}") from None
    if not token or len(token.split()) > 1:
        raise InputError(f"--token-file {file}: holds no token; write one word into it")
    return token


def _warn(host: str, token: str | None) -> None:
    """Say what listening beyond this machine means."""
    if is_loopback(host):
        return
    who = "anybody who reaches it can ask" if token is None else "the token is sent unencrypted"
    mend = f"set {VARIABLE} or --token-file, and " if token is None else ""
    print(
        f"fairfront: --host {host} is not this machine alone: {who}; {mend}put a proxy with TLS "
        "in front",
        file=sys.stderr,
    )


def _allow_connections() -> None:
    """Have as many files open as we may: each connection is one, and 1,024 is soon too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS does not keep what it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
