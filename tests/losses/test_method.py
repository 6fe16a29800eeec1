"""How a method is spelled, and which controls it has."""

from __future__ import annotations

import pytest
import torch
import yaml

from harmoseg import HarmosegError
from harmoseg.losses.method import LossName, parse_loss, parse_method, takes_weight
from harmoseg.losses.regions import FocalLoss


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


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("model: unet", "unet"),
        ("{model: transunet, terms: scc, reduction: sample}", "transunet+scc@sample"),
        (
            """
            model: unet
            base: {loss: tversky, options: {beta: 0.7, alpha: 0.3}}
            terms:
              - rings
              - {loss: boundary, weight: 0.1}
              - loss: monai.losses.FocalLoss
                weight: 1
                options: {gamma: 3, weight: [1, 2.5], use_softmax: true, alpha: null}
            """,
            "unet=tversky(alpha=0.3,beta=0.7)+rings+boundary:0.1"
            "+monai.losses.FocalLoss(alpha=none,gamma=3,use_softmax=true,weight=[1,2.5]):1",
        ),
        (
            "{model: unet, terms: {loss: a.b, options: {kind: 'true', size: '3', to: x/y}}}",
            "unet+a.b(kind='true',size='3',to=x/y)",
        ),
    ],
)
def test_a_method_as_yaml_is_the_method_of_its_text(text, spelled) -> None:
    method = parse_method(yaml.safe_load(text))
    assert str(method) == spelled
    assert parse_method(spelled) == method == parse_method(method)


def test_a_loss_of_python_is_named_by_its_import_path() -> None:
    found = parse_method({"model": "unet", "terms": [{"loss": torch.nn.L1Loss, "weight": 2}]})
    assert str(found) == "unet+torch.nn.modules.loss.L1Loss:2"
    assert parse_loss(FocalLoss) == LossName("harmoseg.losses.regions.FocalLoss")
    assert parse_loss(LossName("focal", (("gamma", 3),))) == parse_loss("focal(gamma=3)")
    for loss in (lambda x, y: x - y, torch.nn.L1Loss()):
        with pytest.raises(HarmosegError, match="write it as a class or a function in a file"):
            parse_method({"model": "unet", "base": loss})


@pytest.mark.parametrize(
    ("given", "open_"),
    [
        ("unet", False),
        ("unet+scc", True),
        ("unet+scc:0.2", False),
        ("unet=a.b(x=c+d)+rings:1", False),
        ("unet+scc+rings", False),
        ({"model": "unet", "terms": ["scc"]}, True),
        ({"model": "unet", "terms": [{"loss": "scc", "weight": 0.2}]}, False),
        (parse_method("unet+scc"), False),
    ],
)
def test_a_weight_is_open_where_none_is_written(given, open_) -> None:
    assert takes_weight(given) is open_


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modle": "unet"}, "unknown key 'modle'; did you mean 'model'"),
        ({"base": "focal"}, "model is missing"),
        ({"model": "unet", "terms": [{"name": "scc"}]}, "terms: unknown key 'name'"),
        ({"model": "unet", "terms": [{"loss": "scc", "weight": 0}]}, "weight '0' must be a number"),
        ({"model": "unet", "base": {"loss": "focal", "options": [2]}}, "base: expected a loss as"),
        ({"model": "unet", "base": {"loss": "a.b", "options": {"x": "a, b"}}}, "option value"),
        ({"model": "unet", "base": {"loss": "a.b", "options": {"x": {"y": 1}}}}, "option value"),
        ({"model": "unet", "base": {"loss": "focl"}}, "unknown base 'focl'"),
        (7, "method 7 is not of the form"),
    ],
)
def test_mistakes_of_yaml_are_named(given, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        parse_method(given)
