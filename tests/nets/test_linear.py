"""Linear layers by the faster of two libraries: the same rows but for rounding, and only where it is wanted."""

import functools
import threading
import time

import pytest
import torch
import torch.nn.functional as F
from small_towers import model_of, pictures

from seesay.nets import linear as products
from seesay.nets.block import ACTIVATIONS
from seesay.nets.linear import Linear, faster_products, patch_rows

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no product of oneDNN"
)


@pytest.fixture(params=[False, True])
def by_onednn(request, monkeypatch):
    """Both answers of the measurement, whatever this machine is, and how often oneDNN is asked."""
    calls = []
    real = products._by_onednn
    monkeypatch.setattr(products, "is_faster_by_onednn", lambda: request.param)
    monkeypatch.setattr(products, "_by_onednn", lambda *given: calls.append(given) or real(*given))
    return request.param, calls


def test_rows_are_those_of_torch_but_for_rounding(by_onednn):
    is_faster, calls = by_onednn
    layer = Linear(70, 30)
    for shape in ((1, 70), (5, 70), (2, 3, 70), (0, 70)):
        x = torch.randn(shape)
        with torch.no_grad(), faster_products(True):
            found = layer(x)
        torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)
    assert len(calls) == 4 * is_faster


def test_patches_are_those_of_the_convolution(by_onednn):
    is_faster, calls = by_onednn
    conv = torch.nn.Conv2d(3, 10, 8, stride=8)
    pixels = torch.randn(2, 3, 24, 35)
    with torch.no_grad(), faster_products(True):
        found = patch_rows(conv, pixels)
    torch.testing.assert_close(found, conv(pixels).flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5)
    assert len(calls) == is_faster


def test_nothing_is_changed_where_it_is_not_wanted_and_where_gradients_are(monkeypatch):
    monkeypatch.setattr(products, "is_faster_by_onednn", lambda: True)
    monkeypatch.setattr(products, "_by_onednn", None)
    layer, x = Linear(8, 4), torch.randn(3, 8)
    with torch.no_grad():
        layer(x)
        with faster_products(True), faster_products(False):
            layer(x)
    with faster_products(True):
        layer(x).sum().backward()
        assert layer.weight.grad is not None
        with torch.no_grad():
            layer.double()(x.double())
            with pytest.raises(TypeError):
                layer.float()(x)


@pytest.mark.parametrize("family", ["vit", "siglip"])
def test_encoding_asks_for_it_and_torch_exact_does_not(family, by_onednn):
    is_faster, calls = by_onednn
    model, images = model_of(family), pictures(2, 40)
    rows = model.encode_images(images), model.encode_texts(["a cat", "two dogs"])
    assert bool(calls) == is_faster
    calls.clear()
    exact = model.with_engine("torch-exact")
    for found, right in zip(
        rows, (exact.encode_images(images), exact.encode_texts(["a cat", "two dogs"])), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-6)
    assert not calls


def test_the_measurement_is_made_once():
    products.is_faster_by_onednn.cache_clear()
    assert products.is_faster_by_onednn() in (True, False)
    products.is_faster_by_onednn()
    assert products.is_faster_by_onednn.cache_info().misses == 1


def test_the_measurement_is_of_float32_whatever_is_the_default():
    for change, before, other in (
        (torch.set_default_dtype, torch.float32, torch.float64),
        (torch.set_default_device, None, "meta"),
    ):
        products.is_faster_by_onednn.cache_clear()
        change(other)
        try:
            assert products.is_faster_by_onednn() in (True, False)
        finally:
            change(before)


def test_threads_that_ask_at_once_measure_once(monkeypatch):
    calls = []
    monkeypatch.setattr(products, "is_faster_by_onednn", functools.cache(lambda: time.sleep(0.05) or calls.append(1)))
    x, ask = torch.ones(1, 1), threading.Barrier(4)

    def product():
        with torch.no_grad(), faster_products(True):
            ask.wait()
            products.linear(x, x)

    threads = [threading.Thread(target=product) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@pytest.mark.parametrize("activation", ACTIVATIONS.values())
def test_activations_have_the_same_bits_with_and_without_gradients(activation):
    x = torch.linspace(-9, 9, 999)
    right = activation(x)
    with torch.no_grad():
        assert torch.equal(activation(x.clone()), right)
