"""Which rules apply to which windows, and what did they say?

The only place where a detector's exception is caught: a detector that raises is a bug in the rule,
not in the run, so it is counted, logged once, and answers UNKNOWN.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from watcher import roles
from watcher.detectors import Detector, Inputs, RunFacts, detectors
from watcher.globs import all_fit
from watcher.model import (
    UNKNOWN,
    Better,
    Meaning,
    Rule,
    RunKey,
    Slot,
    Verdict,
    WallTime,
)
from watcher.series import Window

log = logging.getLogger(__name__)

failures: Counter[str] = Counter()  # rule id -> how often its detector raised


@dataclass(frozen=True, slots=True)
class Subject:
    """One rule tied to the series it takes in one run, before there are windows."""

    rule: Rule
    detector: Detector
    name: str  # what the inputs share: a loss's stem, "" if the rule takes no series
    tags: Mapping[str, str]  # input -> tag

    @property
    def trigger(self) -> str:
        """The tag whose growth makes the rule look again, "" if it takes no series."""
        return self.tags.get(self.detector.trigger, "")


@dataclass(slots=True)
class Bound:
    """A subject with its windows; ``verdict`` is what was last said and why."""

    subject: Subject
    slot: Slot
    windows: Mapping[str, Window]
    better: Mapping[str, Better]
    verdict: Verdict = UNKNOWN
    inputs: Inputs | None = None  # as of the newest facts

    def inputs_with(self, facts: RunFacts) -> Inputs:
        """Return what the detector is given; the same object while the facts are the same."""
        if self.inputs is None or self.inputs.run is not facts:
            self.inputs = Inputs(self.windows, facts, self.better)
        return self.inputs


def applies(rule: Rule, run: RunKey, labels: Mapping[str, str]) -> bool:
    """Whether ``rule``'s ``match`` lets it look at ``run``; a label the run lacks reads as ""."""
    return all_fit({**labels, "run": run.run}, rule.match)


def subjects(
    rules: Sequence[Rule], assigned: Mapping[str, Meaning], points: Mapping[str, int]
) -> list[Subject]:
    """Tie each rule to the series it takes among a run's tags; a rule may have several subjects.

    ``assigned`` holds the meaning of each tag that has one, ``points`` every tag with its count.
    """
    known, pool = detectors(), roles.Pool(assigned, points)
    found: list[Subject] = []
    for rule in rules:
        detector = known[rule.detector]
        if not detector.inputs:
            found.append(Subject(rule, detector, "", {}))
            continue
        bindings = pool.bind(
            rule.inputs,
            required=detector.inputs,
            trigger=detector.trigger,
            every=detector.every,
        )
        found += [Subject(rule, detector, b.subject, b.inputs) for b in bindings]
    return found


def judge(bound: Bound, facts: RunFacts, now: WallTime) -> Verdict:
    """Ask the rule's detector; an exception is UNKNOWN."""
    rule = bound.subject.rule
    try:
        return bound.subject.detector.detect(bound.inputs_with(facts), rule.params, now)
    except Exception:  # the one place for it: the rule is at fault, not the run
        failures[rule.id] += 1
        if failures[rule.id] == 1:
            log.exception(
                "detector failed, rule answers unknown rule=%s run=%r", rule.id, bound.slot.run.run
            )
        return UNKNOWN
