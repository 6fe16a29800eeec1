"""Who is trained on and who is tested on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harmoseg import HarmosegError
from harmoseg.datasets.catalogue import load_card, load_split
from harmoseg.datasets.folder import SplitRule, split_cases

CASES = [f"p{patient}_{image}" for patient in range(20) for image in range(3)]


def test_a_draw_keeps_patients_on_one_side() -> None:
    rule = SplitRule(group_pattern=r"^(p\d+)_", test_fraction=0.2, val_fraction=0.1)
    split, groups = split_cases(CASES, rule)
    assert all(groups[case] == case.split("_")[0] for case in CASES)
    sides = {(groups[case], split[case]) for case in CASES}
    assert len(sides) == 20
    assert Counter(split.values()) == {"train": 42, "test": 12, "val": 6}


def test_a_draw_is_the_same_for_the_same_seed_in_any_order() -> None:
    one, _ = split_cases(CASES, SplitRule(split_seed=1))
    again, _ = split_cases(CASES[::-1], SplitRule(split_seed=1))
    other, _ = split_cases(CASES, SplitRule(split_seed=2))
    assert one == again
    assert one != other


def test_a_set_can_be_for_testing_only() -> None:
    split, _ = split_cases(CASES, SplitRule(test_fraction=1.0))
    assert set(split.values()) == {"test"}


def write(path: Path, text: str) -> SplitRule:
    path.write_text(text, encoding="utf-8")
    return SplitRule(split_file=path)


def test_a_list_is_followed(tmp_path) -> None:
    rule = write(tmp_path / "s.csv", "\ufeffcase,split,group\na,train,x\nb.png,test,y\n")
    assert split_cases(["a", "b"], rule) == ({"a": "train", "b": "test"}, {"a": "x", "b": "y"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,split\na,train\n", r"1 case\(s\) with files are not listed \(b\)"),
        ("case,split\na,train\nb,test\nc,test\n", r"1 listed case\(s\) have no files \(c\)"),
        ("case,split\na,train\nb,holdout\n", "'holdout'; expected one of train, val, test"),
        ("case,split\na,train\na,test\nb,test\n", "listed twice"),
        ("case,split,group\na,train,x\nb,test,x\n", "group 'x' is in both train and test"),
        ("split,case\ntrain,a\ntest\n", "line 3 lacks its case"),
        ("name,split\na,train\n", r"lacks the column\(s\) case"),
    ],
)
def test_a_list_that_does_not_fit_is_named(tmp_path, text, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        split_cases(["a", "b"], write(tmp_path / "s.csv", text))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (SplitRule(test_fraction=0.8, val_fraction=0.3), "1 at the most together"),
        (SplitRule(group_pattern="("), "not a regular expression"),
        (SplitRule(group_pattern="p"), "parentheses"),
        (SplitRule(group_pattern="(q)"), "does not match case"),
        (SplitRule(group_pattern="(p)"), "1 group"),
        (SplitRule(split_file=Path("absent.csv")), "no such file"),
    ],
)
def test_impossible_rules_are_named(rule, message) -> None:
    with pytest.raises(HarmosegError, match=message):
        split_cases(CASES, rule)


def test_kvasir_split_is_the_official_one() -> None:
    assert Counter(load_split("kvasir-seg").values()) == load_card("kvasir-seg").counts
