"""The nnU-Net trainers: their loss, and how nnU-Net finds them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
import torch

from harmoseg import DeepSupervisionLoss, HarmonizedLoss
from harmoseg.integrations.nnunet import trainer_folder
from harmoseg.integrations.nnunet.loss import NNUNetSettings, make_loss, supervision_weights

SCALES = ((1.0, 1.0), (0.5, 0.5), (0.25, 0.25))
FLAT = NNUNetSettings(
    regions=False, ignore_label=None, batch_dice=True, spacing=(1.5, 1.5), scales=SCALES
)
DEEP = replace(
    FLAT, spacing=(5.0, 1.0, 1.0), scales=((1.0, 1.0, 1.0), (1.0, 0.5, 0.5), (0.5, 0.25, 0.25))
)


def lists(settings: NNUNetSettings, classes: int = 3) -> tuple[list, list]:
    """Make outputs and targets as nnU-Net hands them to a loss: finest first, int16 or bool."""
    generator = torch.Generator().manual_seed(0)
    sides = (8, 32, 32)[-len(settings.spacing) :]
    outputs, targets = [], []
    for scale in settings.scales or ((1.0,) * len(sides),):
        space = [round(side * part) for side, part in zip(sides, scale, strict=True)]
        outputs.append(torch.randn(2, classes, *space, generator=generator, requires_grad=True))
        if settings.regions:
            marked = settings.ignore_label is not None
            shape = (2, classes + marked, *space)
            targets.append(torch.rand(shape, generator=generator) > 0.6)
        else:
            top = classes + (settings.ignore_label is not None)
            targets.append(
                torch.randint(0, top, (2, 1, *space), generator=generator).to(torch.int16)
            )
    return outputs, targets


@pytest.mark.parametrize("settings", [FLAT, DEEP], ids=["2d", "3d"])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_labels_are_the_multiclass_loss_at_every_depth(settings, batch_dice) -> None:
    settings = replace(settings, batch_dice=batch_dice)
    outputs, targets = lists(settings)
    direct = DeepSupervisionLoss(
        HarmonizedLoss(
            "multiclass",
            include_background=False,
            reduction="batch" if batch_dice else "sample",
        ),
        weights=[2 / 3, 1 / 3, 0],  # 1, 1/2 and nothing, brought to a sum of 1
    )
    torch.testing.assert_close(make_loss(settings)(outputs, targets), direct(outputs, targets))


def test_regions_are_the_multilabel_loss() -> None:
    settings = replace(FLAT, regions=True)
    outputs, targets = lists(settings)
    direct = DeepSupervisionLoss(HarmonizedLoss("multilabel"), weights=[2 / 3, 1 / 3, 0])
    expected = direct(outputs, [target.float() for target in targets])
    torch.testing.assert_close(make_loss(settings)(outputs, targets), expected)


def test_rings_are_round_in_the_patient_at_every_depth() -> None:
    outputs, targets = lists(DEEP)
    each = [
        HarmonizedLoss("multiclass", include_background=False, bands="rings", spacing=spacing)
        for spacing in ((5, 1, 1), (5, 2, 2))
    ]
    expected = sum(
        weight * loss(output, target)
        for weight, loss, output, target in zip(
            (2 / 3, 1 / 3), each, outputs[:2], targets[:2], strict=True
        )
    )
    found = make_loss(DEEP, bands="rings")(outputs, targets)
    torch.testing.assert_close(found, expected)
    assert found.item() != pytest.approx(make_loss(DEEP)(outputs, targets).item(), abs=1e-4)


@pytest.mark.parametrize("regions", [False, True])
def test_what_is_ignored_touches_neither_value_nor_gradient(regions) -> None:
    settings = replace(FLAT, regions=regions, ignore_label=3)
    loss = make_loss(settings)
    outputs, targets = lists(settings)
    ignored = [t[:, -1:] if regions else t == 3 for t in targets]
    value = loss(outputs, targets)
    value.backward()
    for output, where in list(zip(outputs, ignored, strict=True))[:2]:
        spread = where.expand_as(output)
        assert where.any() and (output.grad[spread] == 0).all() and output.grad[~spread].any()
    changed = [
        torch.where(where, 9.0, output.detach())
        for output, where in zip(outputs, ignored, strict=True)
    ]
    torch.testing.assert_close(loss(changed, targets), value.detach())


def test_one_output_needs_no_list_and_one_depth_has_all_the_weight() -> None:
    settings = replace(FLAT, scales=None)
    outputs, targets = lists(settings)
    direct = HarmonizedLoss("multiclass", include_background=False)
    found = make_loss(settings)(outputs[0], targets[0])
    torch.testing.assert_close(found, direct(outputs[0], targets[0]))
    assert supervision_weights(1) == (1.0,)
    assert supervision_weights(4, 1e-6)[3] == pytest.approx(1e-6 / 1.750001)


def test_sums_run_over_processes_only_where_they_run_over_the_batch() -> None:
    for batch_dice in (True, False):
        settings = replace(FLAT, scales=None, batch_dice=batch_dice, distributed=True)
        assert make_loss(settings).spectral.averaging.across_ranks is batch_dice


def test_the_module_prints_the_folder_and_the_folder_holds_one_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harmoseg.integrations.nnunet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(trainer_folder())
    # nnU-Net imports every module of the folder: another would be imported too.
    assert [p.stem for p in trainer_folder().glob("[!_]*.py")] == ["harmoseg_trainers"]


# With nnU-Net itself.


@pytest.fixture
def nnunet(monkeypatch, tmp_path):
    """nnU-Net with the variables that it wants, told where our trainers lie."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(["", str(trainer_folder())]))
    with warnings.catch_warnings():
        # Remarks of nnU-Net's own dependencies while they are imported, nothing of ours.
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
            reason="needs nnU-Net: pip install 'harmoseg[nnunet]'",
        )


def plans(batch_dice: bool = True) -> dict:
    """Make the part of nnU-Net's plans that a trainer reads, of a small 2-D network."""
    stages = 4
    network = {
        "n_stages": stages,
        "features_per_stage": [4] * stages,
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * stages,
        "strides": [[1, 1], *[[2, 2]] * (stages - 1)],
        "n_conv_per_stage": [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "dataset_name": "Dataset999_Made",
        "plans_name": "nnUNetPlans",
        "continue_training": False,
        "label_manager": "LabelManager",
        "configurations": {
            "2d": {
                "data_identifier": "nnUNetPlans_2d",
                "batch_size": 2,
                "batch_dice": batch_dice,
                "patch_size": [32, 32],
                "spacing": [1.5, 1.5],
                "architecture": {
                    "network_class_name": (
                        "dynamic_network_architectures.architectures.unet.PlainConvUNet"
                    ),
                    "arch_kwargs": network,
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
        },
    }


def make_trainer(name: str, labels: dict, batch_dice: bool = True, **described):
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    found = recursive_find_trainer_class_by_name(name)
    dataset = {"channel_names": {"0": "MR"}, "labels": labels, "file_ending": ".png", **described}
    return found(plans(batch_dice), "2d", 0, dataset, torch.device("cpu"))


LABELS = {"background": 0, "a": 1, "b": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


@pytest.mark.parametrize(
    ("name", "bands", "epochs"),
    [
        ("nnUNetTrainerHarmonized", None, 1000),
        ("nnUNetTrainerHarmonizedRings", "rings", 1000),
        ("nnUNetTrainerHarmonized_5epochs", None, 5),
        ("nnUNetTrainerHarmonizedRings_5epochs", "rings", 5),
    ],
)
def test_nnunet_finds_the_trainers(nnunet, name, bands, epochs) -> None:
    trainer = make_trainer(name, LABELS)
    assert isinstance(trainer, nnunet.nnUNetTrainer)
    assert (trainer.bands, trainer.num_epochs) == (bands, epochs)
    assert trainer.my_init_kwargs["configuration"] == "2d"


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (LABELS, {}),
        ({**LABELS, "ignore": 3}, {}),
        (REGIONS, {"regions_class_order": [1, 2]}),
    ],
    ids=["labels", "ignore", "regions"],
)
def test_without_the_spectral_term_it_is_nnunets_own_loss_and_one(
    nnunet, labels, order, batch_dice
) -> None:
    trainer = make_trainer("nnUNetTrainerHarmonized", labels, batch_dice, **order)
    trainer.spectral_weight = 0.0
    outputs, targets = lists(
        replace(FLAT, regions=bool(order), ignore_label=3 if "ignore" in labels else None),
        classes=2 if order else 3,
    )
    own = nnunet.nnUNetTrainer._build_loss(trainer)(outputs, targets)
    # nnU-Net's Dice is -Dice, ours 1 - Dice; its Dice is smoothed by 1e-5.
    found = trainer._build_loss()(outputs, targets)
    torch.testing.assert_close(found, own + 1, rtol=0, atol=1e-5)


def test_ignored_regions_differ_from_nnunets_own_loss_by_its_sum_over_channels(nnunet) -> None:
    labels = {**REGIONS, "ignore": 3}
    trainer = make_trainer("nnUNetTrainerHarmonized", labels, regions_class_order=[1, 2])
    trainer.spectral_weight = 0.0
    trainer.enable_deep_supervision = False
    settings = replace(FLAT, regions=True, ignore_label=3, scales=None)
    (output,), (target,) = lists(settings, classes=2)
    own = nnunet.nnUNetTrainer._build_loss(trainer)(output, target)
    loss = trainer._build_loss()
    terms = loss.loss.terms(
        output, torch.where(target[:, -1:], -1.0, target[:, :-1].to(output.dtype))
    )
    # Where voxels are ignored, nnU-Net adds the BCE of the regions up; we take their mean.
    expected = 2 * terms["pixel"] + terms["dice"] - 1
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("nnunet")
def test_a_step_of_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    trainer = make_trainer("nnUNetTrainerHarmonizedRings", LABELS)
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 3, True
    )
    trainer.loss = trainer._build_loss()
    trainer.optimizer, _ = trainer.configure_optimizers()
    _, targets = lists(FLAT)
    batch = {"data": torch.randn(2, 1, 32, 32), "target": targets}
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(12)]
    assert losses[-1] < losses[0]
