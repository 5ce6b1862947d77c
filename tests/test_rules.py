"""Rule packs: what they become, and how what is wrong with them is said."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher import detectors, rules
from watcher.detectors.threshold import Threshold
from watcher.errors import InvalidInput
from watcher.model import OK, Hold, Role, Selector, Severity, Verdict
from watcher.rules import load_pack, load_packs, pack_files, packs_dir, parse_pack
from watcher.yamltext import load_yaml

OURS = ("threshold", "expression", "expression_timed")  # the messages name what is installed
BAD = Path(__file__).parent / "bad"


@dataclass(frozen=True, slots=True)
class Toy:
    """Parameters of every kind."""

    wait_seconds: float = 60.0
    pause: float | None = field(default=None, metadata={"unit": "seconds"})
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    strict: bool = False
    count: int = 3

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be positive")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(detectors.detectors())

    def detect(inputs: object, params: object, now: float) -> Verdict:
        return OK

    known["toy"] = detectors.Detector("toy", Toy, detect, ("val", "odd"), ("train",))
    monkeypatch.setattr(detectors, "_registry", known)


def parse(text: str, team: str = "") -> rules.Pack:
    return parse_pack(text, "p.yaml", team=team)


def refused(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as error:
        parse(text)
    return [str(p) for p in error.value.problems]


def test_a_rule_says_all_that_the_pack_says() -> None:
    pack = parse(
        """
team: vision
rules:
  - alert: LossHigh
    detector: threshold
    inputs: {value: {tag: "Loss/val*"}}
    params: {above: 3, points: 2}
    match: {project: "resnet*", user: "!bot"}
    for: 3 points
    keep_firing_for: 2h30m
    severity: critical
    mode: shadow
    labels: {tier: 1}
    annotations: {summary: "{run}: {tag} is {value} ({tier})", runbook: "https://x"}
"""
    )
    (rule,) = pack.rules
    assert rule.id == "vision/LossHigh"
    assert rule.inputs == {"value": Selector(tag="Loss/val*")}
    assert rule.params == Threshold(above=3.0, points=2)
    assert rule.match == {"project": "resnet*", "user": "!bot"}
    assert (rule.for_, rule.keep_firing_for) == (Hold(3, "points"), Hold(9000, "seconds"))
    assert (rule.severity, rule.mode) == (Severity.CRITICAL, "shadow")
    assert (rule.labels, rule.origin) == ({"tier": "1"}, "p.yaml:4")


def test_the_configs_team_wins_over_the_packs_own() -> None:
    text = "team: other\nrules: [{alert: A, detector: threshold, params: {above: 1}}]"
    assert parse(text, team="vision").rules[0].team == "vision"
    assert parse(text).rules[0].team == "other"


def test_an_expression_picks_its_detector_and_its_inputs() -> None:
    pack = parse(
        "rules:\n"
        "  - {alert: A, expr: val_loss.last > train_loss.best}\n"
        "  - {alert: B, expr: train_loss.seconds_since_last > 60}\n"
    )
    assert [r.detector for r in pack.rules] == ["expression", "expression_timed"]
    assert pack.rules[0].inputs == {
        "value": Selector(role=Role.VAL_LOSS),
        "train_loss": Selector(role=Role.TRAIN_LOSS),
    }


@pytest.mark.usefixtures("toy")
def test_inputs_that_are_named_by_convention_need_not_be_said() -> None:
    (rule,) = parse("rules: [{alert: A, detector: toy, inputs: {odd: {tag: x}}}]").rules
    assert rule.inputs == {
        "val": Selector(role=Role.VAL_LOSS),
        "odd": Selector(tag="x"),
        "train": Selector(role=Role.TRAIN_LOSS),
    }
    assert refused("rules: [{alert: A, detector: toy}]") == [
        'p.yaml:1:9: toy needs the input "odd"; add it under inputs:'
    ]


@pytest.mark.usefixtures("toy")
def test_params_are_of_their_kinds_and_durations_may_be_written() -> None:
    head = "rules: [{alert: A, detector: toy, inputs: {odd: {tag: x}}, params: "
    (rule,) = parse(
        head + "{wait_seconds: 10m, pause: 3, kind: b, names: [u], strict: true}}]"
    ).rules
    assert rule.params == Toy(600.0, 3.0, "b", ("u",), True)
    said = refused(head + '{wait_seconds: x, kind: c, names: [1], strict: "no", count: 1.5}}]')
    assert [line.partition(": ")[2] for line in said] == [
        'wait_seconds: "x" is not a duration; write 30s, 10m, 2h30m or 1d',
        'kind: "c" is not one of a, b',
        "names: expected text, found 1",
        'strict: expected true or false, found "no"',
        "count: expected a whole number, found 1.5",
    ]
    assert refused(head + "{count: 0}}]")[0].endswith("params of toy: count must be positive")


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda p: p.name)
def test_a_bad_pack_is_refused_with_all_its_errors(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BAD)
    only = {n: d for n, d in detectors.detectors().items() if n in OURS}
    monkeypatch.setattr(detectors, "_registry", only)
    with pytest.raises(InvalidInput) as error:
        load_pack(Path(path.name))
    assert f"{error.value}\n" == Path(f"{path.name}.txt").read_text("utf-8")


def test_what_is_not_a_sound_file_is_said_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "latin.yaml"
    broken.write_bytes(b"rules: \xff")
    for path, why in ((broken, "not UTF-8"), (tmp_path / "no.yaml", "No such file")):
        with pytest.raises(InvalidInput, match=why):
            load_pack(path)
    assert "1 MiB" in refused("#" * (1 << 20) + "#")[0]
    assert "nested too deeply" in refused("rules: " + "[" * 5000)[0]
    assert "unacceptable character" in refused("a: \x00")[0]
    assert "one document" in refused("a: 1\n---\nb: 1")[0]


def test_aliases_may_be_used_but_not_to_multiply() -> None:
    value, _, faults = load_yaml("a: &x {b: 1}\nc: *x", "p")
    assert faults == []
    assert value == {"a": {"b": 1}, "c": {"b": 1}}
    bomb = "a0: &a0 [1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    assert any("uses of aliases" in line for line in refused(bomb))
    assert any("aliases" in s or "deeply" in s for s in refused("a: &x [*x]"))


def test_yaml_is_1_2_and_dates_are_text() -> None:
    value, places, _ = load_yaml("a: on\nb: 0o17\nc: 2020-01-01\nd: [.inf, ~, 010]", "p")
    assert value == {"a": "on", "b": 15, "c": "2020-01-01", "d": [float("inf"), None, 10]}
    assert places.of(("d", 2)) == (4, 14)


@given(st.text(alphabet="rules: -{}[]&*!|>\n\"'atx1#%@`?,", max_size=80))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    try:
        parse(text)
    except InvalidInput:
        return


def test_packs_are_found_in_directories_and_named_once(tmp_path: Path) -> None:
    text = "rules: [{alert: A, detector: threshold, params: {above: 1}}]"
    for name in ("b.yml", "a.yaml", "notes.txt"):
        (tmp_path / name).write_text(text)
    assert [p.name for p in pack_files([tmp_path])] == ["a.yaml", "b.yml"]
    with pytest.raises(
        InvalidInput, match=r'b.yml:1: alert "A" is also in .*a.yaml:1; rename one'
    ):
        load_packs([tmp_path])
    assert len(load_packs([tmp_path / "a.yaml"])) == 1
    (tmp_path / "none").mkdir()
    for path, why in ((tmp_path / "none", "holds no pack"), (tmp_path / "x", "no such rule pack")):
        with pytest.raises(InvalidInput, match=why):
            pack_files([path])


def test_the_shipped_packs_are_where_the_program_looks() -> None:
    assert (packs_dir() / "expression.yaml").is_file()
    names = {r.alert for r in load_pack(packs_dir() / "expression.yaml").rules}
    assert "ValidationLossFarFromBest" in names


def test_every_detectors_params_make_a_model_that_agrees_with_its_defaults() -> None:
    for detector in detectors.detectors().values():
        model = rules.params_model(detector.params)
        assert set(model.model_fields) == {f.name for f in dataclasses.fields(detector.params)}


def test_the_published_schema_is_that_of_the_program() -> None:
    file = Path(rules.__file__).with_name("rules.schema.json")
    assert file.read_text("utf-8") == rules.schema_text(), (
        "out of date; run: python -m watcher.rules > watcher/rules.schema.json"
    )
