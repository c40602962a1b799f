"""From a stranger's request to pixels: what is too large, too slow or no picture is refused.

Nothing is ever fetched: a picture comes as its bytes.
"""

import asyncio
import io
import re
import warnings
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request

from orchestrator.base.errors import InputError
from orchestrator.base.machine import cores
from orchestrator.data.reading.decode import DecodeError, Pixels, decode
from orchestrator.data.sources.manifest_columns import parse_genders

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Of those that `prepare` reads what people have; each other one is a parser more to attack."""
PICTURES = 32
"""Of one request, at most; the network sees them together."""
SCANS, MARKERS = 64, 10_000
"""Passes over the picture that a JPEG may ask for, and parts in all. A progressive one has about
ten passes; 31 bytes buy another, so that a file of a megabyte could take hours."""
TEXT_BYTES, NAME_LENGTH = 1000, 200
FIELDS = ("image", "gender")
MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""Of a JPEG, with a length behind it; neither a byte of pixels that is 255, nor a restart."""

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check` has its own limit


@dataclass(frozen=True)
class Limits:
    """What a request may ask of the server."""

    megabytes: float = 10
    """Of a request, 10⁶ bytes each."""
    megapixels: float = 25
    """Of a picture."""
    seconds: float = 30
    """For a request to arrive, and again for its answer to be found."""
    at_a_time: int = 64
    """Requests."""


class RequestError(Exception):
    """A request that is answered with a status of the 400s, and a line for whoever sent it."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers or {}


@dataclass(frozen=True)
class Pictures:
    """What was sent, in its order."""

    filename: list[str]
    data: list[bytes]
    gender: list[int | None]
    """-1 woman, 1 man, None where nothing is said."""


async def read_pictures(request: Request, limits: Limits) -> Pictures:
    """Read a form of pictures, ``image``, and perhaps as many times ``gender``.

    Raises
    ------
    RequestError
        400, 413, 415 or 422: it is no such form, or too much of one.
    ClientDisconnect
        Whoever sent it has gone.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise RequestError(415, "send multipart/form-data with a file named image, as curl -F does")
    most = int(limits.megabytes * 1e6)
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise _too_large(limits)
    stream = _limited(request, most, limits)
    parser = MultiPartParser(
        request.headers,
        stream,
        max_files=PICTURES,
        max_fields=PICTURES,
        max_part_size=TEXT_BYTES,
    )
    parser.spool_max_size = most  # nobody's picture is written to a disk
    try:
        form = await parser.parse()
    except (RequestError, ClientDisconnect):
        raise
    # What parses a form raises whatever it stumbles on (a charset of codecs' own, a header without
    # an end, …); on a stranger's bytes all of it means the same.
    except Exception as error:
        why = getattr(error, "message", "no such form")
        raise RequestError(400, f"multipart/form-data is not as it should be: {why}") from None
    try:
        return _pictures(form.multi_items())
    finally:
        await form.close()


async def _limited(request: Request, most: int, limits: Limits) -> AsyncGenerator[bytes, None]:
    came = 0
    async for chunk in request.stream():
        came += len(chunk)
        if came > most:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> RequestError:
    return RequestError(413, f"more than {limits.megabytes:g} MB; send fewer or smaller pictures")


def _pictures(items: list[tuple[str, UploadFile | str]]) -> Pictures:
    for name, value in items:
        if name not in FIELDS:
            what = "nothing is fetched; send the picture itself" if name == "url" else "not known"
            raise RequestError(422, f"{_shown(name)}: {what}; there are image (a file) and gender")
        if name == "image" and isinstance(value, str):
            raise RequestError(
                422, "image: a text; nothing is fetched, so send the picture as a file"
            )
        if name == "gender" and not isinstance(value, str):
            raise RequestError(422, "gender: a file; send -1 or 1, or a word as woman or man")
    files = [value for _, value in items if isinstance(value, UploadFile)]
    if not files:
        raise RequestError(
            422, "image is missing: send one picture or several, each as a file of it"
        )
    genders = [_gender(value) for _, value in items if isinstance(value, str)]
    if genders and len(genders) != len(files):
        raise RequestError(
            422,
            f"gender: {len(genders)} of them with {len(files)} pictures; send one for each, in "
            "their order, empty where it is not known",
        )
    return Pictures(
        [_shown(file.filename or "") for file in files],
        [file.file.read() for file in files],
        genders or [None] * len(files),
    )


def _gender(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        return int(parse_genders([text], "a form")[0])
    except InputError:
        raise RequestError(
            422, f"gender {_shown(text)}: give -1 or woman, 1 or man, or nothing"
        ) from None


def _shown(text: str) -> str:
    """Return a stranger's text as what can be printed, and not much of it."""
    return text[:NAME_LENGTH].encode("utf-8", "replace").decode()


class Decoders:
    """Decodes pictures as `prepare` does, to the byte, in threads beside the server's.

    Parameters
    ----------
    size
        Pixels a side that the network sees.
    limits
        What a picture may be.
    """

    def __init__(self, size: int, limits: Limits) -> None:
        self._decode = partial(_decode, size=size, most=int(limits.megapixels * 1e6))
        self._threads = ThreadPoolExecutor(cores(), "decode")

    async def decode(self, pictures: Pictures) -> list[Pixels]:
        """Return the pixels of pictures, each of shape (size, size, 3).

        Raises
        ------
        RequestError
            422: one or more of them cannot be read.
        """
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._decode, data) for data in pictures.data)
        )
        bad = [
            f"{name or 'image'}: {made}"
            for name, made in zip(pictures.filename, found, strict=True)
            if isinstance(made, str)
        ]
        if bad:
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise RequestError(422, f"{bad[0]}{more}")
        return [made for made in found if not isinstance(made, str)]


def _decode(data: bytes, *, size: int, most: int) -> Pixels | str:
    """Return a picture's pixels, or why there are none."""
    try:
        _check(data, most)
        return decode(data, size)
    except DecodeError as error:
        return str(error)


def _check(data: bytes, most: int) -> None:
    """Look at a picture's header, before its pixels cost anything; `DecodeError` if it is wrong."""
    if not data:
        raise DecodeError("an empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            kind, width, height = image.format, image.width, image.height
    # As in `decode`: Pillow's plug-ins raise whatever their parsing stumbles on.
    except Exception as error:
        if isinstance(error, Image.DecompressionBombError):
            raise DecodeError(f"more than {most / 1e6:g} megapixels") from None
        raise DecodeError(f"not a picture that is read here ({', '.join(FORMATS)})") from None
    if width * height > most:
        raise DecodeError(f"{width} × {height}, more than {most / 1e6:g} megapixels")
    if kind in ("JPEG", "MPO") and not _is_simple(data):
        raise DecodeError(f"a JPEG of more than {SCANS} scans, or {MARKERS:,} parts")


def _is_simple(jpeg: bytes) -> bool:
    """Tell whether a JPEG asks for few passes, up to its end; others may lie behind that."""
    at, scans = 2, 0
    for _ in range(MARKERS):
        found = MARKER.search(jpeg, at)
        if found is None or found[0] == b"\xff\xd9":
            return True
        scans += found[0] == b"\xff\xda"
        if scans > SCANS:
            return False
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
    return False
