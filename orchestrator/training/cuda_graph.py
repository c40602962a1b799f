"""A training step recorded as a CUDA graph: a hundred kernels for the launch of one.

The published network's step at batch 32 is some hundred kernels of a few microseconds each. Python
takes longer to launch them one by one than the GPU to run them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from orchestrator.training.batches import Drawn

WARM_UP = 3
"""Steps before the recording, in which libraries choose their algorithms and take their memory."""


class Recorded:
    """Takes steps of batches of one shape: the first as they are, then one that it records.

    All steps count: those before the recording are ordinary ones, and what was recorded is replayed
    at once, since recording computes nothing.

    Parameters
    ----------
    device
        The CUDA device of the batches.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._result: Tensor | None = None
        self._taken = 0

    def __call__(self, step: Callable[[Drawn], Tensor], drawn: Drawn) -> Tensor:
        """Take a step.

        Parameters
        ----------
        step
            The same each time: it must wait for nothing of the GPU, and read from the CPU what is
            the same in every step only. It is not kept, since it holds its training.
        drawn
            Of the same shapes and size each time.

        Returns
        -------
        What `step` returned, valid until the next call.
        """
        if self._taken < WARM_UP:
            return self._warm_up(step, drawn)
        if self._graph is None:
            self._inputs = [tensor.clone() for tensor in drawn.tensors]
            self._graph = torch.cuda.CUDAGraph()
            # Other threads of this process, Ray's, may use the GPU meanwhile.
            with torch.cuda.graph(
                self._graph, stream=self._stream, capture_error_mode="thread_local"
            ):
                self._result = step(Drawn._make([*self._inputs, drawn.size]))
        else:
            torch._foreach_copy_(self._inputs, drawn.tensors)
        self._graph.replay()
        assert self._result is not None
        return self._result

    def _warm_up(self, step: Callable[[Drawn], Tensor], drawn: Drawn) -> Tensor:
        """Take a step as it is, on the stream that will record the next."""
        self._taken += 1
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = step(drawn)
        current.wait_stream(self._stream)
        return result
