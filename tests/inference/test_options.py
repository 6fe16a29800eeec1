"""Which arithmetic is chosen: by what the processor says of itself."""

from __future__ import annotations

import pytest
import torch

from harmoseg.inference import options


@pytest.mark.parametrize(
    ("flags", "units", "chosen"),
    [
        ("fpu avx2 avx512f avx512_bf16 amx_tile amx_bf16", ["AMX", "AVX512-bf16"], "bf16"),
        ("fpu avx2 avx512f avx512_bf16", ["AVX512-bf16"], "bf16"),
        ("fpu avx2 avx512f", [], "fp32"),
        (None, [], "fp32"),
    ],
)
def test_the_flags_of_the_processor_decide(tmp_path, monkeypatch, flags, units, chosen) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(options, "_CPUINFO", tmp_path / "cpuinfo")
    assert options.bfloat16_units() == units
    assert options.resolve_precision("auto", "cpu") == chosen
    assert options.resolve_precision("fp32", "cpu") == "fp32"


def test_the_flags_agree_with_pytorch() -> None:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.10 and later
    if "amx_bf16" not in capabilities:
        pytest.skip(f"PyTorch {torch.__version__} does not list the units of this processor")
    expected = {"AMX": capabilities["amx_bf16"], "AVX512-bf16": capabilities["avx512_bf16"]}
    assert options.bfloat16_units() == [name for name, present in expected.items() if present]
