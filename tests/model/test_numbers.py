"""Limits of what is read and encoded: one bad row among good ones, one byte too few."""

import pytest
import torch

from seesay.base.errors import RefusedInput
from seesay.model.encode import check_unit_length
from seesay.model.weights import read_header, write_tensors


@pytest.mark.parametrize("length", [0.0, 0.5, 0.9])
def test_one_row_that_is_too_short_is_enough_to_refuse_a_block(length):
    rows_BD = torch.tensor([[1.0, 0.0], [0.0, length], [0.6, 0.8]])
    with pytest.raises(RefusedInput, match=f"have length {length:g} in place of 1"):
        check_unit_length(rows_BD)


def test_rows_of_unit_length_are_given_back_as_they_are():
    rows_BD = torch.tensor([[1.0, 0.0], [0.0, 0.95]])
    assert check_unit_length(rows_BD) is rows_BD


@pytest.mark.parametrize("change", [-1, 1])
def test_a_weights_file_of_another_size_than_its_header_says_is_refused_by_its_header(change, tmp_path):
    data = write_tensors({"weight": torch.arange(3.0)})
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    assert read_header(path)["weight"]["shape"] == [3]
    path.write_bytes(data[:-1] if change < 0 else data + b"\0")
    with pytest.raises(RefusedInput, match=f"is {len(data) + change} bytes, its header says {len(data)}"):
        read_header(path)
