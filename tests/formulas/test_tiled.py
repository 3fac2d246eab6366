"""The tiled losses against the formulas written out in float64, and against themselves in other tiles and parts."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import seesay
from seesay.formulas.contrastive import contrastive_loss, matches
from seesay.formulas.tiled import _LogSums, part_of_contrastive_loss, tiled_contrastive_loss, tiled_sigmoid_loss

PARTS = (slice(0, 4), slice(4, 5), slice(5, 11), slice(11, 13))


def embedded(count=13, width=5, seed=0, dtype=torch.float64, scale=9.0):
    """Unit rows for images and captions, and a scale; all want gradients."""
    draw = torch.Generator().manual_seed(seed)
    rows = (F.normalize(torch.randn(count, width, generator=draw, dtype=torch.float64), dim=1) for _ in range(2))
    return [x.to(dtype).requires_grad_() for x in (*rows, torch.tensor(scale, dtype=torch.float64))]


def ids(seed, *, kinds, count=13):
    return torch.randint(0, kinds, (count,), generator=torch.Generator().manual_seed(seed)) * 1000 - 7


def with_gradients(loss, inputs):
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def written_out(image, text, scale, is_match=None):
    """Softmax in both directions over the whole matrix, targets shared out over all matches."""
    logits = scale * image @ text.T
    target = torch.eye(len(logits), dtype=logits.dtype) if is_match is None else is_match.to(logits.dtype)
    rows = (logits.log_softmax(1) * target / target.sum(1, keepdim=True)).sum()
    columns = (logits.log_softmax(0) * target / target.sum(0)).sum()
    return -(rows + columns) / (2 * len(logits))


def sigmoid_written_out(image, text, scale, bias, *, first=0, is_match=None):
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(image)):
        for j in range(len(text)):
            is_own = j == first + i if is_match is None else is_match[first + i, j]
            sign = 1 if is_own else -1
            total = total - (sign * (scale * image[i] @ text[j] + bias)).sigmoid().log()
    return total / len(image)


def assert_equal(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, check_dtype=False, **tolerance)


@pytest.mark.parametrize("tile", [2, 3, 4, 13, 64])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_loss_and_gradients_do_not_depend_on_the_tile(tile, scale):
    inputs = embedded(scale=scale)
    expected = with_gradients(written_out(*inputs), inputs)
    assert_equal(with_gradients(tiled_contrastive_loss(*inputs, tile=tile), inputs), expected)
    assert_equal(with_gradients(contrastive_loss(*inputs, tile=tile), inputs), expected)


def test_gradients_are_those_of_finite_differences():
    inputs = embedded(count=5, width=3, scale=4.0)
    assert torch.autograd.gradcheck(lambda *given: contrastive_loss(*given, tile=2), inputs)
    assert torch.autograd.gradcheck(lambda *given: part_of_contrastive_loss(*given, part=slice(1, 4), tile=2), inputs)


@pytest.mark.parametrize("slopes", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_any_of_the_sums_may_have_no_slope(slopes):
    """Of a loss that uses some of them only, autograd hands None for the others."""
    inputs = embedded(count=5, width=3, scale=4.0)

    def some(image, text, scale):
        sums = _LogSums.apply(image, text, scale, 0, 2)
        return torch.stack([(sums[number] * torch.arange(1.0, 6.0)).sum() for number in slopes]).sum()

    assert torch.autograd.gradcheck(some, inputs)


def test_a_gradient_that_is_not_asked_for_is_not_made():
    bias = torch.tensor(-3.0, dtype=torch.float64)
    for loss, more in ((tiled_contrastive_loss, ()), (tiled_sigmoid_loss, (bias,))):
        whole = embedded()
        expected = torch.autograd.grad(loss(*whole, *more, tile=4), whole)
        for asked in range(1, 8):
            inputs = [x.detach().requires_grad_(bool(asked >> place & 1)) for place, x in enumerate(whole)]
            loss(*inputs, *more, tile=4).backward()
            for given, slope in zip(inputs, expected, strict=True):
                assert given.requires_grad == (given.grad is not None)
                if given.grad is not None:
                    torch.testing.assert_close(given.grad, slope)


@pytest.mark.parametrize(("images", "captions"), [(13, 6), (4, 9), (5, 5), (1, 1)])
def test_repeats_share_their_targets_as_a_matrix_of_matches_would(images, captions):
    inputs, image_id, caption_id = embedded(), ids(1, kinds=images), ids(2, kinds=captions)
    expected = with_gradients(written_out(*inputs, is_match=matches(image_id, caption_id)), inputs)
    loss = tiled_contrastive_loss(*inputs, image_id_B=image_id, caption_id_B=caption_id, tile=4)
    assert_equal(with_gradients(loss, inputs), expected)


def test_ids_without_repeats_change_not_one_bit():
    inputs = embedded(dtype=torch.float32)
    alone = torch.arange(13)
    with_ids = tiled_contrastive_loss(*inputs, image_id_B=alone, caption_id_B=alone.flip(0))
    without = tiled_contrastive_loss(*inputs)
    for one, other in zip(with_gradients(with_ids, inputs), with_gradients(without, inputs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("tile", [1, 64])
def test_the_parts_of_four_processes_sum_to_the_whole(tile):
    inputs = embedded()
    found = [with_gradients(part_of_contrastive_loss(*inputs, part=part, tile=tile), inputs) for part in PARTS]
    expected = with_gradients(written_out(*inputs), inputs)
    assert_equal([sum(values) for values in zip(*found, strict=True)], expected)


def test_the_parts_of_four_processes_sum_to_the_whole_with_repeats():
    inputs, image_id, caption_id = embedded(), ids(3, kinds=6), ids(4, kinds=9)
    expected = with_gradients(written_out(*inputs, is_match=matches(image_id, caption_id)), inputs)
    given = {"image_id_N": image_id, "caption_id_N": caption_id, "tile": 4}
    found = [with_gradients(part_of_contrastive_loss(*inputs, part=part, **given), inputs) for part in PARTS]
    assert_equal([sum(values) for values in zip(*found, strict=True)], expected)


def test_rows_held_by_a_process_get_their_gradient_back_through_the_gather():
    image, text, scale = embedded()
    held = [(image[part].detach().requires_grad_(), text[part].detach().requires_grad_()) for part in PARTS]
    all_images, all_texts = (torch.cat(rows) for rows in zip(*held, strict=True))
    loss = torch.stack([part_of_contrastive_loss(all_images, all_texts, scale, part=part) for part in PARTS]).sum()
    slopes = torch.autograd.grad(loss, [rows for both in held for rows in both])
    expected = torch.autograd.grad(written_out(image, text, scale), (image, text))
    assert_equal([torch.cat(slopes[0::2]), torch.cat(slopes[1::2])], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    inputs = embedded(count=40, dtype=dtype)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    found = with_gradients(tiled_contrastive_loss(*inputs, tile=16), inputs)
    expected = with_gradients(written_out(*exact), exact)
    assert [x.dtype for x in found] == [torch.float32, dtype, dtype, dtype]
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-6, atol=0)
    assert_equal([x.double() for x in found[1:]], expected[1:], rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_plain_form_makes_float32_logits_as_well_and_the_value_of_the_tiled_one(dtype):
    inputs = embedded(count=40, dtype=dtype, scale=100.0)
    exact = [x.detach().double() for x in inputs]
    plain, tiled = (with_gradients(contrastive_loss(*inputs, tile=tile), inputs) for tile in (None, 16))
    assert [x.dtype for x in plain] == [x.dtype for x in tiled] == [torch.float32, dtype, dtype, dtype]
    torch.testing.assert_close(plain[0], tiled[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(plain[0].double(), written_out(*exact), rtol=1e-6, atol=0)
    assert_equal(plain[1:], tiled[1:], rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrastive_loss(*inputs) == plain[0]


def test_autocast_does_not_reach_the_sums():
    inputs = embedded(dtype=torch.float32)
    expected = with_gradients(tiled_contrastive_loss(*inputs), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = with_gradients(tiled_contrastive_loss(*inputs), inputs)
    assert_equal(found, expected, rtol=0, atol=0)


def test_a_loss_near_zero_keeps_its_gradient():
    draw = torch.Generator().manual_seed(5)
    image = F.normalize(torch.randn(64, 512, generator=draw), dim=1)
    text = F.normalize(image + 2 * torch.randn(64, 512, generator=draw) / 512**0.5, dim=1)
    inputs = [x.requires_grad_() for x in (image, text, torch.tensor(100.0))]
    exact = [x.detach().double() for x in inputs]
    logits = exact[2] * exact[0] @ exact[1].T
    odds = torch.exp(logits - logits.diagonal()[:, None]).fill_diagonal_(0)  # tiny: their sum is the loss of a row
    odds_T = torch.exp(logits.T - logits.diagonal()[:, None]).fill_diagonal_(0)
    loss = (odds.sum(1).log1p() + odds_T.sum(1).log1p()).sum() / 128
    assert loss < 1e-9
    slope = (odds / (1 + odds.sum(1, keepdim=True)) + (odds_T / (1 + odds_T.sum(1, keepdim=True))).T) / 128
    slope -= torch.diag(odds.sum(1) / (1 + odds.sum(1)) + odds_T.sum(1) / (1 + odds_T.sum(1))) / 128
    expected = [loss, exact[2] * slope @ exact[1], exact[2] * slope.T @ exact[0], (slope * logits).sum() / exact[2]]
    for one, other in zip(with_gradients(tiled_contrastive_loss(*inputs, tile=16), inputs), expected, strict=True):
        assert (one.double() - other).norm() / other.norm() < 1e-5


def test_one_pair_has_no_wrong_answer_and_no_slope():
    inputs = embedded(count=1)
    assert [float(x.abs().sum()) for x in with_gradients(tiled_contrastive_loss(*inputs), inputs)] == [0, 0, 0, 0]


def test_a_number_that_is_not_finite_is_seen_in_the_loss():
    image, text, scale = (x.detach() for x in embedded())
    image[2, 1] = math.nan
    assert torch.isnan(tiled_contrastive_loss(image, text, scale, tile=4))


def test_opposite_rows_at_the_largest_scale_stay_finite():
    image = F.normalize(torch.ones(6, 4, dtype=torch.float32), dim=1).requires_grad_()
    loss, slope = with_gradients(tiled_contrastive_loss(image, -image.detach(), torch.tensor(100.0)), [image])
    assert float(loss) == pytest.approx(math.log(6), rel=1e-5)
    assert slope.abs().max() < 1e-4


@pytest.mark.parametrize("tile", [1, 3, 64])
def test_sigmoid_loss_equals_the_written_out_formula(tile):
    inputs = [*embedded(), torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)]
    expected = with_gradients(sigmoid_written_out(*inputs), inputs)
    assert_equal(with_gradients(tiled_sigmoid_loss(*inputs, tile=tile), inputs), expected)


def test_sigmoid_gradients_are_those_of_finite_differences():
    inputs = [*embedded(count=5, width=3, scale=4.0), torch.tensor([-3.0], dtype=torch.float64, requires_grad=True)]
    assert torch.autograd.gradcheck(lambda *given: tiled_sigmoid_loss(*given, tile=2), inputs)


def test_sigmoid_parts_weighted_by_their_share_sum_to_the_whole():
    image, text, scale, bias = *embedded(), torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)
    inputs = [image, text, scale, bias]
    total = 0
    for part in PARTS:
        share = (part.stop - part.start) / 13
        total = total + share * tiled_sigmoid_loss(image[part], text, scale, bias, first=part.start, tile=3)
    expected = with_gradients(sigmoid_written_out(*inputs), inputs)
    assert_equal(with_gradients(total, inputs), expected)


@pytest.mark.parametrize("parts", [(slice(0, 13),), PARTS])
def test_sigmoid_counts_repeated_images_and_captions_as_matches(parts):
    image, text, scale, bias = *embedded(), torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)
    inputs, given = [image, text, scale, bias], {"image_id_N": ids(1, kinds=9), "caption_id_N": ids(2, kinds=4)}
    is_match = matches(*given.values())
    assert is_match.sum() > 2 * len(image)
    total = 0
    for part in parts:
        share = (part.stop - part.start) / len(image)
        total = total + share * tiled_sigmoid_loss(image[part], text, scale, bias, first=part.start, tile=3, **given)
    expected = with_gradients(sigmoid_written_out(*inputs, is_match=is_match), inputs)
    assert_equal(with_gradients(total, inputs), expected)


def test_sigmoid_keeps_a_small_loss_of_repeats_in_float32():
    """Of a model that is right: 2 classes, 128 images, a scale of 100 and a bias of -10."""
    class_N = torch.arange(128) % 2
    rows = torch.eye(2)[class_N]
    scale, bias = torch.tensor(100.0), torch.tensor(-10.0)
    found = tiled_sigmoid_loss(rows, rows, scale, bias, image_id_N=torch.arange(128), caption_id_N=class_N)
    wrong = F.softplus(torch.tensor(-10.0, dtype=torch.float64))
    torch.testing.assert_close(found.double(), 64 * wrong, rtol=1e-5, atol=0)


def test_sigmoid_loss_of_a_block_without_matches_has_wrong_pairs_only():
    image, text, scale = (x.detach() for x in embedded())
    bias = torch.tensor(-3.0, dtype=torch.float64)
    for first in (-20, 6, 40):
        found = tiled_sigmoid_loss(image[:4], text[:6], scale, bias, first=first, tile=4)
        torch.testing.assert_close(found, sigmoid_written_out(image[:4], text[:6], scale, bias, first=first))


def test_a_process_without_pairs_adds_nothing_to_any_loss():
    inputs = [*embedded(), torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)]
    image, text, scale, bias = inputs
    softmax = part_of_contrastive_loss(image, text, scale, part=slice(13, 13))
    for loss in (tiled_sigmoid_loss(image[:0], text, scale, bias, first=13), softmax + 0 * bias):
        assert loss == 0
        assert not any(gradient.any() for gradient in torch.autograd.grad(loss, inputs))


def test_sigmoid_in_bfloat16_is_summed_in_float32():
    inputs = [*embedded(dtype=torch.bfloat16), torch.tensor(-3.0, requires_grad=True)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    found = with_gradients(tiled_sigmoid_loss(*inputs, tile=4), inputs)
    expected = with_gradients(sigmoid_written_out(*exact), exact)
    assert [x.dtype for x in found] == [torch.float32, *[torch.bfloat16] * 3, torch.float32]
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-6, atol=0)
    assert_equal([x.double() for x in found[1:]], expected[1:], rtol=0.01, atol=1e-6)


def test_what_does_not_fit_is_refused_with_its_sizes():
    image, text, scale = embedded()
    with pytest.raises(ValueError, match="13 images and 12 captions"):
        tiled_contrastive_loss(image, text[:12], scale)
    with pytest.raises(ValueError, match="tile is 0"):
        tiled_contrastive_loss(image, text, scale, tile=0)
    with pytest.raises(ValueError, match="give both or neither"):
        tiled_contrastive_loss(image, text, scale, image_id_B=torch.arange(13))
    with pytest.raises(ValueError, match="is_match_NN is N x N"):
        contrastive_loss(image, text, scale, is_match_NN=torch.eye(13, dtype=torch.bool), tile=4)


@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"image": torch.zeros(12, 5)}, "12 images and 13 captions"),
        ({"text": torch.zeros(13, 7)}, "images are 5 wide and captions 7"),
        ({"image": torch.zeros(0, 5), "text": torch.zeros(0, 5)}, "0 pairs"),
        ({"image": torch.ones(13, 5, dtype=torch.int64)}, r"images are torch\.int64; give embeddings of a floating"),
        ({"text": torch.ones(13, 5, dtype=torch.bool)}, r"captions are torch\.bool"),
        ({"image": torch.ones(5)}, r"images have shape \(5,\)"),
        ({"scale": torch.ones(13)}, r"the logit scale has shape \(13,\); give a single number"),
        ({"scale": torch.ones(0)}, r"the logit scale has shape \(0,\)"),
    ],
)
def test_what_are_no_pairs_is_refused_in_one_line_with_its_value(changed, told, tile):
    given = {"image": torch.zeros(13, 5), "text": torch.zeros(13, 5), "scale": torch.tensor(5.0), **changed}
    with pytest.raises(ValueError, match=told) as refused:
        seesay.contrastive_loss(*given.values(), tile=tile)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tile", [None, 4])
def test_a_logit_scale_may_be_a_row_of_one_number(tile):
    image, text, scale = embedded()
    one = scale.detach().reshape(1).requires_grad_()
    loss = seesay.contrastive_loss(image, text, one, tile=tile)
    torch.testing.assert_close(loss, contrastive_loss(image, text, scale))
    assert loss.ndim == 0 and torch.autograd.grad(loss, one)[0].shape == (1,)


def test_the_package_offers_the_loss_under_its_own_name():
    assert seesay.contrastive_loss is contrastive_loss


MEMORY = """
import re, sys, torch
import torch.nn.functional as F
from pathlib import Path
from seesay.formulas.contrastive import contrastive_loss
peak_kib = lambda: int(re.findall(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[0])
torch.set_num_threads(1)
image, text = (F.normalize(torch.randn(int(sys.argv[1]), 64), dim=1).requires_grad_() for _ in range(2))
contrastive_loss(image[:64], text[:64], torch.tensor(10.0), tile=16).backward()
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
before = peak_kib()
contrastive_loss(image, text, torch.tensor(10.0), tile=int(sys.argv[2]) or None).backward()
print((peak_kib() - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_square_of_the_pairs():
    def extra_mib(count, tile):
        command = [sys.executable, "-c", MEMORY, str(count), str(tile)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    logits_mib = 4096**2 * 4 / 2**20
    assert extra_mib(4096, 0) > 2 * logits_mib
    assert extra_mib(4096, 256) < logits_mib / 8
    assert extra_mib(8192, 256) < logits_mib / 8


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_the_same_loss_and_gradients(dtype):
    inputs = [x.detach().cuda().requires_grad_() for x in embedded(count=300, width=64, dtype=dtype)]
    exact = [x.detach().double().cpu().requires_grad_() for x in inputs]
    found = with_gradients(tiled_contrastive_loss(*inputs, tile=128), inputs)
    expected = with_gradients(written_out(*exact), exact)
    for one, other in zip(found, expected, strict=True):
        limit = 1e-5 if one.dtype == torch.float32 else 1e-2
        assert (one.double().cpu() - other).norm() / other.norm() < limit


def test_a_gradient_of_a_gradient_is_refused_and_not_wrong():
    image = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1).requires_grad_()
    loss = tiled_contrastive_loss(image, image.detach().flip(0), torch.tensor(10.0, dtype=torch.float64), tile=2)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(loss, image, create_graph=True)
