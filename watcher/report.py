"""What do the answers look like on a terminal? Lines out of surveys, tables and checks.

Everything is a list of plain lines: what is printed where is the command line's business.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from watcher.agreement import NEAR, Labelled, agreement
from watcher.api import Survey, survey_of
from watcher.config import SHIPPED, Config, examine_config, load_config
from watcher.errors import InvalidInput, Problem, WatcherError
from watcher.evaluate import Bound
from watcher.model import Poll, Rule, RunKey, WallTime
from watcher.notify.message import as_json, clean, number, place, steps, subject, what
from watcher.pipeline import Plan
from watcher.places import did_you_mean
from watcher.progress import progress
from watcher.rules import load_packs, pack_files, packs_dir
from watcher.source.logdir import ONE_SHOT, SourceOptions, read_once
from watcher.stopping import when_to_stop
from watcher.wiring import plan_of, source_options

if TYPE_CHECKING:
    import pandas as pd

    from watcher.watched import Watched

_NAMED = 3  # runs that are named where many are meant
_WIDEST = 60  # characters of a column: one endless tag does not push the others off the screen
_WRITERS = (".csv", ".parquet", ".feather")


def packs_of(paths: Sequence[Path]) -> list[Path] | None:
    """Return the packs as the command line names them; the word "shipped" is for the shipped."""
    return [packs_dir() if str(path) == SHIPPED else path for path in paths] or None


def survey_of_logs(
    logdirs: Sequence[Path],
    rules: Sequence[Path],
    config: Path | None,
    now: WallTime | None,
    tbparse: bool,
) -> Survey:
    """Scan ``logdirs``, those of the config without any, by the rules that are named.

    With a ``config`` by its own rules if none are named, and with its labels, pins and teams: as
    the service would. With ``tbparse`` by its reader, as a second opinion on ours.
    """
    loaded = load_config(config) if config else None
    if loaded and not logdirs:
        logdirs = [Path(root.path) for root in loaded.roots]
    if not logdirs:
        raise WatcherError("name a log directory, or the service's config: -c config.toml")
    plan = plan_of(loaded, 0) if loaded else Plan(())
    if rules or not loaded:
        plan = replace(plan, rules=load_packs(packs_of(rules)))
    if tbparse:
        from watcher.source.oracle import poll_of

        poll = poll_of(logdirs)
    elif loaded:
        polls = [read_once([one], _as_in_service(loaded, one)) for one in logdirs]
        poll = Poll(
            tuple(b for one in polls for b in one.batches),
            tuple(a for one in polls for a in one.ailments),
            {},
        )
    else:
        poll = read_once(logdirs)
    if loaded:
        batches = tuple(replace(b, run=loaded.under_root(b.run)) for b in poll.batches)
        poll = replace(poll, batches=batches)
    with progress("runs judged") as told:
        return survey_of(poll, plan, now, told)


def _as_in_service(config: Config, logdir: Path) -> SourceOptions:
    """Return how the service reads what is under the root of a log directory."""
    home = config.under_root(RunKey(str(logdir), ".")).root
    root = next(one for one in config.roots if one.path == home)
    own = source_options(root)
    return replace(ONE_SHOT, symlinks=own.symlinks, prune=own.prune, done_markers=own.done_markers)


# -------------------------------------------------------------------- scan


def health(found: Survey) -> Iterator[str]:
    """Say, a line each, what could not be read wholly, and which rules had nothing to look at."""
    for one in found.ailments:
        yield f"{one.path}: {one.health.value}: {one.detail}"
    for rule in found.blind:
        yield f"{rule.alert} looks at no run here: {_meant(rule)}"
    for rule, tags in found.tagless:
        said = ", ".join(clean(tag) for tag in tags)
        yield f"{rule.alert}: no run that it may look at has {said}; see watcher explain"
    if unjudged := found.unjudged:
        names = ", ".join(clean(run.key.run) for run in unjudged[:_NAMED])
        more = f" and {len(unjudged) - _NAMED} more" if len(unjudged) > _NAMED else ""
        yield (
            f"no rule looks at any series of {names}{more}: only a silence would be told; "
            "watcher explain shows the tags, pins under [roles] in a config give them a meaning"
        )


def as_jsonl(found: Survey) -> Iterator[str]:
    """One JSON object an alert."""
    for alert in found.alerts:
        yield json.dumps(as_json(alert))


def as_text(found: Survey) -> Iterator[str]:
    """One line an alert, then one line that counts."""
    several = len({run.key.root for run in found.runs}) > 1
    for alert in found.alerts:
        at = steps(alert)
        state = "" if alert.state.value == "firing" else f" ({alert.state.value})"
        about = f" of {tag}" if (tag := subject(alert)) else ""
        where = place(alert, rooted=several)
        yield (
            f"{alert.severity.value:<8} {where}: {alert.alert}{about}{state}"
            f"{', ' + at if at else ''}: {what(alert)}"
        )
    kinds = Counter(a.detector for a in found.alerts)
    said = ", ".join(f"{n} {name}" for name, n in kinds.most_common()) or "nothing to say"
    runs, findings = _many(len(found.runs), "run"), _many(len(found.alerts), "finding")
    yield f"{runs} with scalars, {findings}: {said}"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def convergence(found: Survey) -> Iterator[str]:
    """Say of each run when it should have stopped, or that it has not converged."""
    for run in found.runs:
        yield f"{_name(run)}: {when_to_stop(run) or 'has not converged'}"


def against_labels(found: Survey, table: Sequence[Labelled]) -> Iterator[str]:
    """Say, per label, in how many runs the findings agree with it, and name the others.

    Where the table has onsets, also in how many of those the onset is near.
    """
    ends = {run.key.run: run.last_step for run in found.runs}
    yield f"label            runs  agree         onset within {NEAR:.0%} of the run"
    for row in agreement(table, found.alerts, ends):
        part = f"{row.agreed:>4}  {row.agreed / row.runs:>4.0%}"
        near = f"  {row.near:>5} of {row.timed}" if row.timed else ""
        yield f"{row.label:<16} {row.runs:>4}  {part}{near}"
        for other in row.others:
            yield f"    not: {other}"


def draw(found: Survey, directory: Path) -> Iterator[str]:
    """Draw each finding as ``<number>-<run>-<alert>.png``; say of which there is no picture, and
    of pictures that were there before: they are nobody's to remove.
    """
    from watcher.picture import picture

    directory.mkdir(parents=True, exist_ok=True)
    others = {path.name for path in directory.glob("*.png")}
    runs = {run.key: run for run in found.runs}
    for number_, alert in enumerate(found.alerts):
        png = picture(runs[alert.slot.run], alert)
        if png is None:
            why = "no series, or one of an earlier try, whose curves are not held"
            yield f"no picture of {place(alert)}: {alert.alert}: it is about {why}"
        else:
            letters = (c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in alert.run)
            drawn = f"{number_:03d}-{''.join(letters)[-100:]}-{alert.alert}.png"
            (directory / drawn).write_bytes(png)
            others.discard(drawn)
    if others:
        yield f"{directory}: {len(others)} other pictures were there before, such as {min(others)}"


# -------------------------------------------------------------------- explain


def explained(found: Survey, only: str | None) -> Iterator[str]:
    """Say what each tag means, what each rule sees and what it says, run by run."""
    if not found.runs:
        raise WatcherError("no scalars here; name a run's directory that holds event files")
    names = {bound.subject.rule.alert for run in found.runs for bound in run.bounds}
    if only is not None and only not in names:
        raise WatcherError(_why_not(found, only, names))
    for run in found.runs:
        yield from _explained_run(run, only)


def _why_not(found: Survey, alert: str, names: Collection[str]) -> str:
    """Say why no rule of this name looks at any of the runs."""
    rule = next((one for one in found.rules if one.alert == alert), None)
    these = ", ".join(sorted(names)) or "none"
    if rule is None:
        hint = did_you_mean(alert, {r.alert for r in found.rules})
        return f"there is no rule {alert}{hint or f'; these look at this run: {these}'}"
    if rule in found.blind:
        return f"{alert} does not look at this run: {_meant(rule)}"
    wants = [one.tag or (one.role.value if one.role else "") for one in rule.inputs.values()]
    return (
        f"{alert} finds none of the series it needs here ({', '.join(wants)}); these do: {these}"
    )


def _meant(rule: Rule) -> str:
    """Say for which runs a rule is."""
    wanted = ", ".join(f"{name}={clean(glob)}" for name, glob in rule.match.items())
    whose = f"those that team {rule.team} may see" if rule.team else ""
    return f"it is for {' and '.join(filter(None, (wanted, whose)))}; labels come from -c config"


def _explained_run(run: Watched, only: str | None) -> Iterator[str]:
    kind = "".join(
        word
        for word, true in (
            (", reinforcement learning", run.traits.reinforcement),
            (", adversarial", run.traits.adversarial),
            (", logs parts of its loss", run.traits.parts),
        )
        if true
    )
    yield f"run {_name(run)}: {run.state.value}, attempt {run.attempt + 1}{kind}"
    if done := when_to_stop(run):
        yield f"  {done}"
    for name, member in run.members.items():
        if member.ignored:
            yield f"  {member.ignored} values in {name} are not one number, or unreadable: ignored"
    yield "  tags"
    width = min(_WIDEST, max(len(tag) for tag in run.counts))
    for tag, points in sorted(run.counts.items()):
        meaning = run.assigned.get(tag)
        said = "no role: not judged"
        if meaning is not None:
            main = ", main" if meaning.main else ""
            better = f"{meaning.better.value} is better"
            said = f"{meaning.role.value} ({better}), stem {meaning.stem}{main}"
        yield f"    {tag:<{width}}  {points:>7} points  {said}"
    yield "  rules"
    for bound in run.bounds:
        rule = bound.subject.rule
        if only not in (None, rule.alert):
            continue
        sees = ", ".join(f"{name}={tag}" for name, tag in bound.subject.tags.items())
        alert = run.alerts.get(bound.slot)
        state = f", alert {alert.state.value}" if alert else ""
        yield f"    {rule.alert} ({rule.detector}) sees {sees or 'the run as a whole'}"
        reason = f": {bound.verdict.reason}" if bound.verdict.reason else ""
        yield f"      says {bound.verdict.status.value}{_up_to(bound)}{state}{reason}"


def _up_to(bound: Bound) -> str:
    """Say how much of its series a rule has seen: what is unknown may just need more."""
    window = bound.windows.get(bound.subject.detector.trigger)
    if window is None or not window.count:
        return ""
    return f" after {window.count} points, {number(window.last_value)} at step {window.last_step}"


def _name(run: Watched) -> str:
    return clean(run.key.run if run.key.run != "." else run.key.root)


# -------------------------------------------------------------------- read


def table(
    logdir: Path,
    output: Path | None,
    *,
    wide: bool,
    superseded: bool,
    warn: Callable[[str], None],
) -> bool:
    """Write the scalars under ``logdir`` to ``output``, as CSV to stdout without one.

    False if there was something to read, and none of it could be.
    """
    import sys
    import warnings

    from watcher import frames

    if output is not None and output.suffix not in _WRITERS:
        raise WatcherError(f"{output}: ending not known; use one of {', '.join(_WRITERS)}")
    if output is not None:
        _must_be_writable(output)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept: frames.Superseded = "keep" if superseded else "drop"
        with progress("directories read") as told:
            frame = frames.read_scalars(logdir, superseded=kept, progress=told)
    for warning in caught:
        warn(str(warning.message))
    if wide:
        frame = frames.wide(frame)
    if output is None:
        frame.to_csv(sys.stdout, index=False)
    else:
        _save(frame, output)
    return len(frame) > 0 or not caught


def _must_be_writable(output: Path) -> None:
    import os

    if not output.parent.is_dir():
        raise WatcherError(f"{output}: no directory {output.parent}; create it")
    there = output if output.exists() else output.parent
    if output.is_dir() or not os.access(there, os.W_OK):
        raise WatcherError(f"{output}: cannot be written; choose another file")


def _save(frame: pd.DataFrame, output: Path) -> None:
    try:
        if output.suffix == ".csv":
            frame.to_csv(output, index=False)
        elif output.suffix == ".parquet":
            frame.to_parquet(output, index=False)
        else:
            frame.to_feather(output)
    except ImportError as error:
        raise WatcherError(
            f"{output}: {output.suffix} needs pyarrow; pip install 'tb-watcher[parquet]'"
        ) from error


# -------------------------------------------------------------------- check


def problems(config: Path | None, packs: Sequence[Path]) -> tuple[list[Problem], str]:
    """Return everything wrong with a config and packs, and what was checked."""
    found: list[Problem] = []
    checked: list[str] = []
    if config is not None:
        checked.append(str(config))
        try:
            loaded, found = examine_config(config)
            if loaded is not None and loaded.without_shipped:
                checked[0] += ' (without the shipped packs; add "shipped" to rules.packs for them)'
        except InvalidInput as error:
            found += error.problems
    if packs or config is None:
        chosen = packs_of(packs)
        try:
            load_packs(chosen)
        except InvalidInput as error:
            found += error.problems
        checked.append(_many(len(pack_files(chosen)), "rule pack"))
    return sorted(set(found)), " and ".join(checked)
