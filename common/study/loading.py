"""From a TOML file to a resolved study, remembering where each value came from."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from common.errors import InvalidValue, StudyFileMissing, StudySyntaxError, UnknownKey
from common.study.sections import Study
from common.study.strategies import STRATEGY_NAMES

_TAGS = {"rows", "patches", "slices", "frames", "views", "steps", *STRATEGY_NAMES}
Override = tuple[Any, str]  # value, and the option that gave it


@dataclass(frozen=True, slots=True)
class Setting:
    """One resolved value of a study: ``federation.rounds = 30`` and who said so."""

    key: str
    value: Any
    origin: str


def load_study(path: Path, overrides: Mapping[str, Override] | None = None) -> Study:
    """The study in a file, with options of the command line put over it.

    Args:
        path: TOML file.
        overrides: Dotted key, such as ``federation.rounds``, to value and the option's name.

    Raises:
        StudyError: The file is missing, not TOML, has an unknown key or a value out of bounds.
    """
    document = _read(path)
    for key, (value, _) in (overrides or {}).items():
        _put(document, key.split("."), value)
    return parse_study(document)


def parse_study(document: Mapping[str, Any]) -> Study:
    """The study that a parsed document describes.

    Raises:
        UnknownKey, InvalidValue: With every offending key, and the nearest right name.
    """
    try:
        return Study.model_validate(document)
    except ValidationError as invalid:
        details = invalid.errors(include_url=False)
        unknown = [d for d in details if d["type"] == "extra_forbidden"]
        if unknown:
            raise UnknownKey("\n".join(_unknown(d) for d in unknown)) from None
        raise InvalidValue("\n".join(_invalid(d) for d in details)) from None


def settings(study: Study, path: Path, overrides: Mapping[str, Override] | None = None) -> list[Setting]:
    """Every value of a resolved study with its origin: an option, the file, or the default."""
    document = _read(path)
    options = {key: option for key, (_, option) in (overrides or {}).items()}
    return [
        Setting(
            ".".join(keys),
            value,
            options.get(".".join(keys)) or (path.name if _given(document, keys) else "default"),
        )
        for keys, value in _leaves(study)
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyFileMissing(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudySyntaxError(f"{path}: {error}") from None


def _put(document: dict[str, Any], keys: list[str], value: Any) -> None:
    table = document
    for key in keys[:-1]:
        inner = table.setdefault(key, {})
        if isinstance(inner, str):  # strategy = "fedavg" says strategy.name
            inner = table[key] = {"name": inner}
        if not isinstance(inner, dict):  # no table: reading the document will say so
            return
        table = inner
    table[keys[-1]] = value


def _given(document: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    value: Any = document
    for part in keys:
        if isinstance(value, str):  # strategy = "fedavg" says strategy.name
            return part == "name"
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _leaves(model: BaseModel, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*prefix, name))
        elif isinstance(value, dict):
            for key, item in value.items():
                where = (*prefix, name, key)
                yield from _leaves(item, where) if isinstance(item, BaseModel) else [(where, item)]
        else:
            yield (*prefix, name), value


def _unknown(detail: ErrorDetails) -> str:
    *parents, key = detail["loc"]
    known = _known_keys(parents)
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {_dotted(detail['loc'])}: {advice}"


def _known_keys(parents: list[int | str]) -> list[str]:
    """Field names of the table at ``parents``, where a union's member is named by its tag."""
    tables: list[type[BaseModel]] = [Study]
    for name in parents:
        fields = {key: field for table in tables for key, field in table.model_fields.items()}
        if name in fields:
            annotation = fields[str(name)].annotation
            tables = [m for m in get_args(annotation) or (annotation,) if hasattr(m, "model_fields")]
        else:
            named = [table for table in tables if name in [f.default for f in table.model_fields.values()]]
            tables = named or tables  # the key of a table of tables is any text
    return list(dict.fromkeys(key for table in tables for key in table.model_fields))


def _invalid(detail: ErrorDetails) -> str:
    where = _dotted(detail["loc"]) or "study file"
    message = detail["msg"].removeprefix("Value error, ")
    given = detail["input"]
    return f"{where}: {message}" + ("" if isinstance(given, Mapping) else f" (given: {given!r})")


def _dotted(loc: tuple[int | str, ...]) -> str:
    """The key as the file has it: pydantic puts the tag of a union's member between."""
    return ".".join(
        str(part)
        for before, part in zip((None, *loc), loc, strict=False)
        if not (before in ("sequence", "strategy") and part in _TAGS)
    )
