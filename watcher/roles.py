"""What do a run's tags mean together, and which of them does a rule take?

``naming`` reads one tag by itself. What a run as a whole is (reinforcement learning, a GAN, a
regression that logs no loss) and what its team has pinned change that. A ``Pool`` then ties each
rule's inputs to series.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from watcher.model import Better, Meaning, Role, Selector
from watcher.naming import ADVERSARIAL, LOSSES, LOWER, in_words, meaning

__all__ = ["Binding", "Pin", "Pool", "Traits", "assign", "meaning", "traits"]

_T = TypeVar("_T")

# of these a run has several that are judged each by itself; of all others the best one is taken
_BY_STEM = LOSSES | {
    *(Role.TRAIN_METRIC, Role.VAL_METRIC, Role.GAN_LOSS, Role.RL_LOSS, Role.REWARD),
}
# what a run trains on if it logs no loss at all
_STAND_IN = re.compile(
    r"\b([nr]?mse|r?msle|mae|mape|ppl|perplexity|errors?|bpc|bpb|multi ?class)\b"
)
_ONE_LETTER = re.compile(r"\b(net ?)?(?P<side>[gd])(loss)?\b")
_NAMED_GAN = re.compile(rf"\b({ADVERSARIAL})\b")
_RL_REWARD = re.compile(
    r"\bep rew|\bcumulative reward\b|\bepisod\w* (rew|return)|^(mean )?reward$"
)
_POLICY = re.compile(r"\b(policy|actor|pg)\b")
_CRITIC = re.compile(r"\b(value|critic|vf|qf?\d?)\b")


# ------------------------------------------------------------------------------- one run


@dataclass(frozen=True, slots=True)
class Traits:
    """What kind of training a run is, as far as that changes what its losses mean."""

    reinforcement: bool = False
    adversarial: bool = False
    parts: bool = False  # of its loss it logs parts alone, no sum


@dataclass(frozen=True, slots=True)
class Pin:
    """A team's own word on the tags that ``tag`` (a glob over full tags) matches.

    ``role`` and ``better`` replace what was found; neither given means: not to be judged.
    """

    tag: str
    role: Role | None = None
    better: Better | None = None


def traits(tags: Collection[str], pins: Sequence[Pin] = ()) -> Traits:
    """Tell reinforcement and adversarial trainings by the tags of the whole run.

    A loss that a team pins is the whole.
    """
    known = {tag: m for tag in tags if (m := meaning(tag)) is not None}
    names = [(in_words(tag).text, m.role) for tag, m in known.items()]
    agent = [text for text, role in names if role is Role.RL_LOSS]
    duel = [text for text, role in names if role is Role.GAN_LOSS]
    letters = {m["side"] for text in duel for m in _ONE_LETTER.finditer(text)}
    return Traits(
        reinforcement=any(r is Role.REWARD and _RL_REWARD.search(t) for t, r in names)
        or (any(map(_POLICY.search, agent)) and any(map(_CRITIC.search, agent))),
        adversarial=letters >= {"g", "d"} or any(map(_NAMED_GAN.search, duel)),
        parts=_in_parts(_pinned(list(tags), known, pins).values()),
    )


def _in_parts(meanings: Collection[Meaning]) -> bool:
    losses = ([m for m in meanings if m.role is role] for role in LOSSES)
    return any(len({m.stem for m in of}) > 1 and not any(m.main for m in of) for of in losses)


def assign(tags: Iterable[str], pins: Sequence[Pin] = ()) -> dict[str, Meaning]:
    """Return the meaning of every tag of a run that has one.

    1. By name.
    2. By what the run is: in reinforcement learning every loss follows the reward; without a
       generator and a discriminator "loss_d" is a loss like others; where there is no loss at
       all, the error it logs stands in.
    3. Pins override; a pinned tag is the main one of its role.
    """
    tags = list(tags)
    found = {tag: m for tag in tags if (m := meaning(tag)) is not None}
    kind = traits(tags)
    for tag, m in found.items():
        if kind.reinforcement and m.role in LOSSES:
            found[tag] = replace(m, role=Role.RL_LOSS, main=False)
        elif m.role is Role.GAN_LOSS and not kind.adversarial:
            role = Role.VAL_LOSS if in_words(tag).side == "val" else Role.TRAIN_LOSS
            found[tag] = replace(m, role=role)
    if not any(m.role in LOSSES | {Role.RL_LOSS, Role.GAN_LOSS} for m in found.values()):
        for tag, m in found.items():
            if m.better is LOWER and _STAND_IN.search(in_words(tag).text):
                role = Role.VAL_LOSS if m.role is Role.VAL_METRIC else Role.TRAIN_LOSS
                found[tag] = replace(m, role=role, main=False)
    return _pinned(tags, found, pins)


def _pinned(
    tags: Sequence[str], found: dict[str, Meaning], pins: Sequence[Pin]
) -> dict[str, Meaning]:
    """Apply the first pin that matches each tag; others of its role are no longer main."""
    said: dict[str, Meaning] = {}
    for tag in tags:
        pin = next((p for p in pins if fnmatch.fnmatchcase(tag, p.tag)), None)
        if pin is None:
            continue
        before = found.pop(tag, None)
        role = pin.role or (before.role if before else None)
        if role is None or (pin.role is None and pin.better is None):
            continue
        better = pin.better or (before.better if before and before.role is role else LOWER)
        said[tag] = Meaning(role, better, before.stem if before else in_words(tag).stem, main=True)
    taken = {m.role for m in said.values()}
    return {t: replace(m, main=m.main and m.role not in taken) for t, m in found.items()} | said


# ------------------------------------------------------------------------------- one rule


@dataclass(frozen=True, slots=True)
class Binding:
    """The tags that a rule's inputs take. ``subject`` names them in an alert's identity."""

    subject: str
    inputs: dict[str, str]


def _pairs(selectors: Mapping[str, Selector]) -> bool:
    """Whether a training and a validation series are compared: both then per epoch."""
    return {s.role for s in selectors.values()} >= LOSSES


def tag_fits(tag: str, globs: str) -> bool:
    """Whether a tag fits one of several globs with ``|`` between them."""
    return any(fnmatch.fnmatchcase(tag, glob.strip()) for glob in globs.split("|"))


class Pool:
    """A run's tags, for its rules to choose from. ``points`` has every tag with its count.

    What is asked of them again and again is remembered: a run may have thousands.
    """

    def __init__(self, assigned: Mapping[str, Meaning], points: Mapping[str, int]) -> None:
        self.assigned, self.points = assigned, points
        self._by_stem: dict[Role, dict[str, list[str]]] = {}
        for tag, m in assigned.items():
            self._by_stem.setdefault(m.role, {}).setdefault(m.stem, []).append(tag)
        self._remembered: dict[tuple[object, ...], Any] = {}

    def _once(self, make: Callable[..., _T], *asked: Any) -> _T:
        key = (make.__name__, *asked)
        if key not in self._remembered:
            self._remembered[key] = make(*asked)
        found: _T = self._remembered[key]
        return found

    def bind(
        self,
        selectors: Mapping[str, Selector],
        required: Sequence[str],
        trigger: str,
        every: bool = False,
    ) -> list[Binding]:
        """Tie a rule's inputs to a run's series: one binding for each subject.

        The trigger decides the subjects. By tag: each tag that matches. By role: each main stem,
        or each component where the run has no main one; with ``every`` each tag of the role; of
        roles as the learning rate the one best series, under the role's own name. The other inputs
        follow the trigger's stem. A binding that lacks a ``required`` input is left out.

        Subjects never depend on point counts, so that an alert keeps its identity as a run grows;
        counts only choose between the step-wise and the epoch-wise series of one loss.
        """
        if trigger not in selectors:
            return []
        paired = _pairs(selectors)
        bindings = []
        for subject, tag in self.subjects(selectors[trigger], every, paired):
            inputs = {trigger: tag}
            for name, selector in selectors.items():
                if name != trigger and (other := self.companion(selector, tag, paired)):
                    inputs[name] = other
            if all(name in inputs for name in required):
                bindings.append(Binding(subject, inputs))
        return bindings

    def subjects(self, selector: Selector, every: bool, paired: bool) -> list[tuple[str, str]]:
        """Return the subjects of a trigger, each with its tag."""
        if selector.role is None:
            return [(tag, tag) for tag in self._once(self._matching, selector)]
        if selector.role not in _BY_STEM:
            best = self._once(self._best, selector.role)
            return [(selector.role.value, best)] if best else []
        stems = self._by_stem.get(selector.role, {})
        if every:
            return [(tag, tag) for tags in stems.values() for tag in sorted(tags)]
        main = {s: tags for s, tags in stems.items() if self._main(tags)}
        chosen = main or stems
        return [
            (stem, self._once(self._twin, selector.role, stem, paired)) for stem in sorted(chosen)
        ]

    def companion(self, selector: Selector, tag: str, paired: bool) -> str | None:
        """Return the series of another input beside the trigger's ``tag``."""
        near = self.assigned.get(tag)
        if selector.role is None:
            found = self._once(self._matching, selector)
            same = [t for t in found if near and t in self.assigned
                    and self.assigned[t].stem == near.stem]  # fmt: skip
            return next(iter(same or found), None)
        if selector.role not in LOSSES:
            return self._once(self._best, selector.role)
        stems = self._by_stem.get(selector.role, {})
        if near is None or near.stem not in stems:
            alone = near is None or near.main or near.role not in LOSSES
            return self._once(self._stranger, selector.role, alone, paired)
        return self._once(self._twin, selector.role, near.stem, paired)

    def _stranger(self, role: Role, alone: bool, paired: bool) -> str | None:
        """Choose a loss whose stem is not the trigger's: the main one, else the only one.

        A component (not ``alone``) whose counterpart is missing is not compared with another.
        """
        stems = self._by_stem.get(role, {})
        main = next((stem for stem, tags in stems.items() if self._main(tags)), None)
        if main is None and alone and len(stems) == 1:
            main = next(iter(stems))
        return self._once(self._twin, role, main, paired) if main is not None else None

    def _matching(self, selector: Selector) -> list[str]:
        return sorted(tag for tag in self.points if tag_fits(tag, selector.tag or "*"))

    def _main(self, tags: Iterable[str]) -> bool:
        return any(self.assigned[tag].main for tag in tags)

    def _twin(self, role: Role, stem: str, paired: bool) -> str:
        """Choose among the series of one loss.

        On held-out data, or beside it, the epoch's mean, else the one with more detail. Of equal
        ones the plainer name.
        """

        def rank(tag: str) -> tuple[object, ...]:
            name = in_words(tag)
            means = paired or name.side == "val"
            detail = (not name.coarse, 0) if means else (False, -self.points.get(tag, 0))
            return (name.once, name.trust, *detail, name.coarse and not means, len(tag), tag)

        return min(self._by_stem[role][stem], key=rank)

    def _best(self, role: Role) -> str | None:
        """Choose the run's one series of a role by name: main, then the plainest."""
        tags = [tag for tags in self._by_stem.get(role, {}).values() for tag in tags]

        def rank(tag: str) -> tuple[object, ...]:
            m, name = self.assigned[tag], in_words(tag)
            once = name.once or tag.startswith("train/train_")  # HF Trainer's closing summary
            return (not m.main, once, name.trust, len(m.stem), len(tag), tag)

        return min(tags, key=rank, default=None)
