"""What do the YAML packs say? Text in, checked rules out; every error at once, with its place.

``python -m watcher.rules > watcher/rules.schema.json`` writes the schema that editors use.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)

from watcher.detectors import Detector, detectors
from watcher.errors import InvalidInput, Problem
from watcher.expr import ExprError, compile_expr
from watcher.model import Hold, Role, Rule, Selector, Severity
from watcher.packtest import PackTest, Seconds
from watcher.places import Places, Strict, Where, did_you_mean, problems_of, shown, some
from watcher.units import HOLD, hold
from watcher.yamltext import load_yaml

_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
_ENDINGS = (".yaml", ".yml")
_MATCHABLE = frozenset({"run", "project", "user", "team"})
PLACEHOLDERS = frozenset(
    {"root", "run", "attempt", "alert", "detector", "team", "severity", "tag", "step", "onset"}
    | {"fired_step", "best", "best_value", "value", "reason"}
)
# What an input is where a rule does not say: inputs that are named by convention.
DEFAULT_INPUTS: Mapping[str, Role] = {
    "value": Role.TRAIN_LOSS,
    "train": Role.TRAIN_LOSS,
    "val": Role.VAL_LOSS,
    "lr": Role.LEARNING_RATE,
    "grad_norm": Role.GRAD_NORM,
    "throughput": Role.THROUGHPUT,
    "metric": Role.VAL_METRIC,
    "epoch": Role.EPOCH,
    "weight": Role.LOSS_WEIGHT,
    **{role.value: role for role in Role},
}


@dataclass(frozen=True, slots=True)
class Pack:
    """One file of rules, checked. ``lines``: where each of ``tests`` begins."""

    path: Path
    team: str
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...]
    lines: tuple[int, ...] = ()
    text: str = ""


# ------------------------------------------------------------------------- finding packs


def packs_dir() -> Path:
    """Return the shipped packs: an installed package carries them, a checkout has them on top."""
    inside = Path(__file__).parent / "_rules"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "rules"


def pack_files(paths: Sequence[Path] | None) -> list[Path]:
    """Return the packs under ``paths`` (files or directories), the shipped ones without any.

    InvalidInput for what is not there, and for a directory without a pack.
    """
    found: dict[Path, None] = {}
    problems: list[Problem] = []
    for path in paths or [packs_dir()]:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in _ENDINGS and p.is_file())
            if not inside and paths:
                problems.append(Problem(str(path), 0, 0, "holds no pack (*.yaml)"))
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            problems.append(Problem(str(path), 0, 0, "no such rule pack"))
    if problems:
        raise InvalidInput(problems)
    return list(found)


def default_rules() -> tuple[Rule, ...]:
    """Return the rules of every shipped pack."""
    return load_packs(None)


def load_packs(paths: Sequence[Path] | None, *, team: str = "") -> tuple[Rule, ...]:
    """Return the rules of all packs under ``paths``; InvalidInput with all that is wrong."""
    return tuple(rule for pack in read_packs(paths, team=team) for rule in pack.rules)


def read_packs(paths: Sequence[Path] | None, *, team: str = "") -> list[Pack]:
    """Return all packs under ``paths``; InvalidInput with all that is wrong in any of them."""
    packs: list[Pack] = []
    rules: dict[str, Rule] = {}
    problems: list[Problem] = []
    for path in pack_files(paths):
        try:
            packs.append(load_pack(path, team=team))
        except InvalidInput as error:
            problems += error.problems
            continue
        for rule in packs[-1].rules:
            if (other := rules.setdefault(rule.id, rule)) is not rule:
                file, _, line = rule.origin.rpartition(":")
                message = f'alert "{rule.alert}" is also in {other.origin}; rename one'
                problems.append(Problem(file, int(line), 0, message))
    if problems:
        raise InvalidInput(problems)
    return packs


def kept_rules(kept: Mapping[str, Mapping[str, str]]) -> tuple[Rule, ...]:
    """Return the rules of packs that were kept, by team and file; none of a team of another time.

    A version that came since may refuse what was good when it was kept.
    """
    rules: list[Rule] = []
    for team, texts in kept.items():
        try:
            packs = [parse_pack(text, file, team=team) for file, text in texts.items()]
        except InvalidInput:
            continue
        rules += [rule for pack in packs for rule in pack.rules]
    return tuple(rules)


def load_pack(path: Path, *, team: str = "") -> Pack:
    """Read one pack. ``team`` (the config's) replaces the pack's own word on it."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            [Problem(str(path), 0, 0, f"not UTF-8 at byte {error.start}")]
        ) from error
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise InvalidInput([Problem(str(path), 0, 0, message)]) from error
    return parse_pack(text, str(path), team=team)


# ------------------------------------------------------------------------- the form


def _hold(value: Any) -> Hold:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} has no unit; write 3 points, 500 steps or 10m")  # noqa: TRY004
    return hold(value)


def _number_as_text(value: Any) -> Any:
    """Take ``tier: 1`` as "1": a label's value is text whatever it looks like."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


HoldText = Annotated[
    Hold, PlainValidator(_hold), WithJsonSchema({"type": "string", "pattern": HOLD})
]
Text = Annotated[str, BeforeValidator(_number_as_text), WithJsonSchema({"type": "string"})]


def _name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError(
            f'"{value}" cannot be an alert\'s name; write it like ValidationLossRising'
        )
    return value


class SelectorText(Strict):
    """Which series an input takes."""

    role: Role | None = None
    tag: Annotated[str | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _one(self) -> SelectorText:
        if (self.role is None) == (self.tag is None):
            raise ValueError("name either a role or a tag")
        return self


class RuleText(Strict):
    """One rule as it is written."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    alert: Annotated[str, AfterValidator(_name)]
    detector: str | None = None
    expr: str | None = None
    inputs: dict[str, SelectorText] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    match: dict[str, Text] = Field(default_factory=dict)
    for_: HoldText = Field(default=Hold(), alias="for")
    keep_firing_for: HoldText = Hold()
    severity: Severity | None = None
    mode: Literal["live", "shadow"] = "live"
    labels: dict[str, Text] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class PackText(Strict):
    """One pack as it is written."""

    team: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    rules: Annotated[list[RuleText], AfterValidator(some)]
    tests: list[PackTest] = Field(default_factory=list)


# ------------------------------------------------------------------------- reading one pack


def parse_pack(text: str, file: str, *, team: str = "") -> Pack:
    """Return the pack that ``text`` describes; InvalidInput with every problem of ``file``."""
    data, places, faults = load_yaml(text, file)
    if not isinstance(data, dict):
        empty = Problem(file, 1, 1, "holds no rules; begin with rules:")
        raise InvalidInput(faults or [empty])
    maker = _Maker(file, places)
    try:
        pack = PackText.model_validate_json(json.dumps(data))
    except ValidationError as error:
        maker.problems += problems_of(error, PackText, file, places)
        maker.salvage(data)
        raise InvalidInput(_with_faults(faults, maker.problems)) from error
    team = team or pack.team
    rules = [maker.rule(rule, i, team) for i, rule in enumerate(pack.rules)]
    maker.cross_check(pack)
    if faults or maker.problems:
        raise InvalidInput(_with_faults(faults, maker.problems))
    lines = tuple(places.of(("tests", i))[0] for i in range(len(pack.tests)))
    return Pack(Path(file), team, tuple(r for r in rules if r), tuple(pack.tests), lines, text)


def _with_faults(faults: list[Problem], found: list[Problem]) -> list[Problem]:
    """Put both kinds together; a value that could not be read is not also a wrong value."""
    places = {(fault.line, fault.column) for fault in faults}
    return [*faults, *(p for p in found if (p.line, p.column) not in places)]


class _Maker:
    """Makes rules of checked text; collects what only the detectors know to be wrong."""

    def __init__(self, file: str, places: Places) -> None:
        self.problems: list[Problem] = []
        self._file, self._places = file, places

    def rule(self, text: RuleText, number: int, team: str) -> Rule | None:
        """Return the rule, None if something is wrong with it."""
        where: Where = ("rules", number)
        before = len(self.problems)
        self._check_labels(text, where)
        if text.expr is not None:
            name, inputs, params = self._expression(text, where)
        else:
            name, inputs, params = self._detector(text, where)
        if len(self.problems) > before:
            return None
        return Rule(
            alert=text.alert,
            detector=name,
            inputs=inputs,
            params=params,
            team=team,
            match=text.match,
            for_=text.for_,
            keep_firing_for=text.keep_firing_for,
            severity=text.severity,
            mode=text.mode,
            labels=text.labels,
            annotations=text.annotations,
            origin=f"{self._file}:{self._places.of(where)[0]}",
        )

    def salvage(self, data: Mapping[str, Any]) -> None:
        """Look into the rules of a pack that is wrong elsewhere, so that all comes at once."""
        rules = data.get("rules")
        for number, rule in enumerate(rules if isinstance(rules, list) else []):
            if (text := _sound_part(rule)) is not None:
                self.rule(text, number, "")

    def cross_check(self, pack: PackText) -> None:
        """Refuse two rules of one name, and tests of rules that are elsewhere."""
        names: set[str] = set()
        for i, rule in enumerate(pack.rules):
            if rule.alert in names:
                self._say(("rules", i, "alert"), f'alert "{rule.alert}" is here twice; rename one')
            names.add(rule.alert)
        for i, test in enumerate(pack.tests):
            for j, expect in enumerate(test.expect):
                for k, expected in enumerate(expect.alerts):
                    if expected.alert not in names:
                        where = ("tests", i, "expect", j, "alerts", k, "alert")
                        hint = did_you_mean(expected.alert, names)
                        self._say(where, f'no rule "{expected.alert}" in this pack{hint}')

    def _expression(self, text: RuleText, where: Where) -> tuple[str, dict[str, Selector], Any]:
        for key, given in (("detector", text.detector), ("inputs", text.inputs)):
            if given:
                self._say(
                    (*where, key), f"{key}: an expr says this itself; leave one out", key=True
                )
        if text.params:
            self._say((*where, "params"), "params: an expr has none", key=True)
        try:
            made = compile_expr(text.expr or "")
        except ExprError as error:
            self._say((*where, "expr"), f"expr: {error}")
            return "", {}, None
        known = detectors()["expression_timed" if made.timed else "expression"]
        return known.name, dict(made.inputs), known.params(text.expr)

    def _detector(self, text: RuleText, where: Where) -> tuple[str, dict[str, Selector], Any]:
        known = detectors()
        if text.detector is None:
            self._say(where, "needs a detector or an expr")
            return "", {}, None
        if text.detector not in known or text.detector.startswith("expression"):
            names = [n for n in known if not n.startswith("expression")]
            hint = did_you_mean(text.detector, names)
            if text.detector in known:
                hint = "; write expr: instead"
            self._say((*where, "detector"), f'unknown detector "{text.detector}"{hint}')
            return "", {}, None
        found = known[text.detector]
        return found.name, self._inputs(text, found, where), self._params(text, found, where)

    def _inputs(self, text: RuleText, found: Detector, where: Where) -> dict[str, Selector]:
        names = (*found.inputs, *found.optional)
        for name in text.inputs:
            if name not in names:
                message = f'{found.name} has no input "{name}"{did_you_mean(name, names)}'
                self._say((*where, "inputs", name), message, key=True)
        inputs: dict[str, Selector] = {}
        for name in names:
            if name in text.inputs:
                inputs[name] = Selector(text.inputs[name].role, text.inputs[name].tag)
            elif name in DEFAULT_INPUTS:
                inputs[name] = Selector(role=DEFAULT_INPUTS[name])
            elif name in found.inputs:
                self._say(where, f'{found.name} needs the input "{name}"; add it under inputs:')
        return inputs

    def _params(self, text: RuleText, found: Detector, where: Where) -> Any:
        under = (*where, "params")
        model = params_model(found.params)
        try:
            checked = model.model_validate_json(json.dumps(text.params))
        except ValidationError as error:
            self.problems += problems_of(error, model, self._file, self._places, under)
            return None
        given = {name: getattr(checked, name) for name in checked.model_fields_set}
        try:
            return found.params(**given)
        except (TypeError, ValueError) as error:
            self._say(under, f"params of {found.name}: {error}")
            return None

    def _check_labels(self, text: RuleText, where: Where) -> None:
        for key, names in (("labels", text.labels), ("match", text.match)):
            for name in names:
                if not re.fullmatch(_NAME, name):
                    place = (*where, key, name)
                    self._say(
                        place, f'"{name}" cannot be a label; use letters, digits, _', key=True
                    )
        for name, pattern in text.match.items():
            if not pattern.removeprefix("!"):
                self._say((*where, "match", name), f"{name}: an empty pattern matches nothing")
        for name, template in text.annotations.items():
            known = PLACEHOLDERS | _MATCHABLE | text.labels.keys() | text.match.keys()
            for word in re.findall(r"\{(\w+)\}", template):
                if word not in known:
                    hint = did_you_mean(word, known)
                    place = (*where, "annotations", name)
                    self._say(place, f"{name}: unknown placeholder {{{word}}}{hint}")

    def _say(self, where: Where, message: str, *, key: bool = False) -> None:
        self.problems.append(Problem(self._file, *self._places.of(where, key=key), message))


def _sound_part(rule: Any) -> RuleText | None:
    """Return a rule without the keys that are wrong by themselves, None if too little is left."""
    try:
        return RuleText.model_validate_json(json.dumps(rule))
    except ValidationError as error:
        bad = {one["loc"][0] for one in error.errors() if one["loc"]}
    if not isinstance(rule, dict) or bad & {"detector", "expr"}:
        return None
    left = {key: value for key, value in rule.items() if key not in bad}
    return RuleText.model_validate_json(json.dumps({"alert": "unnamed", **left}))


# ------------------------------------------------------------------------- params


def params_model(params: type[Any]) -> type[BaseModel]:
    """Return the model that checks a detector's ``params`` dataclass, field by field.

    A float takes a duration ("10m") if its name ends in ``_seconds`` or its metadata says
    ``{"unit": "seconds"}``. What holds between fields is the dataclass' own ``__post_init__``.
    """
    hints = typing.get_type_hints(params)
    fields: dict[str, Any] = {}
    for one in dataclasses.fields(params):
        kind = hints[one.name]
        timed = one.name.endswith("_seconds") or one.metadata.get("unit") == "seconds"
        if timed:
            kind = Seconds if kind is float else (Seconds | None)
        if one.default is not dataclasses.MISSING:
            fields[one.name] = (kind, one.default)
        elif one.default_factory is not dataclasses.MISSING:
            fields[one.name] = (kind, Field(default_factory=one.default_factory))
        else:
            fields[one.name] = (kind, ...)
    return create_model(params.__name__, __base__=Strict, __doc__=params.__doc__, **fields)


# ------------------------------------------------------------------------- schema


def pack_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pack, with the params of every detector that is installed."""
    schema = PackText.model_json_schema(by_alias=True)
    rule = schema["$defs"]["RuleText"]
    found = {n: d for n, d in sorted(detectors().items()) if not n.startswith("expression")}
    rule["properties"]["detector"] = {"enum": list(found), "title": "Detector"}
    rule["oneOf"] = [{"required": ["detector"]}, {"required": ["expr"]}]
    rule["allOf"] = [_params_schema(name, one) for name, one in found.items()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Rule pack of the watcher",
    }


def _params_schema(name: str, one: Detector) -> dict[str, Any]:
    params = params_model(one.params).model_json_schema()
    names = [*one.inputs, *one.optional]
    return {
        "if": {"properties": {"detector": {"const": name}}, "required": ["detector"]},
        "then": {
            "properties": {"params": params, "inputs": {"propertyNames": {"enum": names}}},
        },
    }


def schema_text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(pack_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(schema_text())
