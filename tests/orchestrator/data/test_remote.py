"""Sources that lie on another machine: here a web server, whose files workers can read too."""

import http.server
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import write_parquet, write_zip

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.reading import image_bytes as reading
from orchestrator.data.reading.image_bytes import ReadingError, read_many
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import open_images
from orchestrator.data.store.arrays import BLOCK_BYTES
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import stream

SMALL = Options(image_size=10)
HEADER = "40\nBlond_Hair Eyeglasses Male\n"


@dataclass
class Web:
    """A web server and what it has sent."""

    url: str
    folder: Path
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes by path."""
    troubled: set[str] = field(default_factory=set)
    """Paths that it answers with 503."""


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files as object stores do: in whole, or a range of bytes."""

    def __init__(self, web: Web, *request: Any, **options: Any) -> None:
        self._web, self._sent = web, web.sent
        super().__init__(*request, **options)

    def do_GET(self) -> None:
        if self.path in self._web.troubled:
            self.send_error(503, "Busy")
            return
        path = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not path.is_file() or not wanted:
            self._count(path.stat().st_size if path.is_file() else 0)
            super().do_GET()
            return
        whole = path.read_bytes()
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(whole))
        self._count(stop - start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(whole)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(whole[start:stop])

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass

    def _count(self, sent: int) -> None:
        self._sent[self.path] = self._sent.get(self.path, 0) + sent


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    served = Web("", tmp_path / "web")
    served.folder.mkdir()
    handler = partial(Ranges, served, directory=str(served.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def lay_out_manifest(manifest: Path, web: Web) -> str:
    manifest.parent.rename(web.folder / "faces")
    return f"{web.url}/faces/manifest.csv"


def lay_out_celeba(manifest: Path, web: Web) -> str:
    rows = [
        f"{name} {1 if label else -1} -1 {gender}"
        for name, label, gender in open_source(str(manifest))
        .table[["filename", "label", "gender"]]
        .itertuples(index=False)
    ]
    (web.folder / "celeba").mkdir()
    manifest.parent.rename(web.folder / "celeba" / "img_align_celeba")
    (web.folder / "celeba" / "list_attr_celeba.txt").write_text(HEADER + "\n".join(rows))
    return f"{web.url}/celeba"


def lay_out_celeba_zip(manifest: Path, web: Web) -> str:
    url = lay_out_celeba(manifest, web)
    images = web.folder / "celeba" / "img_align_celeba"
    files = {f"img_align_celeba/{path.name}": path.read_bytes() for path in images.iterdir()}
    write_zip(web.folder / "celeba" / "img_align_celeba.zip", files)
    images.rename(manifest.parent)
    return url


def lay_out_shards(manifest: Path, web: Web) -> str:
    table = open_source(str(manifest)).table
    for code in range(2):
        rows = table.iloc[20 * code : 20 * code + 20]
        images = [Path(path).read_bytes() for path in rows["path"]]
        columns = {"class": rows["label"].to_numpy(), "gender": rows["gender"].to_numpy()}
        shard = web.folder / "faces" / "data" / f"train-{code:05}-of-00002.parquet"
        write_parquet(shard, images, rows["filename"].tolist(), **columns)
    return f"{web.url}/faces"


LAYOUTS = [lay_out_manifest, lay_out_celeba, lay_out_celeba_zip, lay_out_shards]


@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_a_remote_source_is_that_of_the_same_files_here(
    make_faces: Any, web: Web, lay_out: Callable[[Path, Web], str]
) -> None:
    manifest = make_faces(40)
    here = open_source(str(manifest)).table
    images = [Path(path).read_bytes() for path in here["path"]]
    table = open_source(lay_out(manifest, web)).table
    for column in ("filename", "label", "gender"):
        assert table[column].tolist() == here[column].tolist()
    assert table["path"].str.contains(web.url, regex=False).all()
    assert list(read_many(table["path"].tolist())) == images


def test_an_archive_beside_a_remote_manifest(make_faces: Any, web: Web) -> None:
    manifest = make_faces(40)
    files = {path.name: path.read_bytes() for path in sorted(manifest.parent.glob("*.jpg"))}
    del files["0007.jpg"]
    write_zip(web.folder / "a b.zip", files)
    source = open_source(str(manifest), images=f"{web.url}/a b.zip")
    found = dict(
        zip(source.table["filename"], read_many(source.table["path"].tolist()), strict=True)
    )
    assert isinstance(found.pop("0007.jpg"), FileNotFoundError)
    assert found == files


def test_only_what_is_needed_is_fetched(web: Web) -> None:
    rows = 40
    images = [bytes([row]) * 2**18 for row in range(rows)]
    columns = {"class": [row // 2 % 2 for row in range(rows)], "gender": [-1, 1] * (rows // 2)}
    write_parquet(web.folder / "faces" / "train.parquet", images, row_group=4, **columns)
    source = open_source(f"{web.url}/faces")
    size = (web.folder / "faces" / "train.parquet").stat().st_size
    assert web.sent["/faces/train.parquet"] < size / 10
    assert list(read_many(source.table["path"].tolist()[8:16])) == images[8:16]
    assert web.sent["/faces/train.parquet"] < size / 2


@pytest.mark.usefixtures("in_process")
def test_of_a_remote_data_set_the_blocks_asked_for_are_fetched(make_faces: Any, web: Web) -> None:
    """A block is a megabyte; reading ahead would fetch several for each."""
    source = open_source(str(make_faces(64)))
    here = prepare(source, web.folder / "data", Options(image_size=280))
    images = here.load("train").images
    shard, block = here.meta.shards["train"][0], here.meta.block_rows
    assert shard.bytes > 6 * BLOCK_BYTES
    store, path = Store.open(f"{web.url}/data"), f"/data/{shard.file}"
    assert path not in web.sent
    assert np.array_equal(store.read_blocks(shard.file, [1]), images[block : 2 * block])
    assert np.array_equal(store.read_blocks(shard.file, [4]), images[4 * block : 5 * block])
    assert web.sent[path] < 2.5 * BLOCK_BYTES
    web.sent.clear()
    assert stream(store, "train").filename.tolist() == here.load("train").filename.tolist()
    assert web.sent[path] < BLOCK_BYTES / 4
    web.sent.clear()
    assert np.array_equal(store.load("train").images, images)
    assert web.sent[path] < 1.1 * shard.bytes


def test_what_is_not_there_is_named(web: Web) -> None:
    for name, message in (
        ("gone.csv", r"gone\.csv: no such file"),
        ("gone", "gone: no such file or folder"),
        ("gone.parquet", r"gone\.parquet: no such file"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(f"{web.url}/{name}")
    (web.folder / "manifest.csv").write_text("filename,class,gender\na,0,1\nb,1,-1\n")
    with pytest.raises(InputError, match=r"gone\.zip: no such file"):
        open_source(f"{web.url}/manifest.csv", images=f"{web.url}/gone.zip")


def test_a_server_in_trouble_is_no_fault_of_an_image(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAUSES", (0,))
    for name in ("a.jpg", "b.jpg"):
        (web.folder / name).write_bytes(name.encode())
    web.troubled.add("/b.jpg")
    read = read_many([f"{web.url}/{name}" for name in ("a.jpg", "gone.jpg", "b.jpg")])
    assert next(read) == b"a.jpg"
    assert isinstance(next(read), FileNotFoundError)
    with pytest.raises(ReadingError, match=r"/b\.jpg: 503, message='Busy'"):
        next(read)
    write_zip(web.folder / "a.zip", {"a.jpg": b"a"})
    web.troubled.add("/a.zip")
    with pytest.raises(ReadingError, match=r"/a\.zip: 503, message='Busy'"):
        list(read_many([f"zip://a.jpg::{web.url}/a.zip"]))


def test_damage_in_a_remote_archive_is_no_trouble_of_the_server(web: Web) -> None:
    path = write_zip(web.folder / "a.zip", {"a.jpg": b"first", "b.jpg": b"x", "z.jpg": b"last"})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    content[entry + 42 : entry + 45] = b"\xff\xff\xff"  # it lies beyond the end
    path.write_bytes(content)
    paths = [f"zip://{name}::{web.url}/a.zip" for name in ("a.jpg", "b.jpg", "z.jpg")]
    first, damaged, last = read_many(paths)
    assert (first, str(damaged), last) == (b"first", "damaged in the archive", b"last")
    for name, text in (("tiny.zip", b"no"), ("text.zip", b"no archive" * 9)):
        (web.folder / name).write_bytes(text)
        with pytest.raises(InputError, match=rf"{name}: not a zip archive, or a damaged one"):
            open_images(parse_uri(f"{web.url}/{name}"))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_source_on_a_server_in_trouble(web: Web, name: str) -> None:
    web.troubled.add(f"/{name}")
    with pytest.raises(InputError, match=rf"/{name}: 503, message='Busy'"):
        open_source(f"{web.url}/{name}")
