"""The network in onnxruntime, which sees a few pictures sooner than torch does."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line
from orchestrator.base.machine import cores
from orchestrator.deploy.serve.engine import Images, Logits
from orchestrator.deploy.shipped import INPUT, to_onnx
from orchestrator.training.inference import to_input
from orchestrator.training.model_file import load_model

OUTPUT = "logit"
TOLERANCE = 1e-3
"""Between the logits that onnxruntime and torch give, beside 1e-3 of the larger."""


class OnnxEngine:
    """A trial's network on this machine's CPUs, in float32.

    Each batch is computed by one thread, and as many batches at a time as there are cores: threads
    that share one batch of small pictures wait for each other more than they compute.

    Parameters
    ----------
    model
        A trial's ``model.safetensors``.

    Raises
    ------
    InputError
        No network there, or one that cannot be had in ONNX, or gives other logits there.
    """

    def __init__(self, model: Anywhere) -> None:
        trained = load_model(model)
        self.places = cores()
        self._threads = ThreadPoolExecutor(self.places, "network")
        try:
            self._session = _session(_to_onnx(trained.network, trained.image_size))
        except Exception as error:  # whatever a network's forward makes torch or ONNX stumble on
            why = one_line(error)
            raise InputError(
                f"{model}: cannot be had in ONNX ({why}); serve it without --bare"
            ) from error
        self._check(model, trained.network, trained.image_size)

    async def logits(self, images: Images) -> Logits:
        """Return the logits of a batch."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._see, images)

    def _see(self, images: Images) -> Logits:
        logits: Logits = self._session.run(None, {INPUT: images})[0]
        return logits

    @torch.inference_mode()
    def _check(self, model: Anywhere, network: nn.Module, size: int) -> None:
        images = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8)
        expected = network(to_input(torch.from_numpy(images))).float().numpy()
        found = self._see(images)
        if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            most = float(np.abs(found - expected).max())
            raise InputError(
                f"{model}: its logits in ONNX differ by up to {most:.2g} from torch's; serve it "
                "without --bare"
            )


class _FromBytes(nn.Module):
    """A network that takes pixels as they are decoded."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # As in `Shipped`: the layout for training would be repeated at each step of the graph.
        self.network = network.to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits, shape (n,), of pictures, uint8 of shape (n, H, W, 3)."""
        logits: Tensor = self.network(to_input(images))
        return logits


def _to_onnx(network: nn.Module, size: int) -> bytes:
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    program = torch.export.export(_FromBytes(network), (images,), dynamic_shapes=({0: Dim("n")},))
    return to_onnx(program, OUTPUT)


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
