"""What a token or a secret URL may be sent to."""

from ipaddress import ip_address
from urllib.request import HTTPRedirectHandler


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
