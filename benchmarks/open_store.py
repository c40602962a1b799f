"""What opening a data set of many shards costs, here and on S3: seconds and requests.

    python benchmarks/open_store.py [--shards 5000] [--milliseconds 20]

Shards of a few rows, since no pixel is read. "By footers" is how a data set was opened at first:
the size of each shard was asked for and its footer read. S3 is moto's on loopback, in a process of
its own; before each request we wait for the milliseconds that one takes where the server is far.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.base.s3 import S3
from orchestrator.cli import main as fairfront
from orchestrator.data.store.store import Store

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from s3_server import KEY, SECRET, S3Server


def make(folder: Path, shards: int) -> Path:
    """Make a data set whose shards are copies of those of a small one, a third in each split."""
    data = folder / "data"
    fairfront(["prepare", "synthetic:64", "--image-size", "2", "--out", str(data), "--quiet"])
    meta = json.loads((data / "meta.json").read_text())
    for split, (shard, *_) in meta["shards"].items():
        whole = (data / shard["file"]).read_bytes()
        names = [f"{split}/part-{number:05}.parquet" for number in range(shards // 3)]
        for name in names:
            (data / name).write_bytes(whole)
        meta["shards"][split] = [shard | {"file": name} for name in names]
        for counts in meta["counts"][split].values():
            counts |= {label: rows * len(names) for label, rows in counts.items()}
    (data / "meta.json").write_text(json.dumps(meta))
    return data


def open_by_footers(where: str | Path) -> Store:
    """Open a data set as it was opened at first."""
    store = Store.open(where)  # which takes the little that is measured beside it

    def check(file: str) -> int:
        (store.path / file).stat()
        with store._opened(store.path / file) as parquet:
            return parquet.metadata.num_rows

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(check, [s.file for shards in store.meta.shards.values() for s in shards]))
    return store


@contextlib.contextmanager
def counted(milliseconds: float) -> Iterator[Counter[str]]:
    """Count the requests to S3 by what they ask for, and have each wait so long."""
    asked: Counter[str] = Counter()
    ours = S3._call_s3

    async def call(self: S3, method: str, *lists: Any, **named: Any) -> Any:
        asked[method] += 1
        await asyncio.sleep(milliseconds / 1000)
        return await ours(self, method, *lists, **named)

    S3._call_s3 = call  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        S3._call_s3 = ours  # type: ignore[method-assign]


def upload(data: Path, there: Anywhere) -> None:
    there.fs.call_s3("create_bucket", Bucket="faces")
    there.fs.put(str(data), there.path, recursive=True, batch_size=8)


def seconds(open_: Callable[[str | Path], Store], where: str | Path) -> float:
    begun = time.perf_counter()
    open_(where)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=5000)
    parser.add_argument("--milliseconds", type=float, default=20)
    arguments = parser.parse_args()
    ways = {"by footers": open_by_footers, "now": Store.open}
    server = S3Server.begin()
    os.environ |= {
        "AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            data, there = make(Path(folder), arguments.shards), "s3://faces/data"
            upload(data, parse_uri(there))
            print("| opened | here, s | on S3, s | requests | of them |")
            print("|---|---|---|---|---|")
            for name, way in ways.items():
                here = min(seconds(way, data) for _ in range(3))
                with counted(arguments.milliseconds) as asked:
                    remote = seconds(way, there)
                of_them = ", ".join(f"{count} {what}" for what, count in asked.most_common())
                print(f"| {name} | {here:.2f} | {remote:.1f} | {asked.total():,} | {of_them} |")
    finally:
        server.end()


if __name__ == "__main__":
    main()
