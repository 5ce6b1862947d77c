"""What does the watcher say of itself? A root that cannot be read, rules or a config it refused.

One alert each, that lives like any other; none of them is about a training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from watcher import alerts as life
from watcher.model import (
    OK,
    REFUSED,
    UNREACHABLE,
    Alert,
    Rule,
    RunKey,
    Severity,
    Slot,
    Status,
    Transition,
    Verdict,
    WallTime,
)


def _own(alert: str, detector: str, severity: Severity, summary: str) -> Rule:
    return Rule(
        alert=alert,
        detector=detector,
        inputs={},
        params=None,
        severity=severity,
        annotations={"summary": summary},
        origin="built in",
    )


ROOT_RULE = _own(
    "RootUnreachable",
    UNREACHABLE,
    Severity.CRITICAL,
    "the watcher cannot read {root}: {reason}",
)
PACK_RULE = _own(
    "RulesRefused",
    REFUSED,
    Severity.WARNING,
    "the rules of team {team} are refused: {reason}",
)
CONFIG_RULE = _own(
    "ConfigRefused",
    REFUSED,
    Severity.WARNING,
    "the watcher's config is refused: {reason}",
)
OWN_RULES = (ROOT_RULE, PACK_RULE, CONFIG_RULE)
IDS = frozenset(rule.id for rule in OWN_RULES)


@dataclass(frozen=True, slots=True)
class Said:
    """What is wrong with something of the watcher's own; ``why`` is "" if nothing is."""

    slot: Slot
    rule: Rule
    why: str


def of_roots(held: Mapping[Slot, Alert], unreachable: Mapping[str, str]) -> list[Said]:
    """Return what is to be said of roots: those unreachable now, and those that were."""
    roots = {slot.run.root for slot in held if slot.rule == ROOT_RULE.id}
    return [
        Said(Slot(ROOT_RULE.id, RunKey(root, "."), 0, ""), ROOT_RULE, unreachable.get(root, ""))
        for root in sorted(roots.union(unreachable))
    ]


def of_rules(held: Mapping[Slot, Alert], root: str, refused: Mapping[str, str]) -> list[Said]:
    """Return what is to be said of teams' rules, under the root at which their teams are told.

    Of "", which is no team, what is wrong with the operator's own packs and config.
    """
    told = {slot.subject for slot in held if slot.rule in (PACK_RULE.id, CONFIG_RULE.id)}
    found = []
    for team in sorted(told.union(refused)):
        rule = replace(PACK_RULE, team=team) if team else CONFIG_RULE
        slot = Slot(PACK_RULE.id if team else rule.id, RunKey(root, "."), 0, team)
        found.append(Said(slot, rule, refused.get(team, "")))
    return found


def advance(
    held: dict[Slot, Alert], said: Said, labels: Mapping[str, str], now: WallTime
) -> tuple[Transition, ...]:
    """Move one of these alerts on."""
    rule = said.rule
    verdict = Verdict(Status.BREACH, said.why, advice=rule.detector) if said.why else OK
    look = life.Look(
        rule=rule,
        slot=said.slot,
        now=now,
        step=None,
        points=0,
        inputs={},
        labels=labels,
    )
    alert, steps = life.advance(held.get(said.slot), verdict, look)
    if alert is None:
        held.pop(said.slot, None)
    else:
        held[said.slot] = alert
    return steps
