"""Training's products by oneDNN: the same numbers, only where they are meant to be, and really used."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dtag.critic.networks import EnsembleMLP
from dtag.data.segments import SegmentBatch
from dtag.products import linear as products
from dtag.products.linear import affine, by_onednn, choose_library, linear, training_products
from dtag.training.fit import fit
from dtag.training.policy_module import PolicyModule
from tests.reference.toy_environment import line_config, store_line

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def onednn():
    choose_library("onednn")
    yield
    choose_library("torch")


@pytest.fixture
def convolutions(monkeypatch):
    """Shapes of the weights given to oneDNN, in the order of use."""
    seen: list[tuple[int, ...]] = []
    for name in ("conv2d", "conv_transpose2d"):
        original = getattr(functional, name)

        def record(x, weight, *rest, original=original):
            seen.append(tuple(weight.shape))
            return original(x, weight, *rest)

        monkeypatch.setattr(functional, name, record)
    return seen


def _gradients(function, *tensors):
    inputs = [t.clone().requires_grad_() for t in tensors]
    found = function(*inputs)
    (found * (torch.arange(found.numel()) % 7 - 3.0).view(found.shape)).sum().backward()
    return [found.detach(), *(t.grad for t in inputs)]


@pytest.mark.parametrize("shape", [(2048, 64), (32, 64, 64), (8, 16, 16, 64)])
def test_a_linear_layer_and_its_gradients_are_torchs(shape, convolutions):
    x, weight, bias = torch.randn(shape), torch.randn(96, 64), torch.randn(96)
    expected = _gradients(functional.linear, x, weight, bias)
    with training_products():
        found = _gradients(linear, x, weight, bias)
    assert convolutions == [(96, 64, 1, 1)]
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_a_layer_of_a_member_and_its_gradients_are_torchs(convolutions):
    x, weight, bias = torch.randn(1024, 64), torch.randn(64, 96), torch.randn(96)
    expected = _gradients(lambda x, w, b: x @ w + b, x, weight, bias)
    with training_products():
        found = _gradients(affine, x, weight, bias)
    assert convolutions[0] == (64, 96, 1, 1)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n_rows", [512, 317])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_ensemble_member_by_member_is_the_batched_one(layer_norm, n_rows, convolutions):
    network = EnsembleMLP(2, 14, (128, 128), layer_norm)
    x = torch.randn(n_rows, 14)

    def gradients():
        network.zero_grad()
        (expected := network(x)).square().sum().backward()
        return [expected.detach(), *(p.grad.clone() for p in network.parameters())]

    batched = gradients()
    assert not convolutions
    with training_products():
        apart = gradients()
    assert (128, 128, 1, 1) in convolutions
    for a, b in zip(apart, batched, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_only_large_float32_products_of_training_on_a_cpu_are_onednns():
    weight = torch.zeros(256, 256)
    assert not by_onednn(1024, weight)  # outside training
    with training_products():
        assert by_onednn(1024, weight)
        assert not by_onednn(1000, weight)  # no whole number of images
        assert not by_onednn(48, weight)  # small
        assert not by_onednn(2**20, torch.zeros(256, 11))  # narrow
        assert not by_onednn(1024, weight.double())
        assert not by_onednn(1024, weight.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not by_onednn(1024, weight)
        torch.set_float32_matmul_precision("medium")
        assert not by_onednn(1024, weight)
        torch.set_float32_matmul_precision("highest")
    assert not by_onednn(1024, weight)


def test_the_library_is_onednn_of_its_own_accord_on_amd_cpus_alone(monkeypatch):
    for slow in (True, False):
        monkeypatch.setattr(products, "mkl_is_slow", lambda slow=slow: slow)
        choose_library("auto")
        with training_products():
            assert by_onednn(1024, torch.zeros(256, 256)) == slow
    choose_library("torch")
    with training_products():
        assert not by_onednn(1024, torch.zeros(256, 256))


def test_an_exception_in_training_leaves_the_products_as_they_were():
    with pytest.raises(ValueError, match="lost"), training_products():
        raise ValueError("lost")
    assert not by_onednn(1024, torch.zeros(256, 256))


def test_training_uses_the_library_of_its_config_and_evaluation_never(tmp_path, monkeypatch, convolutions):
    monkeypatch.setattr(products, "SMALLEST", 1)
    monkeypatch.setattr(products, "NARROWEST", 1)
    in_training: list[int] = []
    step = PolicyModule.training_step

    def counted(self: PolicyModule, batch: SegmentBatch, index: int) -> None:
        before = len(convolutions)
        step(self, batch, index)
        in_training.append(len(convolutions) - before)

    monkeypatch.setattr(PolicyModule, "training_step", counted)
    for library in ("torch", "onednn"):
        config = line_config(store_line(), tmp_path, data={"batch_size": 16}, train={"products": library})
        before = len(convolutions)
        fit({**config, "name": library, "critic": None, "ag": None})
        assert (sum(in_training) > 0) == (library == "onednn")
        assert len(convolutions) - before == sum(in_training)  # none in held-out losses and episodes
