"""Read a recipe: datasets x methods x weights x seeds x conditions in one YAML file."""

from __future__ import annotations

import difflib
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args

import jsonargparse

from harmoseg.errors import HarmosegError
from harmoseg.files import read_yaml
from harmoseg.losses.method import DEFAULT_CONTROLS, Controls, parse_method, takes_weight
from harmoseg.store.layout import SPLITS, Split
from harmoseg.study.plan import DatasetPlan, StudyPlan
from harmoseg.training.options import TrainingOptions

TABLES = tuple(f"table{number}" for number in range(1, 7))
_OF_BOTH = ("methods", "lambdas", "controls", "conditions", "training")
_OF_STUDY = ("title", "table", "seeds", "margin", "datasets", *_OF_BOTH)
_OF_DATASET = ("store", "also", "split", "leave_centre_out", *_OF_BOTH)
_STORE_NAME = re.compile(r"[^/\\]+")


def read_recipe(file: Path, stores: Path) -> StudyPlan:
    """Read a recipe, which names the stores that lie in the folder `stores`.

    A method is a text or a mapping, see `parse_method`. A dataset may have its own ``methods``,
    ``lambdas``, ``controls`` and ``conditions`` in place of the study's; its ``training`` options
    are laid over the study's. With ``lambdas``, every method whose term has no weight of its own is
    run with each of them.

    Raises HarmosegError naming the file, the key, what was found and what is expected.
    """
    values = read_yaml(file, what=f"a recipe with the keys {', '.join(_OF_STUDY)}")
    where = str(file)
    _check_keys(values, _OF_STUDY, where)
    datasets = _sequence(values.get("datasets"), f"{where}: datasets", of=Mapping)
    if not datasets:
        raise HarmosegError(f"{where}: datasets: none given; name one store or more")
    table = values.get("table")
    if table is not None:
        _choice(table, TABLES, f"{where}: table")
    seeds = values.get("seeds", 3)
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        raise HarmosegError(f"{where}: seeds: expected a whole number, got {seeds!r}")
    margin = values.get("margin")
    if margin is not None and (not isinstance(margin, int | float) or isinstance(margin, bool)):
        raise HarmosegError(f"{where}: margin: expected a number of points, got {margin!r}")
    shared = {key: values[key] for key in _OF_BOTH if key in values}
    plans = tuple(
        _dataset(shared, entry, number, file, stores) for number, entry in enumerate(datasets, 1)
    )
    _check_lambdas(shared, datasets, file)
    return StudyPlan(
        datasets=plans,
        seeds=seeds,
        title=str(values.get("title") or ""),
        table=table,
        margin=margin,
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
    study: Mapping[str, Any], entry: Mapping[str, Any], number: int, file: Path, stores: Path
) -> DatasetPlan:
    where = f"{file}: dataset {number}"
    _check_keys(entry, _OF_DATASET, where)
    if "store" not in entry:
        raise HarmosegError(f"{where}: store: missing; name a store in {stores}")
    where = f"{file}: dataset {entry['store']!r}"
    values = {**study, **entry}
    methods = _methods(values.get("methods"), f"{where}: methods")
    if not methods:
        raise HarmosegError(f"{where}: methods: none given, neither here nor for the study")
    training = {
        **_mapping(study.get("training"), f"{file}: training"),
        **_mapping(entry.get("training"), f"{where}: training"),
    }
    return DatasetPlan(
        store=_store(entry["store"], stores, f"{where}: store"),
        methods=_with_weights(methods, values.get("lambdas"), f"{where}: lambdas"),
        options=_options(training, f"{where}: training"),
        also=tuple(
            _store(name, stores, f"{where}: also")
            for name in _texts(entry.get("also", []), f"{where}: also")
        ),
        split=cast(Split, _choice(entry.get("split", "test"), SPLITS, f"{where}: split")),
        conditions=_texts(values.get("conditions", []), f"{where}: conditions"),
        leave_centre_out=_flag(entry.get("leave_centre_out", False), f"{where}: leave_centre_out"),
        controls=cast(
            Controls,
            _choice(
                values.get("controls", DEFAULT_CONTROLS), get_args(Controls), f"{where}: controls"
            ),
        ),
    )


def _methods(value: Any, where: str) -> Sequence[str | Mapping[str, Any]]:
    """Return methods, as texts or as mappings."""
    found: Sequence[str | Mapping[str, Any]] = _sequence(value, where, of=str | Mapping)
    for method in found:
        try:
            parse_method(method)
        except HarmosegError as error:
            raise HarmosegError(f"{where}: {error}") from error
    return found


def _with_weights(
    methods: Sequence[str | Mapping[str, Any]], lambdas: Any, where: str
) -> tuple[str, ...]:
    if lambdas is None:
        return tuple(str(parse_method(method)) for method in methods)
    weights = _sequence(lambdas, where, of=(int, float))
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
            for method in _methods({**study, **entry}.get("methods"), f"{file}: methods")
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
    """Take a folder's name, and nothing that leads elsewhere."""
    if not isinstance(name, str) or not _STORE_NAME.fullmatch(name) or name in (".", ".."):
        raise HarmosegError(
            f"{where}: expected the name of a folder in {stores}, got {name!r}; say with --stores "
            "where that lies"
        )
    return stores / name


def _check_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise HarmosegError(
                f"{where}: unknown key {key!r}; did you mean {nearest!r}? "
                f"(expected {', '.join(known)})"
            )


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise HarmosegError(f"{where}: expected true or false, got {value!r}")
    return value


def _choice(value: Any, choices: Sequence[str], where: str) -> str:
    if value not in choices:
        raise HarmosegError(f"{where}: expected one of {', '.join(choices)}, got {value!r}")
    return str(value)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise HarmosegError(f"{where}: expected options with their values, got {value!r}")
    return value


def _sequence(value: Any, where: str, *, of: Any) -> Sequence[Any]:
    if value is None:
        return []
    value = [value] if isinstance(value, of) else value  # one of a list stands for a list of one
    if not isinstance(value, list) or not all(isinstance(item, of) for item in value):
        raise HarmosegError(f"{where}: expected a list, got {value!r}")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_sequence(value, where, of=str))
