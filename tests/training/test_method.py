"""How a method is spelled."""

from __future__ import annotations

import pytest

from harmoseg import HarmosegError
from harmoseg.training.method import parse_method


@pytest.mark.parametrize(
    ("text", "canonical", "weight", "reduction"),
    [
        ("unet", "unet", 0.0, "batch"),
        ("unet+scc", "unet+scc", 0.2, "batch"),
        ("unet+scc:0.20", "unet+scc", 0.2, "batch"),
        ("transunet+scc:0.5@sample", "transunet+scc:0.5@sample", 0.5, "sample"),
        ("unet+scc:0.12345678", "unet+scc:0.12345678", 0.12345678, "batch"),
        ("unet@sample", "unet@sample", 0.0, "sample"),
        ("unet@batch", "unet", 0.0, "batch"),
    ],
)
def test_spellings(text, canonical, weight, reduction) -> None:
    method = parse_method(text)
    assert str(method) == canonical
    assert (method.spectral_weight, method.reduction) == (weight, reduction)
    assert parse_method(canonical) == method


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unt", "unknown model 'unt'; did you mean 'unet'"),
        ("unet+sc", "unknown term 'sc'; did you mean 'scc'"),
        ("unet@samples", "unknown reduction 'samples'; did you mean 'sample'"),
        ("unet+scc:0", "weight '0' must be a number above 0"),
        ("unet+scc:much", "weight 'much' must be a number above 0"),
        ("unet+scc:inf", "must be a number above 0"),
        ("unet scc", "is not of the form"),
        ("", "is not of the form"),
    ],
)
def test_mistakes_are_named(text, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        parse_method(text)
