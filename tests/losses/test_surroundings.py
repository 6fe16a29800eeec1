"""The loss where people use it: autocast, compile, torch.func, subclasses, several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from harmoseg import DeepSupervisionLoss, HarmonizedLoss

MODES = ["binary", "multiclass", "multilabel"]


def batch(mode: str, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    channels = 1 if mode == "binary" else 3
    logits = torch.randn(count, channels, 12, 10)
    if mode == "multiclass":
        return logits, torch.randint(0, 3, (count, 12, 10))
    return logits, (torch.rand(count, channels, 12, 10) > 0.5).float()


def value_and_gradient(loss, logits, target) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("mode", MODES)
def test_float32_equals_float64(mode) -> None:
    logits, target = batch(mode)
    for bands in (None, "rings"):
        loss = HarmonizedLoss(mode, bands=bands)
        single, double = (value_and_gradient(loss, x, target) for x in (logits, logits.double()))
        # Sums of up to 720 terms, by halves: 10 roundings of 6e-8, and some of the terms' own.
        torch.testing.assert_close(single[0].double(), double[0], rtol=1e-5, atol=0)
        torch.testing.assert_close(single[1].double(), double[1], rtol=1e-4, atol=1e-8)


without_vectors = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="PyTorch's compiler writes vector code, which its headers lack at this capability",
)


# FFTs are not fused: the compiler leaves complex numbers to the library that eager mode calls too.
@pytest.mark.filterwarnings("ignore:.*code generation for complex operators:UserWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bands", [None, "rings"])
@without_vectors
def test_compiled_without_a_break_equals_eager(mode, bands) -> None:
    torch.compiler.reset()
    logits, target = batch(mode)
    loss = HarmonizedLoss(mode, bands=bands, ignore_index=None if mode == "binary" else 2)
    eager = value_and_gradient(loss, logits, target)
    compiled = value_and_gradient(torch.compile(loss, fullgraph=True), logits, target)
    # The compiler sums in another order: up to 720 float32 terms, 27 roundings of 6e-8 at random.
    torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*code generation for complex operators:UserWarning")
@without_vectors
def test_compiled_takes_another_size() -> None:
    torch.compiler.reset()
    for bands in (None, "rings"):
        loss = HarmonizedLoss("binary", bands=bands)
        compiled = torch.compile(loss, fullgraph=True)
        for size in (8, 12, 9):
            logits, target = torch.randn(2, 1, size, size), torch.zeros(2, 1, size, size)
            torch.testing.assert_close(compiled(logits, target), loss(logits, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bands", [None, "rings"])
def test_autocast_does_not_reach_the_sums(dtype, bands) -> None:
    for mode in MODES:
        logits, target = batch(mode)
        loss = HarmonizedLoss(mode, bands=bands)
        with torch.autocast("cpu", dtype):
            inside = value_and_gradient(loss, logits, target)
        outside = value_and_gradient(loss, logits, target)
        # Exactly: the same operations in float32.
        assert torch.equal(inside[0], outside[0]) and torch.equal(inside[1], outside[1])


# PyTorch has no batching rule for the in-place operations that keep memory low, and says it loops.
@pytest.mark.filterwarnings("ignore:.*performance drop.*batching rule:UserWarning")
def test_function_transforms() -> None:
    logits, target = batch("binary")
    for bands in (None, "rings"):
        loss = HarmonizedLoss("binary", bands=bands)
        expected = value_and_gradient(loss, logits, target)[1]
        torch.testing.assert_close(torch.func.grad(loss)(logits, target), expected)
        stacked = torch.func.vmap(torch.func.grad(loss))(
            torch.stack([logits, 2 * logits]), torch.stack([target, target])
        )
        torch.testing.assert_close(stacked[0], expected)


# As in the test above.
@pytest.mark.filterwarnings("ignore:.*performance drop.*batching rule:UserWarning")
def test_tensors_without_values_pass_from_the_first_call() -> None:
    logits, target = batch("binary")
    expected = value_and_gradient(HarmonizedLoss("binary"), logits, target)[1]
    mapped = torch.func.vmap(torch.func.grad(HarmonizedLoss("binary")))(logits[None], target[None])
    torch.testing.assert_close(mapped[0], expected)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(tensor) for tensor in (logits, target)]
        assert HarmonizedLoss("binary")(*fake).shape == ()
    assert HarmonizedLoss("binary")(logits.to("meta"), target.to("meta")).is_meta


def test_a_second_derivative_is_refused_in_words() -> None:
    logits, target = batch("binary")
    leaf = logits.requires_grad_()
    (gradient,) = torch.autograd.grad(
        HarmonizedLoss("binary")(leaf, target), leaf, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_subclasses_lose_their_metadata_and_nothing_else() -> None:
    monai = pytest.importorskip("monai.data")
    logits, target = batch("multiclass")
    expected = HarmonizedLoss("multiclass")(logits, target)
    found = HarmonizedLoss("multiclass")(monai.MetaTensor(logits), monai.MetaTensor(target))
    assert type(found) is torch.Tensor and found.item() == expected.item()


@pytest.mark.parametrize("bands", [None, "rings"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 7), (224, 1)])
def test_sizes_that_are_no_powers_of_two(bands, size) -> None:
    logits = torch.randn(1, 1, *size, requires_grad=True)
    for target in (torch.zeros(1, *size), torch.ones(1, *size)):
        value = HarmonizedLoss("binary", bands=bands)(logits, target)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("bands", [None, "rings"])
@pytest.mark.parametrize("extreme", [80.0, 1e4, 1e38, 3.4e38])
def test_extreme_logits_stay_finite(bands, extreme) -> None:
    for mode in MODES:
        logits, target = batch(mode)
        leaf = (extreme * logits.sign()).requires_grad_()
        value = HarmonizedLoss(mode, bands=bands)(leaf, target)
        value.backward()
        assert not value.isnan() and leaf.grad.isfinite().all()
        if extreme < 1e6:
            assert value.isfinite()


def test_deep_supervision_is_the_weighted_mean() -> None:
    logits, target = batch("multiclass")
    coarse = torch.nn.functional.avg_pool2d(logits, 2)
    loss = HarmonizedLoss("multiclass")
    shrunk = target[:, 1::2, 1::2]
    expected = (loss(logits, target) + 0.5 * loss(coarse, shrunk)) / 1.5
    found = DeepSupervisionLoss(loss)([logits, coarse], [target, shrunk])
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    resized = DeepSupervisionLoss(loss)([logits, coarse], target)
    assert resized.isfinite()
    assert DeepSupervisionLoss(loss)(logits, target).item() == pytest.approx(
        loss(logits, target).item()
    )
    only_first = DeepSupervisionLoss(loss, weights=[1.0, 0.0])([logits, coarse], target)
    assert only_first.item() == pytest.approx(loss(logits, target).item())


def test_deep_supervision_takes_a_loss_for_every_depth() -> None:
    logits, target = batch("multiclass")
    coarse = torch.nn.functional.avg_pool2d(logits, 2)
    losses = [HarmonizedLoss("multiclass", spectral_weight=weight) for weight in (0.2, 0.7)]
    targets = [target, target[:, 1::2, 1::2]]
    expected = losses[0](logits, target) * 2 / 3 + losses[1](coarse, targets[1]) / 3
    found = DeepSupervisionLoss(losses)([logits, coarse], targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_deep_supervision_shrinks_the_target_to_classes_that_are_there() -> None:
    target = torch.tensor([0, 7])[torch.randint(0, 2, (1, 8, 8))]
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, logits, truth) -> torch.Tensor:
            seen.append(truth)
            return logits.sum()

    DeepSupervisionLoss(Spy())([torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 4, 4)], target)
    assert seen[1].shape == (1, 4, 4) and set(seen[1].unique().tolist()) <= {0, 7}
    assert seen[1].dtype == torch.long


def test_deep_supervision_names_what_does_not_fit() -> None:
    logits, target = batch("binary")
    loss = DeepSupervisionLoss(HarmonizedLoss("binary"), weights=[1.0, 0.5])
    with pytest.raises(ValueError, match=r"1 output\(s\), 1 target\(s\) and 2 weight\(s\)"):
        loss([logits], target)
    each = DeepSupervisionLoss([HarmonizedLoss("binary"), HarmonizedLoss("binary")])
    with pytest.raises(ValueError, match=r"1 output\(s\) and 2 loss\(es\)"):
        each([logits], target)
    with pytest.raises(ValueError, match="not all 0"):
        DeepSupervisionLoss(HarmonizedLoss("binary"), weights=[0.0])


def train_one_step(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    images, target = torch.randn(4, 2, 6, 5), torch.randint(0, 3, (4, 6, 5))
    target[0, 0] = 255
    network = torch.nn.Conv2d(2, 3, 1)
    parallel = torch.nn.parallel.DistributedDataParallel(network)
    half = slice(2 * rank, 2 * rank + 2)
    for bands in (None, "rings"):
        loss = HarmonizedLoss("multiclass", ignore_index=255, bands=bands, across_ranks=True)
        parallel.zero_grad()
        value = loss(parallel(images[half]), target[half])
        value.backward()
        if rank == 0:
            gradient = network.weight.grad.clone()
            alone = HarmonizedLoss("multiclass", ignore_index=255, bands=bands)
            reference = torch.nn.Conv2d(2, 3, 1)
            reference.load_state_dict(network.state_dict())
            expected = alone(reference(images), target)
            expected.backward()
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
            torch.testing.assert_close(gradient, reference.weight.grad, rtol=1e-4, atol=1e-7)
            Path(folder, f"compared-{bands}").touch()
    # Both are done before either tears down its connections, and the gradients' machinery goes
    # first: a process whose peer is gone may otherwise die in a thread of the library's.
    del parallel, value
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_see_the_loss_of_the_global_batch(tmp_path, in_two_processes) -> None:
    in_two_processes(train_one_step, str(tmp_path))
    assert (tmp_path / "compared-None").exists() and (tmp_path / "compared-rings").exists()


@pytest.mark.parametrize("bands", [None, "rings"])
def test_large_masks_are_summed_as_precisely_as_small_ones(bands) -> None:
    # No multiple of the block that classes are summed in.
    logits, target = 3 * torch.randn(1, 3, 1021, 1019), torch.randint(0, 3, (1, 1021, 1019))
    loss = HarmonizedLoss("multiclass", bands=bands)
    single, double = (value_and_gradient(loss, x, target) for x in (logits, logits.double()))
    torch.testing.assert_close(single[0].double(), double[0], rtol=1e-6, atol=0)
    assert (single[1] - double[1]).norm() < 1e-5 * double[1].norm()


def test_targets_take_no_gradient() -> None:
    logits, target = batch("binary")
    target.requires_grad_()
    for bands in (None, "rings"):
        HarmonizedLoss("binary", bands=bands)(logits.requires_grad_(), target).backward()
        assert target.grad is None


def test_labels_that_are_no_class_are_refused() -> None:
    logits, target = batch("multiclass")
    for bands in (None, "rings"):
        with pytest.raises(ValueError, match="takes 0 to 2"):
            HarmonizedLoss("multiclass", bands=bands)(logits, target + 1)


def test_small_integer_targets_do_not_wrap_around() -> None:
    logits, _ = batch("multiclass")
    target = torch.full((2, 12, 10), 2, dtype=torch.uint8)
    for ignore_index in (-254, 258):
        loss = HarmonizedLoss("multiclass", ignore_index=ignore_index)
        expected = HarmonizedLoss("multiclass")(logits, target.long())
        assert loss(logits, target).item() == expected.item()


def test_sums_across_ranks_need_the_batch_reduction() -> None:
    with pytest.raises(ValueError, match="across_ranks needs reduction"):
        HarmonizedLoss("binary", reduction="sample", across_ranks=True)
