"""How a method is spelled, and which controls it has."""

from __future__ import annotations

import pytest

from harmoseg import HarmosegError
from harmoseg.losses.method import parse_method


@pytest.mark.parametrize(
    ("text", "canonical", "term", "weight", "reduction"),
    [
        ("unet", "unet", None, 0.0, "batch"),
        ("unet+scc", "unet+scc", "scc", 0.2, "batch"),
        ("unet+scc:0.20", "unet+scc", "scc", 0.2, "batch"),
        ("transunet+scc:0.5@sample", "transunet+scc:0.5@sample", "scc", 0.5, "sample"),
        ("unet+scc:0.12345678", "unet+scc:0.12345678", "scc", 0.12345678, "batch"),
        ("unet+rings:1.0", "unet+rings:1", "rings", 1.0, "batch"),
        ("unet+mid@sample", "unet+mid@sample", "mid", 0.2, "sample"),
        ("unet+dice:2", "unet+dice:2", "dice", 2.0, "batch"),
        (
            "unet+monai.losses.FocalLoss:0.5@sample",
            "unet+monai.losses.FocalLoss:0.5@sample",
            "monai.losses.FocalLoss",
            0.5,
            "sample",
        ),
        ("unet@sample", "unet@sample", None, 0.0, "sample"),
        ("unet@batch", "unet", None, 0.0, "batch"),
        ("unet=focal", "unet=focal", None, 0.0, "batch"),
        ("unet=bce+dice:1", "unet=bce+dice:1", "dice", 1.0, "batch"),
        (
            "unet+rings:1+tversky:0.1@sample",
            "unet+rings:1+tversky:0.1@sample",
            "rings+tversky",
            1.0,
            "sample",
        ),
        (
            "unet+tversky( beta = 0.7, alpha=0.30 ):1e+1",
            "unet+tversky(alpha=0.3,beta=0.7):10",
            "tversky(alpha=0.3,beta=0.7)",
            10.0,
            "batch",
        ),
        (
            "transunet=a.B(weight=[1,2.5],batch=True,to=none,on=x)",
            "transunet=a.B(batch=true,on=x,to=none,weight=[1,2.5])",
            None,
            0.0,
            "batch",
        ),
    ],
)
def test_spellings(text, canonical, term, weight, reduction) -> None:
    method = parse_method(text)
    assert str(method) == canonical
    assert (method.term, method.weight, method.reduction) == (term, weight, reduction)
    assert parse_method(canonical) == method
    assert method.is_imported == any(loss.is_imported for loss in method.losses)


@pytest.mark.parametrize(
    ("text", "plain", "overlap"),
    [
        ("unet", "unet", None),
        ("unet+scc", "unet", "unet+dice"),
        ("unet+rings:1@sample", "unet@sample", "unet+scc:1@sample"),
        ("transunet+high:0.3", "transunet", "transunet+scc:0.3"),
        ("unet+dice:0.5", "unet", None),
        ("unet+monai.losses.FocalLoss:0.5", "unet", "unet+dice:0.5"),
        ("unet=focal", "unet", None),
        ("unet=focal+rings:1", "unet=focal", "unet=focal+scc:1"),
        ("unet+rings:1+focal:0.5", "unet", "unet+dice:1.5"),
        ("unet+midrings", "unet", "unet+scc"),
    ],
)
def test_controls_differ_in_the_term_alone(text, plain, overlap) -> None:
    method = parse_method(text)
    assert str(method.plain) == plain
    control = method.overlap_control
    assert (None if control is None else str(control)) == overlap


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unt", "unknown model 'unt'; did you mean 'unet'"),
        ("unet+sc", "unknown term 'sc'; did you mean 'scc'"),
        ("unet+ring:1", "unknown term 'ring'; did you mean 'rings'"),
        ("unet@samples", "unknown reduction 'samples'; did you mean 'sample'"),
        ("unet+scc:0", "weight '0' must be a number above 0"),
        ("unet+scc:much", "weight 'much' must be a number above 0"),
        ("unet+scc:inf", "must be a number above 0"),
        ("unet scc", "is not of the form"),
        ("unet=focl", "unknown base 'focl'; did you mean 'focal'"),
        ("unet+tversky(0.3)", "option '0.3' must be name=value"),
        ("unet+tversky(alpha=0.3", "is not of the form"),
        ("", "is not of the form"),
    ],
)
def test_mistakes_are_named(text, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        parse_method(text)
