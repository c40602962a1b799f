"""Which decoder and resize is fastest, and how far its pixels are from Pillow's full decode.

    python benchmarks/decoders.py [FOLDER] [--images 500] [--rounds 5]

FOLDER holds JPEG files; without it, synthetic faces of 178x218 are drawn. One core; the ways take
turns, and the medians of the rounds are printed. The reference for the pixels is Pillow's full
decode, resized by Pillow's bilinear filter. A second table has photographs, put together from the
same images, that are large enough for libjpeg to shrink them as it decodes.
"""

import argparse
import io
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import resize

from orchestrator.data.reading.decode import decode
from orchestrator.data.sources.synthetic.population import write_faces

SIZE = 80
PHOTOGRAPHS = ((640, 640), (1024, 1024), (2000, 1500), (4000, 3000))
Way = Callable[[bytes], np.ndarray]


def pillow_resize(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def pillow(data: bytes) -> np.ndarray:
    return pillow_resize(Image.open(io.BytesIO(data)))


def pillow_draft(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (SIZE, SIZE))
    return pillow_resize(image)


def torch_resize(image: torch.Tensor) -> np.ndarray:
    return resize(image, [SIZE, SIZE], antialias=True).permute(1, 2, 0).numpy()


def torchvision(data: bytes) -> np.ndarray:
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return torch_resize(decode_jpeg(buffer, ImageReadMode.RGB))


def simplejpeg_pillow(data: bytes) -> np.ndarray:
    return pillow_resize(Image.fromarray(simplejpeg.decode_jpeg(data)))


def simplejpeg_small(data: bytes) -> np.ndarray:
    pixels = simplejpeg.decode_jpeg(data, min_height=SIZE, min_width=SIZE, min_factor=1)
    return torch_resize(torch.from_numpy(pixels).permute(2, 0, 1))


def simplejpeg_torch(data: bytes) -> np.ndarray:
    return torch_resize(torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1))


def ours(data: bytes) -> np.ndarray:
    return decode(data, SIZE)


WAYS: dict[str, Way] = {
    "ours: simplejpeg, torch resize, checks": ours,
    "simplejpeg at the smallest scale, torch resize": simplejpeg_small,
    "simplejpeg, Pillow resize": simplejpeg_pillow,
    "torchvision, torch resize": torchvision,
    "Pillow at the smallest scale (`draft`), Pillow resize": pillow_draft,
    "Pillow, Pillow resize": pillow,
}


def images_per_second(way: Way, images: list[bytes]) -> float:
    begun = time.perf_counter()
    for data in images:
        way(data)
    return len(images) / (time.perf_counter() - begun)


def read_images(folder: Path, count: int) -> list[bytes]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise SystemExit(f"{folder}: no JPEG files in this folder")
    return [path.read_bytes() for path in files[:count]]


def difference(way: Way, images: list[bytes], reference: Way) -> np.ndarray:
    return np.abs(np.stack([way(data) - reference(data).astype(int) for data in images]))


def median_rates(ways: list[Way], images: list[bytes], rounds: int) -> np.ndarray:
    rates = [[images_per_second(way, images) for way in ways] for _ in range(rounds)]
    return np.median(rates, axis=0)


def print_ways(images: list[bytes], rounds: int) -> None:
    rates = median_rates(list(WAYS.values()), images, rounds)
    width, height = Image.open(io.BytesIO(images[0])).size
    print(f"{len(images)} JPEG files of {width}x{height} to {SIZE}x{SIZE}, one core\n")
    print("| way | images/s | of ours | off by, mean | at most |")
    print("|---|---|---|---|---|")
    for (name, way), rate in zip(WAYS.items(), rates, strict=True):
        off = difference(way, images, pillow)
        print(f"| {name} | {rate:,.0f} | {rate / rates[0]:.2f} | {off.mean():.2f} | {off.max()} |")


def photograph(images: list[bytes], width: int, height: int) -> bytes:
    """Fill a picture with others; JPEG, as cameras write it (quality 92, 4:2:0)."""
    canvas, x, y, row = Image.new("RGB", (width, height)), 0, 0, 0
    for data in itertools.cycle(images):
        tile = Image.open(io.BytesIO(data))
        canvas.paste(tile, (x, y))
        x, row = x + tile.width, max(row, tile.height)
        if x >= width:
            x, y, row = 0, y + row, 0
        if y >= height:
            break
    encoded = io.BytesIO()
    canvas.save(encoded, "JPEG", quality=92, subsampling=2)
    return encoded.getvalue()


def print_photographs(images: list[bytes], rounds: int) -> None:
    print("\n| photograph | whole, ms | ours, ms | off by, mean | at most |")
    print("|---|---|---|---|---|")
    for width, height in PHOTOGRAPHS:
        photographs = [
            photograph(images[start:] + images[:start], width, height)
            for start in range(0, len(images), max(1, len(images) // 8))
        ]
        whole, shrunk = 1e3 / median_rates([simplejpeg_torch, ours], photographs, rounds)
        off = difference(ours, photographs, simplejpeg_torch)
        print(f"| {width}x{height} | {whole:.1f} | {shrunk:.1f} | {off.mean():.2f} | {off.max()} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as drawn:
        folder = arguments.folder
        if folder is None:
            folder = write_faces(Path(drawn) / "faces", arguments.images).parent / "images"
        images = read_images(folder, arguments.images)
    print_ways(images, arguments.rounds)
    print_photographs(images, arguments.rounds)


if __name__ == "__main__":
    main()
