"""What a token or a secret URL may be sent to, and what a page of ours may run."""

import base64
import hashlib
from importlib.resources import files
from ipaddress import ip_address
from urllib.request import HTTPRedirectHandler

from markupsafe import Markup


class NoRedirects(HTTPRedirectHandler):
    """Follows none: urllib would send what it sends, secrets too, to whatever host it is told."""

    def redirect_request(self, *_: object) -> None:
        """Give nothing to follow, which makes a redirect an error."""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, to which nobody listens on the way."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def asset(package: str, name: str) -> Markup:
    """Read a style or a script of ours, which goes into a page as it is.

    Parameters
    ----------
    package
        In which it lies.
    name
        Its path there.
    """
    return Markup(files(package).joinpath(name).read_text(encoding="utf-8"))


def source_of(text: str) -> Markup:
    """Return what a content security policy knows an inline style or script by, with its quotes."""
    digest = hashlib.sha256(text.encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")
