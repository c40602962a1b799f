"""The server's pages, which fetch nothing from elsewhere, and the policy that sees to it."""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def _asset(name: str) -> Markup:
    """Read a style or a script of ours, which goes into a page as it is."""
    return Markup((resources.files(__package__) / name).read_text(encoding="utf-8"))


def _hash(source: str) -> str:
    """Return what a content security policy knows an inline style or script by."""
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


STYLE, SCRIPT = _asset("page.css"), _asset("page.js")
POLICY = {
    "default-src": "'none'",
    "script-src": _hash(SCRIPT),
    "style-src": _hash(STYLE),
    "img-src": "blob:",  # the picture that was dropped
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Of every answer."""


def render(template: str, **values: Any) -> str:
    """Return a page; what it shows is escaped.

    Parameters
    ----------
    template
        Its file, beside this one.
    values
        What it shows.
    """
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    made = environment.from_string(_asset(template))
    return made.render(style=STYLE, script=SCRIPT, **values)
