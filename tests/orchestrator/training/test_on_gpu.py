"""Training on a GPU: the same figures as on the CPU, and nothing that makes it wait.

They run where there is one (`make gpu`); what of them needs none is in test_cuda_rehearsal.py.
"""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d, relu
from toys import SIDE, toy_arrays, toy_data

import models
from models.cuda_kernels import bias_pool_relu, convolve_pixels
from orchestrator.config.layers import resolve
from orchestrator.training import loop
from orchestrator.training.cuda_graph import WARM_UP
from orchestrator.training.images import held_for
from orchestrator.training.inference import pick_device, predict_logits
from orchestrator.training.loop import Training, TrainingError
from orchestrator.training.trial import _naming_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

CPU = torch.device("cpu")
# Dropout's masks are the device's own.
SAME = ("model.dropout=0", "train.precision=fp32", "train.batch_size=16", "train.epochs=3")
CONFIGS = {
    "published": (),
    "everything of the optimiser": (
        "train.weight_decay=0.1", "train.ema=0.9", "train.clip_norm=0.5",
    ),
    "worst group": ("method.name=group_dro", "loss.gamma=2", "loss.class_balancing=true"),
    "gap penalty": (
        "method.name=gap_penalty", "loss.name=gce", "augment.shift=2", "augment.brightness=0.2",
        "augment.contrast=0.2", "augment.saturation=0.2", "augment.erase=0.3",
    ),
    "batch norm": ("model.batch_norm=true", "loss.smoothing=0.1", "balance.policy=oversample"),
    "resnet18": (
        "model.name=resnet18", "model.weights=random", "model.unfreeze=all", "model.head=pooled",
        "model.hidden=0", "train.lr=0.0003",
    ),
    "a stage of resnet18": (
        "model.name=resnet18", "model.weights=random", "model.unfreeze=last_stage",
        "last_layer.held_out=0.2",
    ),
}  # fmt: skip


def start(*settings, device=None, data=None):
    config = resolve(settings=settings)
    data = data or toy_data()
    torch.manual_seed(config.seed)
    network = models.build(config.model, SIDE)
    return Training(config, network, data["train"], data["val"], device or pick_device())


@pytest.mark.parametrize("name", CONFIGS)
def test_figures_are_those_of_the_cpu(name):
    here, there = (list(start(*SAME, *CONFIGS[name], device=d)) for d in (CPU, pick_device()))
    assert len(here) == len(there)
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.train_loss == pytest.approx(ours.train_loss, rel=2e-2, abs=1e-3)
        assert theirs.val_loss == pytest.approx(ours.val_loss, rel=5e-2, abs=5e-3)
    assert here[0].train_loss == pytest.approx(there[0].train_loss, rel=2e-3)


class Direct:
    """Stands in for `Recorded`: takes each step as it is."""

    def __init__(self, device):
        pass

    def __call__(self, step, drawn):
        return step(drawn)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recorded_step_does_what_the_step_does(name, monkeypatch):
    recorded = start(*SAME, *CONFIGS[name])
    losses = [epoch.train_loss for epoch in recorded]
    assert recorded._recorded._graph is not None
    monkeypatch.setattr(loop, "Recorded", Direct)
    direct = start(*SAME, *CONFIGS[name])
    assert losses == pytest.approx([epoch.train_loss for epoch in direct], rel=5e-3)


def test_recorded_dropout_draws_anew_at_each_step_and_alike_for_a_seed():
    seen = []
    for _ in range(2):
        training = start("model.dropout=0.5")
        dropout = next(m for m in training.model.modules() if isinstance(m, torch.nn.Dropout))
        kept = torch.zeros(512, device="cuda")

        def note(_, inputs, output, kept=kept):
            kept.copy_(((output != 0) | (inputs[0] == 0)).float().mean(0))

        dropout.register_forward_hook(note)
        torch.manual_seed(7)
        masks = []
        for drawn in [one for one in training._batches.epoch(0) if len(one.labels) == 32]:
            training._optimiser.before_step()
            training._recorded(training._step, drawn)
            training._optimiser.after_step()
            masks.append(kept.clone())
        seen.append(torch.stack(masks))
    assert len({tuple(mask.tolist()) for mask in seen[0]}) == len(seen[0]) > WARM_UP
    assert torch.equal(*seen)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_step_waits_for_the_gpu(name):
    training = start("train.batch_size=16", *CONFIGS[name])
    drawn = list(training._batches.epoch(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for one in drawn:
            training._optimiser.before_step()
            training._step(one)
            training._optimiser.after_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bf16_is_fp32_within_its_tolerance():
    precise = start("train.precision=fp32", "train.epochs=4", "train.batch_size=8")
    list(precise)
    val = toy_data()["val"]
    images = held_for(val.images, precise.device)
    exact, rough = (predict_logits(precise.model, images, len(val), bf16) for bf16 in (False, True))
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()
    assert not np.array_equal(exact, rough)


def test_it_goes_on_from_a_checkpoint_of_the_gpu_and_of_the_cpu():
    whole = start(*SAME)
    losses = [epoch.train_loss for epoch in whole]
    for device in (CPU, pick_device()):
        begun = start(*SAME, device=device)
        next(iter(begun))
        resumed = start(*SAME)
        resumed.load_state_dict(begun.state_dict())
        rest = [epoch.train_loss for epoch in resumed]
        assert rest == pytest.approx(losses[1:], rel=2e-2)


def test_images_that_do_not_fit_come_alike(monkeypatch):
    resident = [epoch.train_loss for epoch in start(*SAME)]
    monkeypatch.setattr("orchestrator.training.images._free", lambda _: 0)
    copied = start(*SAME)
    assert copied._batches.images._images.device == CPU
    assert [epoch.train_loss for epoch in copied] == pytest.approx(resident, rel=5e-3)


def test_too_large_a_batch_is_one_line():
    data = {"train": toy_arrays(4000), "val": toy_arrays(50)}
    config = resolve(settings=["train.batch_size=4000", "model.width=64"])
    torch.cuda.empty_cache()
    before = torch.cuda.get_per_process_memory_fraction()
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        line = r"out of memory on cuda:0 .*train\.batch_size=4000"
        with pytest.raises(TrainingError, match=line), _naming_memory(config):
            list(Training(config, models.build(config.model, SIDE), data["train"], data["val"]))
    finally:
        torch.cuda.set_per_process_memory_fraction(before)


def test_a_loss_that_is_no_number_is_one_line():
    with pytest.raises(TrainingError, match="training diverged in epoch 1, step"):
        list(start("train.lr=1e30", "train.batch_size=8"))


@pytest.mark.parametrize("shape", [(5, 32, 78, 78), (3, 64, 37, 37), (2, 128, 7, 4), (1, 1, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_pooling_is_torchs(shape, dtype):
    torch.manual_seed(0)
    images = torch.randn(shape, device="cuda").to(dtype, memory_format=torch.channels_last)
    bias = torch.randn(shape[1], device="cuda")
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    our_bias, their_bias = bias.clone().requires_grad_(), bias.clone().requires_grad_()
    made = bias_pool_relu(ours, our_bias)
    expected = relu(max_pool2d(theirs.float() + their_bias[:, None, None], 2))
    assert torch.equal(made, expected.to(dtype))
    gradient = torch.randn_like(made)
    made.backward(gradient)
    expected.backward(gradient.float())
    assert torch.equal(ours.grad, theirs.grad)
    torch.testing.assert_close(our_bias.grad, their_bias.grad, rtol=1e-4, atol=1e-3)


def test_our_first_convolution_is_torchs():
    images = torch.rand(7, 80, 80, 3, device="cuda").permute(0, 3, 1, 2)
    ours = torch.randn(32, 3, 3, 3, device="cuda").requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    made, expected = convolve_pixels(images, ours), conv2d(images, theirs)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    gradient = torch.randn_like(made)
    made.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-1)
