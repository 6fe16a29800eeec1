"""A term that is an overlap loss is called so, whatever its name is."""

from __future__ import annotations

import pytest

from harmoseg.diagnostics.training_guard import describe_disguises


@pytest.mark.parametrize("mode", ["binary", "multiclass", "multilabel"])
def test_the_papers_term_is_an_overlap_term_and_rings_are_not(mode) -> None:
    found = describe_disguises(("unet", "unet+scc", "unet+rings:1", "unet+dice"), mode)
    assert len(found) == 1 and found[0].startswith(
        "100 % of the gradient of the term scc is explained"
    )


def test_one_sentence_for_a_term() -> None:
    found = describe_disguises(("unet+scc:1", "unet+scc@sample", "unet+tversky+midrings"), "binary")
    assert len(found) == 2 and "tversky" in found[1]
