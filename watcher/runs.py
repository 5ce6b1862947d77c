"""Which directories are one run, and what does a path say about it?

A run is one training as a person sees it. Frameworks spread it over sub-directories; each is
told by its own name and its own tags alone, so that the answer does not change as siblings
appear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

# Keras, TF1 and its Estimators, AllenNLP, CatBoost, fairseq
_SIDES = frozenset(
    [
        *("train", "training", "train_inner", "learn", "val", "valid", "validation"),
        *("eval", "evaluation", "dev", "test", "testing"),
    ]
)
_EVAL_NAMED = re.compile(r"eval_.+|valid\d+", re.IGNORECASE)  # Estimator's eval(name=...), fairseq
_TIMESTAMP = re.compile(r"\d{9,11}\.\d+")  # add_hparams makes a directory of time.time()
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}|(\*)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a directory belongs: its run, and what is put before its tags there."""

    run: str
    prefix: str


def place(
    run_dir: str,
    tags: Collection[str],
    *,
    grouping: bool = True,
    holds: Callable[[str], bool] = lambda run_dir: True,
) -> Place:
    """Say which run the directory ``run_dir`` (relative to its root) is part of.

    ``tags`` are its own tags, as many as are known; they only decide for the children of
    ``add_scalars`` and ``add_hparams``, which never hold others, and which a writer makes beside
    an event file of its own: ``holds`` says whether a directory has one. A directory that is a
    side of a run (``train``, ``eval``) belongs to its parent, and so on upwards. Without
    ``grouping`` every directory is a run.
    """
    if not grouping or run_dir == ".":
        return Place(run_dir, "")
    parts = run_dir.split("/")
    depth = len(parts) - _own_parts(parts, tags)
    if not holds("/".join(parts[:depth]) or "."):
        depth = len(parts)
    while depth and _is_side(parts[depth - 1]):
        depth -= 1
    prefix = "".join(f"{part}/" for part in parts[depth:])
    return Place("/".join(parts[:depth]) or ".", prefix)


def _is_side(name: str) -> bool:
    return name.lower() in _SIDES or _EVAL_NAMED.fullmatch(name) is not None


def _own_parts(parts: list[str], tags: Collection[str]) -> int:
    """Count the last parts that a writer's helper added below the run's directory."""
    if not tags:
        return 0
    if _TIMESTAMP.fullmatch(parts[-1]) and all(t.lower().startswith("hparam") for t in tags):
        return 1
    return _of_add_scalars(parts, next(iter(tags))) if len(tags) == 1 else 0


def _of_add_scalars(parts: list[str], tag: str) -> int:
    """Count the parts that ``add_scalars(tag, {sub: ...})`` added.

    tensorboardX writes to ``<tag>/<sub>``, PyTorch to ``<tag>_<sub>`` with "/" as "_"; either may
    keep or replace blanks. Wrong for a run that by chance is called so and logs this tag alone.
    """
    named = [_plain(part) for part in tag.split("/")]
    above = [_plain(part) for part in parts[:-1]]
    if above[-len(named) :] == named:
        return len(named) + 1
    return int(_plain(parts[-1]).startswith("_".join(named) + "_"))


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def label_names(template: str) -> list[str]:
    """Return the names of the labels that a template gives, in order."""
    return [match[1] for match in _PLACEHOLDER.finditer(template) if match[1]]


def template_labels(template: str, run: str) -> dict[str, str]:
    """Read labels out of a run's path: ``{team}/{user}/{project}`` against ``vision/ada/r50/3``.

    A placeholder matches within one part, which may hold other text too (``user-{user}``); ``*``
    is matched and not named. The path may go deeper than the template; if it is shallower, what
    it has is taken. A path that does not match has no labels.
    """
    if run == ".":
        return {}
    labels: dict[str, str] = {}
    for pattern, part in zip(_template(template), run.split("/"), strict=False):
        found = pattern.fullmatch(part)
        if found is None:
            return {}
        labels |= found.groupdict()
    return labels


@lru_cache(maxsize=64)
def _template(template: str) -> tuple[re.Pattern[str], ...]:
    return tuple(_part(part) for part in template.strip("/").split("/"))


def _part(part: str) -> re.Pattern[str]:
    text, end = "", 0
    for m in _PLACEHOLDER.finditer(part):
        text += re.escape(part[end : m.start()]) + (f"(?P<{m[1]}>.+?)" if m[1] else ".*")
        end = m.end()
    return re.compile(text + re.escape(part[end:]))
