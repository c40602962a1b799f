"""The server's pages, which fetch nothing from elsewhere, and the policy that sees to it."""

from typing import Any

from jinja2 import Environment, StrictUndefined

from orchestrator.base.web import asset, source_of

STYLE, SCRIPT = (asset("orchestrator.deploy.serve", name) for name in ("page.css", "page.js"))
POLICY = {
    "default-src": "'none'",
    "script-src": source_of(SCRIPT),
    "style-src": source_of(STYLE),
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
    made = environment.from_string(asset("orchestrator.deploy.serve", template))
    return made.render(style=STYLE, script=SCRIPT, **values)
