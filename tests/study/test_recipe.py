"""Recipes: what they say, what the shipped ones say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harmoseg import HarmosegError
from harmoseg.losses.method import with_controls
from harmoseg.study.recipe import read_recipe, with_options

RECIPES = Path(__file__).parents[2] / "recipes"
STORES = Path("stores")
GOOD = {
    "title": "T",
    "table": "table3",
    "methods": ["unet", "unet+scc", "unet+rings:1@sample"],
    "seeds": 2,
    "conditions": ["gaussian"],
    "training": {"encoder": "resnet18", "epochs": 3},
    "datasets": [
        {"store": "a", "also": ["b"], "training": {"epochs": 5}},
        {"store": "c", "methods": ["unet"], "conditions": [], "split": "val", "controls": "none"},
    ],
}


def recipe(folder: Path, **changes: object) -> Path:
    file = folder / "recipe.yaml"
    values = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    file.write_text(yaml.safe_dump(values))
    return file


def test_a_dataset_lays_its_own_over_the_study(tmp_path) -> None:
    plan = read_recipe(recipe(tmp_path), STORES)
    first, second = plan.datasets
    assert (plan.title, plan.table, plan.seeds) == ("T", "table3", 2)
    assert (first.store, first.also) == (STORES / "a", (STORES / "b",))
    assert (first.options.epochs, first.options.encoder) == (5, "resnet18")
    assert (first.conditions, first.controls, first.split) == (("gaussian",), "all", "test")
    assert (second.options.epochs, second.methods, second.conditions) == (3, ("unet",), ())
    assert (second.split, second.controls) == ("val", "none")


def test_lambdas_are_for_terms_without_a_weight(tmp_path) -> None:
    changes = {"lambdas": [0.1, 0.2, 1], "methods": ["unet", "unet+scc@sample", "unet+rings:3"]}
    plan = read_recipe(recipe(tmp_path, **changes), STORES)
    assert plan.datasets[0].methods == (
        "unet",
        "unet+scc:0.1@sample",
        "unet+scc@sample",
        "unet+scc:1@sample",
        "unet+rings:3",
    )


def test_what_is_said_beside_the_recipe_wins(tmp_path) -> None:
    plan = with_options(read_recipe(recipe(tmp_path), STORES), seeds=7, weights="w.safetensors")
    assert plan.seeds == 7
    assert {dataset.options.weights for dataset in plan.datasets} == {"w.safetensors"}
    assert [dataset.options.epochs for dataset in plan.datasets] == [5, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": ["unet"]}, "unknown key 'method'; did you mean 'methods'"),
        ({"datasets": []}, "datasets: none given"),
        ({"datasets": [{"store": "a", "test": 1}]}, "dataset 1: unknown key 'test'"),
        ({"datasets": [{"also": ["a"]}]}, "dataset 1: store: missing"),
        ({"datasets": [{"store": "../a"}]}, "expected the name of a folder in stores, got '../a'"),
        ({"datasets": [{"store": ".."}]}, "expected the name of a folder in stores, got '..'"),
        ({"datasets": [{"store": "a", "also": ["/etc"]}]}, "also: expected the name of a folder"),
        ({"datasets": [{"store": "a", "split": "tst"}]}, "split: expected one of train, val, test"),
        ({"methods": None}, "dataset 'a': methods: none given"),
        ({"methods": 7}, "methods: expected a list, got 7"),
        ({"training": {"epoch": 3}}, "unknown key 'epoch'; did you mean 'epochs'"),
        ({"training": {"epochs": "many"}}, "training: .*epochs"),
        ({"training": {"epochs": None}}, "training: epochs: has no value"),
        ({"training": {"batch_size": 1}}, "training: batch_size must be 2 or more"),
        ({"training": 3}, "training: expected options with their values, got 3"),
        ({"seeds": "three"}, "seeds: expected a whole number, got 'three'"),
        ({"table": "table7"}, "table: expected one of table1, .*got 'table7'"),
        ({"controls": "some"}, "controls: expected one of none, reduction, all"),
        ({"lambdas": ["much"]}, "lambdas: expected a list"),
        ({"lambdas": []}, "lambdas: none given"),
        ({"lambdas": [-1], "methods": ["unet+scc"]}, "weight '-1' must be a number above 0"),
        ({"lambdas": [0.1], "methods": ["unet", "unet+scc:1"]}, "no method takes them .found unet"),
        (
            {"datasets": [{"store": "a", "lambdas": [0.1], "methods": ["unet"]}]},
            "dataset 'a': lambdas: no method takes them",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, changes, message) -> None:
    file = recipe(tmp_path, **changes)
    with pytest.raises(HarmosegError, match=message) as told:
        read_recipe(file, STORES)
    assert "lambdas" in changes or "recipe.yaml" in str(told.value)


def test_files_that_are_no_recipe_are_told(tmp_path) -> None:
    file = tmp_path / "recipe.yaml"
    for text, message in (
        (": [", "not YAML"),
        ("- 1", "expected a recipe"),
        ("", "empty; expected a"),
    ):
        file.write_text(text)
        with pytest.raises(HarmosegError, match=message):
            read_recipe(file, STORES)
    with pytest.raises(HarmosegError, match="no such file"):
        read_recipe(tmp_path / "absent.yaml", STORES)
    # Tags that make objects are no data.
    file.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(HarmosegError, match="not YAML"):
        read_recipe(file, STORES)


@pytest.mark.parametrize("number", range(1, 7))
def test_every_table_has_its_recipe_and_its_pilot(number) -> None:
    for name in (f"table{number}", f"pilot-table{number}"):
        file = RECIPES / f"{name}.yaml"
        plan = read_recipe(file, STORES)
        assert plan.table == f"table{number}" and plan.seeds == 3
        command = file.read_text().partition("\n")[0]
        assert command.startswith(f"# harmoseg study recipes/{name}.yaml")
        for dataset in plan.datasets:
            methods = with_controls(dataset.methods, dataset.controls)
            terms = [method for method in dataset.methods if "+" in method]
            assert terms and all(
                method.partition("+")[0] in {known.partition("@")[0] for known in methods}
                for method in terms
            )
            assert "unet" in methods
    full = read_recipe(RECIPES / f"table{number}.yaml", STORES)
    assert {dataset.options.encoder for dataset in full.datasets} == {"resnet50"}


def test_one_method_stands_for_a_list_and_weights_may_have_an_exponent(tmp_path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("methods: unet+scc\nlambdas: [1e-1]\ndatasets:\n  - store: a\n")
    (dataset,) = read_recipe(file, tmp_path).datasets
    assert dataset.methods == ("unet+scc:0.1",)


def test_a_recipe_spells_losses_as_yaml(tmp_path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        """
        lambdas: [0.5, 1]
        methods:
          - unet
          - {model: unet, terms: [rings]}
          - model: unet
            base: {loss: tversky, options: {alpha: 0.3, beta: 0.7}}
            terms: [{loss: boundary, weight: 0.2}]
        datasets: [{store: a}]
        """
    )
    assert read_recipe(file, tmp_path).datasets[0].methods == (
        "unet",
        "unet+rings:0.5",
        "unet+rings:1",
        "unet=tversky(alpha=0.3,beta=0.7)+boundary",
    )
    file.write_text("methods: [{model: unt}]\ndatasets: [{store: a}]\n")
    with pytest.raises(HarmosegError, match="dataset 'a': methods: .*did you mean 'unet'"):
        read_recipe(file, tmp_path)
