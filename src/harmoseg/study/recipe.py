"""Read a recipe: datasets x methods x weights x seeds x conditions in one YAML file."""

from __future__ import annotations

import difflib
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import jsonargparse

from harmoseg.errors import HarmosegError
from harmoseg.files import read_yaml
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls, parse_method, takes_weight
from harmoseg.store.layout import SPLITS
from harmoseg.study.options import DatasetPlan, StudyPlan
from harmoseg.training.options import TrainingOptions

TABLES = tuple(f"table{number}" for number in range(1, 7))
_OF_BOTH = ("methods", "lambdas", "controls", "conditions", "training")
_OF_STUDY = ("title", "table", "seeds", "margin", "datasets", *_OF_BOTH)
_OF_DATASET = ("store", "also", "split", "leave_centre_out", *_OF_BOTH)
_STORE_NAME = re.compile(r"[^/\\]+")

_LISTS: dict[str, Any] = {
    "datasets": Mapping,
    "methods": str | Mapping,
    "lambdas": int | float,
    "also": str,
    "conditions": str,
}
"""Kinds of the items of lists; one item stands for a list of one."""
_TYPES: dict[str, tuple[Any, str]] = {
    "seeds": (int, "a whole number"),
    "margin": (int | float, "a number of points"),
    "leave_centre_out": (bool, "true or false"),
    "training": (Mapping, "options with their values"),
}
_CHOICES = {"table": TABLES, "split": SPLITS, "controls": get_args(Controls)}
_MAY_BE_EMPTY = ("title", "table", "margin", "training", "lambdas")


def read_recipe(file: Path, stores: Path) -> StudyPlan:
    """Read a recipe, which names the stores that lie in the folder `stores`.

    A method is a text or a mapping, see `parse_method`. A dataset may have its own ``methods``,
    ``lambdas``, ``controls`` and ``conditions`` in place of the study's; its ``training`` options
    are laid over the study's. With ``lambdas``, every method whose term has no weight of its own is
    run with each of them.

    Raises HarmosegError naming the file, the key, what was found and what is expected.
    """
    values = read_yaml(file, what=f"a recipe with the keys {', '.join(_OF_STUDY)}")
    values = _checked(values, _OF_STUDY, str(file))
    if not values.get("datasets"):
        raise HarmosegError(f"{file}: datasets: none given; name one store or more")
    shared = {key: values[key] for key in _OF_BOTH if key in values}
    entries = [
        _checked(entry, _OF_DATASET, f"{file}: dataset {number}")
        for number, entry in enumerate(values["datasets"], 1)
    ]
    plans = tuple(_dataset(shared, *item, file, stores) for item in enumerate(entries, 1))
    _check_lambdas(shared, entries, file)
    return StudyPlan(
        datasets=plans,
        seeds=values.get("seeds", 3),
        title=str(values.get("title") or ""),
        table=values.get("table"),
        margin=values.get("margin"),
    )


def with_options(
    plan: StudyPlan,
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    weights: str | None = None,
    no_contract: bool = False,
) -> StudyPlan:
    """Set what was said beside the recipe, for all its datasets."""
    datasets = plan.datasets
    changes: dict[str, Any] = {} if weights is None else {"weights": weights}
    if no_contract:
        changes["no_contract"] = True
    if changes:
        datasets = tuple(
            replace(dataset, options=replace(dataset.options, **changes)) for dataset in datasets
        )
    count = plan.seeds if seeds is None else seeds
    return replace(plan, datasets=datasets, seeds=count, first_seed=first_seed)


def _dataset(
    study: Mapping[str, Any], number: int, entry: Mapping[str, Any], file: Path, stores: Path
) -> DatasetPlan:
    if "store" not in entry:
        raise HarmosegError(f"{file}: dataset {number}: store: missing; name a store in {stores}")
    where = f"{file}: dataset {entry['store']!r}"
    values = {**study, **entry}
    methods = _methods(values, f"{where}: methods")
    if not methods:
        raise HarmosegError(f"{where}: methods: none given, neither here nor for the study")
    training = {**(study.get("training") or {}), **(entry.get("training") or {})}
    return DatasetPlan(
        store=_store(entry["store"], stores, f"{where}: store"),
        methods=_with_weights(methods, values.get("lambdas"), f"{where}: lambdas"),
        options=_options(training, f"{where}: training"),
        also=tuple(_store(name, stores, f"{where}: also") for name in entry.get("also", [])),
        split=entry.get("split", "test"),
        conditions=tuple(values.get("conditions", [])),
        controls=values.get("controls", DEFAULT_CONTROLS),
        leave_centre_out=entry.get("leave_centre_out", False),
    )


def _methods(values: Mapping[str, Any], where: str) -> Sequence[str | Mapping[str, Any]]:
    """Return the methods of a recipe, as texts or as mappings, that can be read."""
    found: Sequence[str | Mapping[str, Any]] = values.get("methods", [])
    for method in found:
        try:
            parse_method(method)
        except HarmosegError as error:
            raise HarmosegError(f"{where}: {error}") from error
    return found


def _with_weights(
    methods: Sequence[str | Mapping[str, Any]], weights: Sequence[float] | None, where: str
) -> tuple[str, ...]:
    if weights is None:
        return tuple(str(parse_method(method)) for method in methods)
    if not weights:
        raise HarmosegError(f"{where}: none given; leave it out, or name one weight or more")
    found: list[str] = []
    for given in methods:
        method = parse_method(given)
        if not takes_weight(given):
            found.append(str(method))
            continue
        # Spelled and read again: so a weight that cannot be is refused as in any method.
        head = f"{method.stem}+{method.term}"
        tail = "" if method.reduction == "batch" else f"@{method.reduction}"
        found += [str(parse_method(f"{head}:{weight}{tail}")) for weight in weights]
    return tuple(found)


def _check_lambdas(
    study: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]], file: Path
) -> None:
    """Raise HarmosegError for weights that no method takes: a sweep without them is none."""
    groups = [(f"{file}: lambdas", study, [entry for entry in datasets if "lambdas" not in entry])]
    groups += [
        (f"{file}: dataset {entry['store']!r}: lambdas", entry, [entry]) for entry in datasets
    ]
    for where, owner, entries in groups:
        methods = [
            method
            for entry in entries
            for method in _methods({**study, **entry}, f"{file}: methods")
        ]
        if "lambdas" in owner and not any(map(takes_weight, methods)):
            told = ", ".join(dict.fromkeys(str(parse_method(method)) for method in methods))
            raise HarmosegError(
                f"{where}: no method takes them (found {told}); leave "
                "them out, or add a term without a weight of its own, such as unet+scc"
            )


def _options(values: Mapping[str, Any], where: str) -> TrainingOptions:
    _check_keys(values, [field.name for field in fields(TrainingOptions)], where)
    for field in fields(TrainingOptions):
        if field.default is not None and values.get(field.name, field.default) is None:
            raise HarmosegError(f"{where}: {field.name}: has no value")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TrainingOptions, None)
    try:
        found = parser.parse_object(dict(values)).as_dict()
    except ArgumentError as error:
        lines = " ".join(str(error).split())
        raise HarmosegError(f"{where}: {lines}") from error
    try:
        return TrainingOptions(**found)
    except HarmosegError as error:
        raise HarmosegError(f"{where}: {error}") from error


def _store(name: Any, stores: Path, where: str) -> Path:
    """Return the place of a store, by the name of its folder and nothing that leads elsewhere."""
    if not isinstance(name, str) or not _STORE_NAME.fullmatch(name) or name in (".", ".."):
        raise HarmosegError(
            f"{where}: expected the name of a folder in {stores}, got {name!r}; say with --stores "
            "where that lies"
        )
    return stores / name


def _checked(values: Mapping[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """Return the values of a recipe, every list as a list.

    Raises HarmosegError for an unknown key, and for a value of another kind than its key takes.
    """
    _check_keys(values, known, where)
    found = dict(values)
    for key, value in values.items():
        fits, expected = True, ""
        if value is None and key in _MAY_BE_EMPTY:
            continue
        if key in _LISTS:
            kind = _LISTS[key]
            found[key] = value = (
                [value] if isinstance(value, kind) else [] if value is None else value
            )
            fits = isinstance(value, list) and all(isinstance(item, kind) for item in value)
            expected = "a list"
        elif key in _TYPES:
            kind, expected = _TYPES[key]
            fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        elif key in _CHOICES:
            fits, expected = value in _CHOICES[key], f"one of {', '.join(_CHOICES[key])}"
        if not fits:
            raise HarmosegError(f"{where}: {key}: expected {expected}, got {value!r}")
    return found


def _check_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise HarmosegError(
                f"{where}: unknown key {key!r}; did you mean {nearest!r}? "
                f"(expected {', '.join(known)})"
            )
