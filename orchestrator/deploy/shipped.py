"""A trained network from the pixels of any picture to a probability, as one graph in a file."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line, writing
from orchestrator.training.model_file import TrainedModel

OPSET = 18
"""Of ONNX: the first whose Resize shrinks without aliasing."""
INPUT, OUTPUT = "images", "probability"
FORMATS = {
    "onnx": "model.onnx",
    "onnx-int8": "model.int8.onnx",
    "pt2": "model.pt2",
    "safetensors": "model.safetensors",
}
"""The file of each format."""


class Shipped(nn.Module):
    """A network with what `prepare` does to a decoded picture in front of it.

    Parameters
    ----------
    trained
        The network.
    """

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__()
        # Channels last is a layout for training on CPUs, which the graph would repeat at each step.
        self.network = trained.network.to(memory_format=torch.contiguous_format).eval()
        self.size = trained.image_size

    def forward(self, images: Tensor) -> Tensor:
        """Give the probability of class 1 of pictures.

        Parameters
        ----------
        images
            Shape (n, H, W, 3), uint8, RGB, upright, of any H and W.

        Returns
        -------
        Shape (n,), float32.
        """
        pixels = images.permute(0, 3, 1, 2).float()
        # `prepare` resizes bytes: torch does the rows first, and rounds after each of two passes.
        # A pixel in a hundred is off by 1 of 255, since its weights there are of 16 bits.
        for size in ((pixels.shape[2], self.size), (self.size, self.size)):
            resized = nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
            pixels = resized.round().clamp(0, 255)
        return torch.sigmoid(self.network(pixels / 255))


def trace(shipped: Shipped) -> ExportedProgram:
    """Record the graph, for any number of pictures of any height and width.

    Raises
    ------
    InputError
        torch cannot.
    """
    images = torch.zeros(2, shipped.size + 9, shipped.size + 5, 3, dtype=torch.uint8)
    free = {INPUT: {0: Dim("n"), 1: Dim("height"), 2: Dim("width")}}
    try:
        return torch.export.export(shipped, (images,), dynamic_shapes=free)
    except Exception as error:  # whatever a network's forward makes torch.export stumble on
        raise InputError(f"torch cannot export this network: {one_line(error)}") from error


def write_pt2(program: ExportedProgram, file: Path) -> None:
    """Write torch's own format, for `torch.export.load`."""
    with writing(file) as opened:
        torch.export.save(program, opened)


def write_onnx(program: ExportedProgram, file: Path) -> None:
    """Write ONNX, for onnxruntime and others."""
    graph = to_onnx(program, OUTPUT)
    with writing(file) as opened:
        opened.write(graph)


def to_onnx(program: ExportedProgram, output: str) -> bytes:
    """Turn a graph whose input is `INPUT` into ONNX, whose output has a name.

    Raises
    ------
    InputError
        torch made none.
    """
    made = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[output],
        verbose=False,
    )
    if made is None:
        raise InputError("torch made no ONNX program of this network")
    graph: bytes = made.model_proto.SerializeToString()
    return graph


WRITERS: dict[str, Callable[[ExportedProgram, Path], None]] = {
    "onnx": write_onnx,
    "pt2": write_pt2,
}
"""Who writes a graph, by format."""
