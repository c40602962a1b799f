"""The server's app: what it answers, and what it refuses without falling over."""

import asyncio
import io
import os
import random
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from serving import SIDE, Brightness, client, picture, server
from starlette.testclient import TestClient

from orchestrator.data.reading.decode import decode
from orchestrator.deploy.serve import uploads
from orchestrator.deploy.serve.answers import Served
from orchestrator.deploy.serve.app import Server
from orchestrator.deploy.serve.engine import BATCH, Batches
from orchestrator.deploy.serve.uploads import Limits
from orchestrator.judging.thresholds import Thresholds

FUZZED = int(os.environ.get("FAIRFRONT_FUZZED", "400"))
"""Uploads that are no good."""


def sent(*data: bytes, name: str = "a.png") -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (name, one)) for one in data]


def test_pixels_are_those_of_prepare_to_the_byte() -> None:
    """Whatever the size, the form and the way up."""
    seen = []

    class Seeing(Brightness):
        async def logits(self, images: np.ndarray) -> np.ndarray:
            seen.append(images)
            return await super().logits(images)

    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = []
    for form in ("JPEG", "PNG", "WEBP", "BMP"):
        made = io.BytesIO()
        pixels = rng.integers(0, 256, (50, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made, form, **({} if form == "BMP" else {"exif": exif}))
        data.append(made.getvalue())
    assert client(Seeing()).post("/predict", files=sent(*data)).status_code == 200
    np.testing.assert_array_equal(np.concatenate(seen), [decode(one, SIDE) for one in data])


def test_thresholds_by_gender_are_for_pictures_that_come_with_one() -> None:
    asked = client(threshold=0.3, by_gender=Thresholds(0.4, 0.6))
    grey = picture(127)  # its probability is about a half
    told = asked.post(
        "/predict",
        files=sent(grey, grey, grey, grey),
        data={"gender": ["woman", "1", "", "FEMALE"]},
    ).json()["predictions"]
    assert [one["threshold"] for one in told] == [0.4, 0.6, 0.3, 0.4]
    assert [one["label"] for one in told] == [1, -1, 1, 1]
    for plain in (
        asked.post("/predict", files=sent(grey)),
        client(threshold=0.3).post("/predict", files=sent(grey), data={"gender": "man"}),
    ):
        assert [one["threshold"] for one in plain.json()["predictions"]] == [0.3]


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG that has its last pass again and again."""
    data = picture(90, "JPEG", (64, 64), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def huge_png(side: int) -> bytes:
    """The head of a PNG of so many pixels, with next to nothing behind it."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", b"x"))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


GIF = picture(9, "GIF")


@pytest.mark.parametrize(
    ("files", "data", "status", "says"),
    [
        (sent(b"no picture"), {}, 422, "a.png: not a picture that is read here (JPEG, PNG, WEBP"),
        (sent(b""), {}, 422, "a.png: an empty file"),
        (sent(GIF), {}, 422, "not a picture that is read here"),
        (sent(picture(9)[:-30]), {}, 422, "a.png: "),
        (sent(huge_png(30_000)), {}, 422, "a.png: more than 25 megapixels"),
        (sent(huge_png(5_001)), {}, 422, "5001 × 5001, more than 25 megapixels"),
        (sent(picture(9, "BMP", (6000, 5000))[:100]), {}, 422, "6000 × 5000, more than 25"),
        (sent(scan_bomb(100)), {}, 422, "a JPEG of more than 64 scans"),
        (sent(picture(9), b"", GIF), {}, 422, "a.png: an empty file (and 1 more)"),
        (sent(*[b"x"] * 33), {}, 400, "Too many files"),
        (None, {"image": "http://169.254.169.254/latest"}, 422, "nothing is fetched"),
        (sent(picture(9)), {"url": "http://169.254.169.254/"}, 422, "url: nothing is fetched"),
        (sent(picture(9)), {"colour": "red"}, 422, "colour: not known; there are image"),
        (sent(picture(9)), {"gender": "x"}, 422, "gender x: give -1 or woman, 1 or man"),
        (sent(picture(9)), {"gender": "0"}, 422, "gender 0: give -1 or woman, 1 or man"),
        (sent(picture(9)), {"gender": ["1", "1"]}, 422, "gender: 2 of them with 1 pictures"),
        ([("gender", ("a", b"1"))], {}, 422, "gender: a file"),
        ([("gender", (None, "1"))], {}, 422, "image is missing"),
    ],
)
def test_what_cannot_be_read_is_one_line_of_the_400s(
    files: Any, data: dict[str, Any], status: int, says: str
) -> None:
    multipart = files or [(name, (None, value)) for name, value in data.items()]
    answer = client().post("/predict", files=multipart, data=data if files else None)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_jpeg_of_few_passes_is_taken_whatever_lies_behind_it() -> None:
    """As a film does behind a phone's photograph, whose bytes are any."""
    behind = b"\xff\xda" * 200
    answer = client().post("/predict", files=sent(scan_bomb(20) + behind, picture(9, "JPEG")))
    assert answer.status_code == 200


def test_a_jpeg_of_too_many_parts_is_refused() -> None:
    data = picture(9, "JPEG")
    parts = data[:2] + b"\xff\xfe\x00\x02" * (uploads.MARKERS + 1) + data[2:]
    assert "or 10,000 parts" in client().post("/predict", files=sent(parts)).json()["error"]


def test_what_is_no_form_is_refused() -> None:
    asked = client()
    assert asked.post("/predict", content=picture(9)).status_code == 415
    assert asked.post("/predict", json={"image": "http://a/b.jpg"}).status_code == 415
    broken = asked.post("/predict", content=b"x", headers={"content-type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["error"][-30:]) == (
        400,
        "Missing boundary in multipart.",
    )
    assert asked.get("/predict").json() == {"error": "Method Not Allowed; see /docs"}
    assert asked.get("/nothing").json() == {"error": "Not Found; see /docs"}


def test_more_bytes_than_allowed_are_refused_with_or_without_their_number() -> None:
    asked = client(limits=Limits(megabytes=0.1))
    for content in (b"x" * 100_001, (b"x" * 1000 for _ in range(101))):
        head = {"content-type": "multipart/form-data; boundary=b"}
        refused = asked.post("/predict", content=content, headers=head)
        assert (refused.status_code, refused.json()["error"][:16]) == (413, "more than 0.1 MB")
    assert asked.post("/predict", files=sent(picture(9))).status_code == 200


def test_a_token_is_asked_for() -> None:
    asked = client(token="s3cret")
    for said in (None, "Bearer", "Bearer wrong", "Basic s3cret", "Bearer sé".encode("latin-1")):
        head = {} if said is None else {"authorization": said}
        for answer in (
            asked.post("/predict", files=sent(picture(9)), headers=head),
            asked.get("/metrics", headers=head),
        ):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    known = {"authorization": "bearer s3cret"}
    assert asked.post("/predict", files=sent(picture(9)), headers=known).status_code == 200
    assert asked.get("/metrics", headers=known).status_code == 200
    assert asked.get("/health").status_code == asked.get("/").status_code == 200
    paths = asked.get("/openapi.json").json()["paths"]
    assert paths["/predict"]["post"]["security"] == [{"HTTPBearer": []}]


class Held(Brightness):
    """A network that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.reached = asyncio.Event(), asyncio.Event()

    async def logits(self, images: np.ndarray) -> np.ndarray:
        made = await super().logits(images)
        self.reached.set()
        await self.go.wait()
        return made


def asking(made: Server) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(made.app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://server")


def test_what_waits_is_one_batch_and_each_has_its_own_answer() -> None:
    def images(*greys: int) -> np.ndarray:
        return np.stack([np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in greys])

    async def go() -> None:
        engine, told = Held(), [(250, 10), (240,), (20, 230, 0)]
        batches = Batches(engine)
        first = asyncio.create_task(batches.logits(images(0)))
        await engine.reached.wait()
        waiting = [asyncio.create_task(batches.logits(images(*greys))) for greys in told]
        full = asyncio.create_task(batches.logits(images(*[7] * (BATCH - 3))))
        await asyncio.sleep(0)  # each has begun, and waits
        waiting[1].cancel()  # whoever asked has given up
        engine.go.set()
        await asyncio.gather(first, full)
        for greys, task in ((told[0], waiting[0]), (told[2], waiting[2])):
            np.testing.assert_allclose(await task, np.array(greys) / 255 * 8 - 4, rtol=1e-5)
        assert engine.batches == [1, 5, BATCH - 3]

    asyncio.run(go())


def test_beyond_so_many_at_a_time_one_is_asked_to_come_again() -> None:
    async def go() -> None:
        engine = Held()
        async with asking(server(engine, Limits(at_a_time=1))) as http:
            first = asyncio.create_task(http.post("/predict", files=sent(picture(0))))
            await engine.reached.wait()
            refused = await http.post("/predict", files=sent(picture(0)))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert "fairfront_in_flight 1.0" in (await http.get("/metrics")).text
            engine.go.set()
            assert (await first).status_code == 200
            assert (await http.post("/predict", files=sent(picture(0)))).status_code == 200

    asyncio.run(go())


def test_what_takes_too_long_is_given_up_and_leaves_its_place() -> None:
    async def go() -> None:
        engine = Held()
        async with asking(server(engine, Limits(seconds=0.05, at_a_time=1))) as http:
            slow = await http.post("/predict", files=sent(picture(0)))
            assert (slow.status_code, slow.headers["retry-after"]) == (429, "1")

            async def trickle() -> AsyncIterator[bytes]:
                yield b"--b"
                await asyncio.Event().wait()

            head = {"content-type": "multipart/form-data; boundary=b"}
            late = await http.post("/predict", content=trickle(), headers=head)
            assert (late.status_code, late.headers["connection"]) == (408, "close")
            assert "fairfront_in_flight 0.0" in (await http.get("/metrics")).text

    asyncio.run(go())


def test_a_network_that_fails_is_said_and_asked_again() -> None:
    class Failing(Brightness):
        failed = False

        async def logits(self, images: np.ndarray) -> np.ndarray:
            if not self.failed:
                self.failed = True
                raise RuntimeError("its device\nhas gone")
            return await super().logits(images)

    asked = client(Failing())
    failed = asked.post("/predict", files=sent(picture(0)))
    assert failed.status_code == 503
    assert failed.json() == {"error": "the network does not answer: its device has gone"}
    assert asked.post("/predict", files=sent(picture(0))).status_code == 200


def test_metrics_count_requests_and_labels() -> None:
    asked = client()
    asked.post("/predict", files=sent(picture(0), picture(255)), data={"gender": ["1", "-1"]})
    asked.post("/predict", files=sent(picture(0)))
    asked.post("/predict", files=sent(b"x"))
    asked.get("/some/page/or/other")
    told = asked.get("/metrics").text.splitlines()
    for line in (
        'fairfront_model_info{run="runs/1",trial="t004"} 1.0',
        'fairfront_pictures_total{gender="man",label="-1"} 1.0',
        'fairfront_pictures_total{gender="woman",label="1"} 1.0',
        'fairfront_pictures_total{gender="unknown",label="-1"} 1.0',
        'fairfront_requests_total{path="/predict",status="200"} 2.0',
        'fairfront_requests_total{path="/predict",status="422"} 1.0',
        'fairfront_requests_total{path="other",status="404"} 1.0',
        "fairfront_predict_seconds_count 2.0",
    ):
        assert line in told


def test_pages_fetch_nothing_and_escape_what_they_show() -> None:
    served = Served("<b>runs</b>", "t{{ 7 * 7 }}", SIDE, 0.5)
    asked = TestClient(Server(served, Brightness(), Limits()).app)
    for path in ("/", "/docs"):
        answer = asked.get(path)
        assert answer.status_code == 200
        assert "&lt;b&gt;runs&lt;/b&gt;" in answer.text
        assert "<b>" not in answer.text
        assert "t{{ 7 * 7 }}" in answer.text
        assert "://" not in answer.text.replace("http://testserver/predict", "")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "each with filename, probability, class, label, threshold" in asked.get("/docs").text
    described = asked.get("/openapi.json").json()
    form = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert list(form["multipart/form-data"]["schema"]["properties"]) == ["image", "gender"]
    fields = described["components"]["schemas"]["Prediction"]["properties"]
    assert list(fields) == ["filename", "probability", "class", "label", "threshold"]


def test_a_name_comes_back_as_text() -> None:
    name = "<img src=x onerror=alert(1)>\u2028.png"
    told = client().post("/predict", files=sent(picture(0), name=name)).json()
    assert told["predictions"][0]["filename"] == name
    # A charset of codecs' own, one of which makes half of a surrogate pair.
    for charset, name in (("unicode_escape", rb"\ud800.png"), ("idna", b"\xff"), ("zip", b"\xff")):
        head = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
        form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + name
        body = form + b'"\r\n\r\n' + picture(0) + b"\r\n--b--\r\n"
        assert client().post("/predict", content=body, headers=head).status_code in (200, 400)


def spoilt(data: bytes, lot: random.Random) -> bytes:
    """Bytes that were changed, cut, doubled or moved here and there."""
    made = bytearray(data)
    for _ in range(lot.choice((1, 1, 2, 5, 40))):
        at, size = lot.randrange(len(made) + 1), lot.choice((1, 1, 4, 100))
        how = lot.randrange(4)
        if how == 0:
            made[at : at + size] = lot.randbytes(size)
        elif how == 1:
            del made[at : at + size]
        elif how == 2:
            made[at:at] = made[lot.randrange(len(made) + 1) :][:size]
        else:
            made[at:at] = lot.choice(
                (b"\xff\xda", b"\r\n--b", b'"', b"\0" * 8, b"\xff\xff\xff\xff")
            )
    return bytes(made)


def fuzzed(number: int, good: list[bytes], lot: random.Random) -> tuple[str, bytes]:
    """A content type and a form, of which the picture, the form, or either's names are spoilt."""
    data, name = lot.choice(good), b'name="image"; filename="a.png"'
    kind = b"multipart/form-data; boundary=b"
    if number % 2:
        data = spoilt(data, lot)
    if number % 3 == 0:
        name = spoilt(name, lot)
    body = b"--b\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + data
    body += b'\r\n--b\r\nContent-Disposition: form-data; name="gender"\r\n\r\n1\r\n--b--\r\n'
    if number % 4 == 0:
        body = spoilt(body, lot)
    if number % 16 == 0:
        kind = bytes(letter for letter in spoilt(kind, lot) if 32 <= letter < 127)
    return kind.decode(), body


def test_fuzzed_uploads_are_answered() -> None:
    """None is a fault of the server's: FAIRFRONT_FUZZED says how many."""
    forms = ("JPEG", "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
    good = [
        picture(90, form, (40, 30), **({"progressive": True} if number == 1 else {}))
        for number, form in enumerate(forms)
    ]
    lot, answers = random.Random(0), set()
    with client() as asked:
        for number in range(FUZZED):
            kind, body = fuzzed(number, good, lot)
            answer = asked.post("/predict", content=body, headers={"content-type": kind})
            assert answer.status_code < 500, (number, answer.text)
            assert answer.status_code == 200 or list(answer.json()) == ["error"]
            answers.add(answer.status_code)
        assert answers >= {200, 400, 422}
        assert asked.post("/predict", files=sent(picture(0))).status_code == 200
