"""What did the operator ask for? One frozen ``Config`` out of the TOML; errors name the key.

``load_config`` checks what the file says by itself; ``check_environment`` whether roots, packs and
secrets are there. Both say everything that is wrong at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from watcher.configtext import (
    MIN_SILENCE,
    NAME,
    ConfigText,
    HeartbeatText,
    IntervalText,
    PinText,
    RootText,
    RouteText,
    TeamText,
    toml_places,
    toml_syntax,
)
from watcher.errors import InvalidInput, Problem, WatcherError
from watcher.globs import fits
from watcher.model import Role, Rule, RunKey, Severity
from watcher.muting import Hours, Interval
from watcher.notify.http import check_address
from watcher.ownalerts import OWN_RULES
from watcher.places import Places, Strict, Where, did_you_mean, problems_of, shown
from watcher.receivers import CONSOLE, Receiver, Secret
from watcher.receivertext import RECEIVERS, ReceiverText
from watcher.roles import Pin
from watcher.routing import OWN_LABELS, Route
from watcher.rules import packs_dir, read_packs
from watcher.runs import label_names, template_labels
from watcher.source.listing import DONE_MARKERS

# what a nested route has of its parent where it says nothing, as in Alertmanager
_INHERITED = ("group_by", "group_wait", "group_interval", "repeat_interval")
_STATE_DIR = re.compile(r"""^\s*state_dir\s*=\s*("[^"\n]*"|'[^'\n]*')""", re.MULTILINE)
SHIPPED = "shipped"  # among packs: those that come with the program
_SECRET_WORDS = ("token", "bot_token", "secret", "password", "api_key")
# what jobs and threads are made for when the service starts: of these a change waits for a restart
RESTART = (
    "roots",
    "receivers",
    "owners",
    "state_dir",
    "poll_interval",
    "checkpoint_every",
    "catch_up",
    "log_level",
    "listen",
    "heartbeat",
)
Intervals = Mapping[str, tuple[Interval, ...]]

# ------------------------------------------------------------------------- what comes out


@dataclass(frozen=True, slots=True)
class Root:
    """One tree of runs. Durations are seconds."""

    path: str
    grouping: bool = True
    symlinks: Literal["never", "within-root", "always"] = "never"
    prune: tuple[str, ...] = ()
    done_markers: tuple[str, ...] = DONE_MARKERS
    labels: str = ""
    corrupt_grace: float = 600.0
    gpus_per_run: float = 0.0

    def labels_of(self, run: str) -> dict[str, str]:
        """Return a run's labels from the leading parts of its path, as far as it has so many."""
        found = template_labels(self.labels, run) if self.labels else {}
        return {"gpus": f"{self.gpus_per_run:g}", **found} if self.gpus_per_run else found


@dataclass(frozen=True, slots=True)
class Team:
    """What a team is granted. Without ``roots`` or ``receivers`` it has all of them."""

    name: str
    packs: tuple[Path, ...] = ()
    roots: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    members: tuple[str, ...] = ()  # Slack user ids: who may press buttons; empty: everybody


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Where signs of life go: an address that is a secret; and how often, in seconds."""

    url: Secret
    every: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The rules in force, and what is ``refused``, by team.

    ``texts``: the packs of each team that were taken, as written, by file: to be kept for a start
    at which they are refused.
    """

    rules: tuple[Rule, ...]
    refused: Mapping[str, InvalidInput]
    texts: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Config:
    """All that the operator asked for, checked. Durations are seconds, paths are absolute.

    ``state_dir`` is "" for a state in memory, ``listen`` "" for no metrics. ``packs`` empty: the
    shipped ones. ``routes`` has the teams' grants worked in: no alert of a team's rule goes to a
    receiver it was not granted.
    """

    roots: tuple[Root, ...]
    receivers: Mapping[str, Receiver]
    routes: tuple[Route, ...]
    state_dir: str = ""
    poll_interval: float = 30.0
    catch_up: float = 3600.0
    checkpoint_every: float = 300.0
    shutdown_timeout: float = 30.0
    ended_after: float = 6 * 3600.0
    min_silence: float = MIN_SILENCE
    log_level: str = "info"
    listen: str = ""
    heartbeat: Heartbeat | None = None
    packs: tuple[Path, ...] = ()
    disable: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)  # label user -> Slack user id
    teams: Mapping[str, Team] = field(default_factory=dict)
    path: Path | None = None

    def load_rules(self) -> tuple[Rule, ...]:
        """Return the rules in force: the operator's, then the teams', less the disabled ones.

        ``min_silence`` holds for every rule that has such a parameter. InvalidInput with every
        problem of every pack.
        """
        loaded = self.rules_after(())
        if loaded.refused:
            raise InvalidInput([p for error in loaded.refused.values() for p in error.problems])
        return loaded.rules

    def rules_after(self, last: Sequence[Rule]) -> Loaded:
        """Return the rules in force after those of ``last``.

        A team whose packs are refused keeps what it had. InvalidInput if it is the operator's.
        """
        rules: list[Rule] = []
        refused: dict[str, InvalidInput] = {}
        texts: dict[str, dict[str, str]] = {}
        for paths, team in self._pack_sets():
            try:
                packs = read_packs(paths, team=team)
            except InvalidInput as error:
                refused[team] = error
                there = {rule.id for rule in rules}  # the operator may write rules for a team
                rules += [rule for rule in last if rule.team == team and rule.id not in there]
            else:
                rules += [rule for pack in packs for rule in pack.rules]
                texts[team] = {str(pack.path): pack.text for pack in packs}
        texts.pop("", None)
        problems = list(refused.pop("").problems) if "" in refused else []
        if problems:
            problems += [one for error in refused.values() for one in error.problems]
        names = {rule.alert for rule in rules}
        if not (problems or refused):
            file = str(self.path or "config")
            problems += [
                Problem(file, 0, 0, f'rules.disable: no rule "{name}"{did_you_mean(name, names)}')
                for name in self.disable
                if name not in names
            ]
        if problems:
            raise InvalidInput(problems)
        enabled = tuple(self._patient(r) for r in rules if r.alert not in self.disable)
        return Loaded(enabled, refused, texts)

    def until_restart(self, fresh: Config, begun: Config) -> tuple[Config, list[str]]:
        """Return what can be taken of a ``fresh`` config while this is in force; and what waits.

        While roots or receivers wait, so do the routes, what the teams are granted, and teams
        that were not there when the service had ``begun``, or since.
        """
        waiting = [key for key in RESTART if getattr(fresh, key) != getattr(self, key)]
        held = {key: getattr(self, key) for key in waiting}
        if {"roots", "receivers"} & held.keys():
            known = {**begun.teams, **self.teams}
            waiting += [f"team {name}" for name in fresh.teams if name not in known]
            held["routes"] = self.routes
            held["teams"] = {
                name: dataclasses.replace(known[name], packs=team.packs, members=team.members)
                for name, team in fresh.teams.items()
                if name in known
            }
        return dataclasses.replace(fresh, **held), waiting

    def rule_files(self) -> list[Path]:
        """Return the files and directories of rules whose change asks for a reload."""
        found: dict[Path, None] = {}
        for packs, _ in self._pack_sets():
            for path in packs or (packs_dir(),):
                found[path] = None
                if path.is_dir():
                    found.update(dict.fromkeys(sorted(path.glob("*.y*ml"))))
        return list(found)

    def grants(self) -> dict[str, frozenset[str]]:
        """Return, for each team that may not look everywhere, the roots it may look at."""
        return {t.name: frozenset(t.roots) for t in self.teams.values() if t.roots}

    def members(self) -> dict[str, frozenset[str]]:
        """Return, for each team that named some, the Slack users who may act on its alerts."""
        return {t.name: frozenset(t.members) for t in self.teams.values() if t.members}

    def no_resolved(self) -> frozenset[str]:
        """Return the receivers that do not want to hear that something is resolved."""
        return frozenset(r.name for r in self.receivers.values() if not r.text.send_resolved)

    def labels_for(self, root: str, run: str) -> dict[str, str]:
        """Return the labels of a run under ``root``, from its path."""
        return next((r.labels_of(run) for r in self.roots if r.path == root), {})

    def under_root(self, directory: RunKey) -> RunKey:
        """Name a directory as the service does: by the root it is under, and its path there.

        WatcherError if it is under none.
        """
        path = os.path.normpath(f"{os.path.abspath(directory.root)}/{directory.run}")  # noqa: PTH100
        for root in self.roots:
            if path == root.path or path.startswith(root.path.rstrip("/") + "/"):
                return RunKey(root.path, os.path.relpath(path, root.path))
        raise WatcherError(f"{path}: under no root of {self.path}; add one, or leave out -c")

    @property
    def without_shipped(self) -> bool:
        """Whether the operator's own packs stand in place of the shipped ones."""
        return bool(self.packs) and packs_dir() not in self.packs

    def _pack_sets(self) -> Iterator[tuple[tuple[Path, ...] | None, str]]:
        yield self.packs or None, ""
        for team in self.teams.values():
            if team.packs:
                yield team.packs, team.name

    def _patient(self, rule: Rule) -> Rule:
        silence = getattr(rule.params, "min_silence", None)
        if not isinstance(silence, (int, float)) or silence >= self.min_silence:
            return rule
        params = dataclasses.replace(rule.params, min_silence=self.min_silence)
        return dataclasses.replace(rule, params=params)


def default_config(logdirs: Sequence[str]) -> Config:
    """Return what ``watcher run LOGDIR...`` means: these roots, the console, state in memory.

    Links are followed, since TensorBoard does; who names a directory means what is in it.
    """
    roots = tuple(Root(os.path.abspath(d), symlinks="always") for d in logdirs)  # noqa: PTH100
    return Config(
        roots=tuple({root.path: root for root in roots}.values()),
        receivers={CONSOLE: Receiver(CONSOLE)},
        routes=(Route(CONSOLE),),
        poll_interval=5.0,
        log_level="warning",
    )


# ------------------------------------------------------------------------- reading


def load_config(path: Path) -> Config:
    """Read and check one config. InvalidInput with every problem; the file's paths are not tried.

    Relative paths are taken from the config's own directory.
    """
    return parse_config(_text_of(path), path)


def readable_config(path: Path) -> tuple[Config, list[Problem]]:
    """Return a config as far as it can be made out, its state_dir at least, and what is wrong.

    InvalidInput if nothing can be. It is enough to look at what a service left, or is doing.
    """
    text = _text_of(path)
    config, problems = _parsed(text, path)
    if config is None and (said := _STATE_DIR.search(text)) is not None:
        config, _ = _parsed(f'{said.group()}\n[[roots]]\npath = "."\n', path)
    if config is None:
        raise InvalidInput(problems)
    return config, problems


def parse_config(text: str, path: Path) -> Config:
    """Return the config that ``text`` describes; ``path`` is where it is said to be."""
    config, problems = _parsed(text, path)
    if problems or config is None:
        raise InvalidInput(problems)
    return config


def examine_config(path: Path) -> tuple[Config | None, list[Problem]]:
    """Return what can be made out of one config, and all that is wrong with it and around it."""
    config, problems = _parsed(_text_of(path), path)
    if config is None:
        return None, problems
    return config, problems + check_environment(config, whole=not problems)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidInput([Problem(str(path), 0, 0, f"cannot be read: {why}")]) from error


def _parsed(text: str, path: Path) -> tuple[Config | None, list[Problem]]:
    """Return the config, as far as it can be made out, and what is wrong with it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [toml_syntax(error, str(path))]
    maker = _Maker(str(path), toml_places(text), path.absolute().parent)
    try:
        said = _checked(data)
    except ValidationError as error:
        maker.problems += problems_of(error, ConfigText, str(path), maker.places)
        wrong = [_innermost(data, one["loc"]) for one in error.errors(include_url=False)]
        for table, key in wrong:  # so that the rest can be looked at
            table.pop(key, None)
        try:
            said = _checked(data)
        except ValidationError:
            if isinstance(data.get("receivers"), dict):
                maker.receivers(data["receivers"])
            return None, maker.problems
    return maker.config(said, path), maker.problems


def _checked(data: Mapping[str, Any]) -> ConfigText:
    return ConfigText.model_validate_json(json.dumps(data, default=str))


def _innermost(data: Any, where: Where) -> tuple[dict[str, Any], str]:
    """Return the last table on the way to ``where``, and the key in it."""
    found: tuple[dict[str, Any], str] = ({}, "")
    for part in where:
        if isinstance(data, dict) and part in data:
            found = data, str(part)
        elif not (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            break
        data = data[part]
    return found


# ------------------------------------------------------------------------- making


class _Maker:
    """Makes the config of checked text; collects what only the whole of it shows to be wrong."""

    def __init__(self, file: str, places: Places, base: Path) -> None:
        self.problems: list[Problem] = []
        self.places = places
        self._file, self._base = file, base

    def config(self, text: ConfigText, path: Path) -> Config:
        """Return the config; worth nothing if there are problems."""
        roots = self._roots(text.roots)
        receivers = self.receivers(text.receivers)
        teams = {n: self._team(n, t, roots, receivers) for n, t in text.teams.items()}
        return Config(
            roots=roots,
            receivers=receivers,
            routes=self._routes(text.route, receivers, teams, _intervals(text.time_intervals)),
            state_dir=self._path(text.state_dir) if text.state_dir else "",
            poll_interval=text.poll_interval,
            catch_up=text.catch_up,
            checkpoint_every=text.checkpoint_every,
            shutdown_timeout=text.shutdown_timeout,
            ended_after=text.ended_after,
            min_silence=text.min_silence,
            log_level=text.log_level,
            listen=text.listen,
            heartbeat=self._heartbeat(text.heartbeat),
            packs=self._packs(text.rules.packs),
            disable=text.rules.disable,
            pins=tuple(_pin(pin) for pin in text.roles.pins),
            owners=text.owners,
            teams=teams,
            path=path,
        )

    def receivers(self, tables: Mapping[str, Any]) -> dict[str, Receiver]:
        """Return the receivers, the console alone if none is named."""
        made: dict[str, Receiver] = {}
        for name, table in tables.items():
            where: Where = ("receivers", name)
            if not re.fullmatch(NAME, name):
                self._say(where, f'receiver "{name}": use letters, digits, _ . -')
            made[name] = Receiver(name)  # known by its name, whatever is wrong with it
            if isinstance(table, dict) and (receiver := self._receiver(name, table, where)):
                made[name] = receiver
        for name, receiver in made.items():
            if receiver.fallback and (
                receiver.fallback not in tables or receiver.fallback == name
            ):
                self._unknown(("receivers", name, "fallback"), receiver.fallback, tables)
        return made if tables else {CONSOLE: Receiver(CONSOLE)}

    def _receiver(self, name: str, table: dict[str, Any], where: Where) -> Receiver | None:
        kind = table.get("type")
        if not isinstance(kind, str) or kind not in RECEIVERS:
            hint = did_you_mean(kind, RECEIVERS) if isinstance(kind, str) else ""
            said = f"unknown type {shown(kind)}" if "type" in table else 'missing key "type"'
            self._say((*where, "type"), f"{said}{hint or '; known: ' + ', '.join(RECEIVERS)}")
            return None
        before, model = len(self.problems), RECEIVERS[kind]
        plain = {k: v for k, v in table.items() if not self._literal(k, model, where)}
        try:
            text = model.model_validate_json(json.dumps(plain, default=str))
        except ValidationError as error:
            self.problems += problems_of(error, model, self._file, self.places, where)
            return None
        found = {s: self._secret(text, s, where, needed=n) for s, n in model.secrets.items()}
        secrets = {name: secret for name, secret in found.items() if secret is not None}
        self._guard(text, secrets, where)
        paths = {key: self._path(p) for key in model.paths if (p := getattr(text, key))}
        return (
            Receiver(name, text.model_copy(update=paths), secrets)
            if len(self.problems) == before
            else None
        )

    def _literal(self, key: str, model: type[ReceiverText], where: Where) -> bool:
        """Refuse a secret written into the file, before anything could repeat it."""
        if not model.secrets or key not in (*model.secrets, *_SECRET_WORDS):
            return False
        good = key if key in model.secrets else next(iter(model.secrets))
        message = f"{key}: no secrets in the config; use {good}_file or {good}_credential"
        self._say((*where, key), message)
        return True

    def _heartbeat(self, text: HeartbeatText | None) -> Heartbeat | None:
        if text is None:
            return None
        url = self._secret(text, "url", ("heartbeat",), needed=True)
        return Heartbeat(url, text.every) if url else None

    def _secret(self, text: Strict, name: str, where: Where, *, needed: bool) -> Secret | None:
        file, credential = (getattr(text, f"{name}_{kind}") for kind in ("file", "credential"))
        if file and credential:
            self._say(where, f"name either {name}_file or {name}_credential, not both")
        if credential and not re.fullmatch(NAME, credential):
            self._say((*where, f"{name}_credential"), f"{name}_credential: a name, not a path")
        if needed and not file and not credential:
            self._say(where, f"needs {name}_file or {name}_credential")
        if not file and not credential:
            return None
        return Secret(self._path(file) if file else "", credential)

    def _guard(self, text: ReceiverText, secrets: Mapping[str, Secret], where: Where) -> None:
        """Let the type say what is wrong with the whole of its table."""
        for key, message in text.troubles(frozenset(secrets)):
            self._say((*where, key) if key else where, f"{key}: {message}" if key else message)

    def _roots(self, texts: Sequence[RootText]) -> tuple[Root, ...]:
        made: list[Root] = []
        for i, text in enumerate(texts):
            path = self._path(text.path)
            for other in made:
                if Path(path).is_relative_to(other.path) or Path(other.path).is_relative_to(path):
                    message = f"path: {path} and {other.path} overlap; runs would be seen twice"
                    self._say(("roots", i, "path"), message)
            made.append(Root(**{**text.model_dump(), "path": path}))
        return tuple(made)

    def _team(
        self, name: str, text: TeamText, roots: Sequence[Root], receivers: Mapping[str, Receiver]
    ) -> Team:
        where: Where = ("teams", name)
        paths = tuple(self._path(root) for root in text.roots)
        known = [root.path for root in roots]
        for path in paths:
            if path not in known:
                self._say((*where, "roots"), f"roots: {path} is not one of the config's roots")
        for receiver in text.receivers:
            if receiver not in receivers:
                self._unknown((*where, "receivers"), receiver, receivers)
        return Team(name, self._packs(text.packs), paths, text.receivers, text.members)

    def _routes(
        self,
        text: RouteText | None,
        receivers: Mapping[str, Receiver],
        teams: Mapping[str, Team],
        intervals: Intervals,
    ) -> tuple[Route, ...]:
        if text is None:
            if len(receivers) > 1:
                self._say((), "several receivers but no [route]; say which one alerts go to")
            return (Route(next(iter(receivers), CONSOLE)),)
        if text.match:
            message = "match: the first route takes everything; match in [[route.routes]]"
            self._say(("route", "match"), message)
        top = self._route(text, ("route",), None, receivers, intervals)
        granted = (granted_route(top, team) for team in teams.values() if team.receivers)
        return (*granted, top)

    def _route(
        self,
        text: RouteText,
        where: Where,
        parent: Route | None,
        receivers: Mapping[str, Receiver],
        intervals: Intervals,
    ) -> Route:
        if parent is not None:  # what it does not say is as its parent has it
            unsaid = [key for key in _INHERITED if key not in text.model_fields_set]
            text = text.model_copy(update={key: getattr(parent, key) for key in unsaid})
        receiver = text.receiver or (parent.receiver if parent else "")
        if not receiver:
            self._say(where, 'missing key "receiver"')
        elif text.receiver and receiver not in receivers:
            self._unknown((*where, "receiver"), receiver, receivers)
        made = Route(
            receiver=receiver,
            match=text.match,
            group_by=text.group_by,
            group_wait=text.group_wait,
            group_interval=text.group_interval,
            repeat_interval=text.repeat_interval,
            min_severity=text.min_severity,
            go_on=text.go_on,
            hours=Hours(
                self._named(text.mute_time_intervals, (*where, "mute_time_intervals"), intervals),
                self._named(
                    text.active_time_intervals, (*where, "active_time_intervals"), intervals
                ),
            ),
        )
        nested = tuple(
            self._route(one, (*where, "routes", i), made, receivers, intervals)
            for i, one in enumerate(text.routes)
        )
        return dataclasses.replace(made, routes=nested)

    def _named(
        self, names: Sequence[str], where: Where, intervals: Intervals
    ) -> tuple[Interval, ...]:
        for name in names:
            if name not in intervals:
                hint = did_you_mean(name, intervals) or "; add [[time_intervals.NAME]]"
                self._say(where, f'{where[-1]}: no time interval "{name}"{hint}')
        return tuple(one for name in names for one in intervals.get(name, ()))

    def _unknown(self, where: Where, name: str, known: Mapping[str, Any]) -> None:
        key = next(part for part in reversed(where) if isinstance(part, str))
        hint = did_you_mean(name, known) or "; add [receivers.NAME]"
        self._say(where, f'{key}: no receiver "{name}"{hint}')

    def _path(self, text: str) -> str:
        return os.path.normpath(self._base / Path(text).expanduser())

    def _packs(self, texts: Sequence[str]) -> tuple[Path, ...]:
        return tuple(packs_dir() if t == SHIPPED else Path(self._path(t)) for t in texts)

    def _say(self, where: Where, message: str) -> None:
        place = self.places.of(where, key=True)
        self.problems.append(Problem(self._file, *place, message))


def _intervals(tables: Mapping[str, Sequence[IntervalText]]) -> Intervals:
    return {
        name: tuple(
            Interval(t.times, t.weekdays, t.days_of_month, t.months, t.years, t.location)
            for t in texts
        )
        for name, texts in tables.items()
    }


def _pin(text: PinText) -> Pin:
    role = Role(text.role) if text.role not in ("", "none") else None
    return Pin(text.tag, role, text.better)


def granted_route(top: Route, team: Team) -> Route:
    """Return ``top`` for one team's alerts: what would go elsewhere goes to its first receiver."""

    def within(route: Route) -> Route:
        receiver = route.receiver if route.receiver in team.receivers else team.receivers[0]
        routes = tuple(within(one) for one in route.routes)
        return dataclasses.replace(route, receiver=receiver, routes=routes)

    return dataclasses.replace(within(top), match={"rule_team": team.name})


# ------------------------------------------------------------------------- the world around


def check_environment(config: Config, *, whole: bool = True) -> list[Problem]:
    """Return what is not there, or cannot be used: roots, packs and rules, secrets, state.

    Of a config that is not ``whole`` nothing is said of what may only be missing in it.
    """
    file = str(config.path or "config")
    said = [_root_trouble(root) for root in config.roots]
    if config.heartbeat:
        said.append(_heartbeat_trouble(config.heartbeat))
    for receiver in config.receivers.values():
        said += [_secret_trouble(receiver.name, one) for one in receiver.secrets.values()]
        said.append(f"receiver {receiver.name}: {receiver.missing}" if receiver.missing else "")
        said += [_file_trouble(receiver, key) for key in receiver.text.paths]
    if config.state_dir:
        said.append(state_trouble(Path(config.state_dir)))
    problems = [Problem(file, 0, 0, message) for message in said if message]
    try:
        rules = config.load_rules()
    except InvalidInput as error:
        problems += error.problems
    else:
        problems += _unmatched(config, rules, file) if whole else ()
    return sorted(problems)


def _unmatched(config: Config, rules: Sequence[Rule], file: str) -> Iterator[Problem]:
    """Say where a rule or a route asks for a label that no run can have: it would never apply."""
    given = _run_labels(config)
    for rule in rules:
        for name in rule.match.keys() - given - {"run"}:
            hint = did_you_mean(name, {*given, "run"}) or "; see labels under [[roots]]"
            said = f'{rule.alert}: no run has the label "{name}"{hint}'
            yield Problem(rule.origin or file, 0, 0, said)
    known = alert_labels(config, rules)
    possible = {
        "severity": frozenset(Severity),
        "alert": {rule.alert for rule in (*rules, *OWN_RULES)}.union(config.disable),
        "detector": {rule.detector for rule in (*rules, *OWN_RULES)},
    }
    stack = list(config.routes)
    for route in stack:
        stack += route.routes
        for name in route.match.keys() - known:
            hint = did_you_mean(name, known) or "; see labels under [[roots]]"
            yield Problem(file, 0, 0, f'route: no alert has the label "{name}"{hint}')
        for name, values in possible.items():
            wanted = route.match.get(name, "*")
            if not any(fits(value, wanted) for value in values):
                hint = did_you_mean(wanted, values)
                yield Problem(file, 0, 0, f'route: no alert has {name} "{wanted}"{hint}')


def alert_labels(config: Config, rules: Sequence[Rule]) -> frozenset[str]:
    """Return the names of all labels that an alert may have."""
    return _run_labels(config) | OWN_LABELS | {name for rule in rules for name in rule.labels}


def _run_labels(config: Config) -> frozenset[str]:
    given = {name for root in config.roots for name in label_names(root.labels)}
    return frozenset(given | {"gpus"})


def _root_trouble(root: Root) -> str:
    path = Path(root.path)
    if not path.exists():
        return f"root {path}: no such directory; mount it, or correct path under [[roots]]"
    if not path.is_dir():
        return f"root {path}: not a directory"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"root {path}: permission denied; let the service's user read it"
    return ""


def _secret_trouble(receiver: str, secret: Secret) -> str:
    if secret.elsewhere:
        return ""
    try:
        secret.read()
    except WatcherError as error:
        return f"receiver {receiver}: {error}"
    return ""


def _heartbeat_trouble(heartbeat: Heartbeat) -> str:
    if heartbeat.url.elsewhere:
        return ""
    try:
        check_address(heartbeat.url.read(), private=True)
    except WatcherError as error:
        return f"heartbeat: {error}"
    except ValueError as error:  # says what is wrong with the address, not what it is
        return f"heartbeat: its address {error}"
    return ""


def _file_trouble(receiver: Receiver, key: str) -> str:
    path = getattr(receiver.text, key)
    if not path or os.access(path, os.R_OK):
        return ""
    return f"receiver {receiver.name}: {key} {path}: missing, or not readable by this user"


def state_trouble(path: Path) -> str:
    """Say why the state cannot be kept there, "" if it can."""
    if path.is_symlink() and not path.exists():
        return f"state_dir {path}: a link that leads nowhere; correct it"
    there = path if path.exists() else path.parent
    if not there.is_dir():
        return f"state_dir {path}: no such directory; create {there}"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"state_dir {path}: its file system is mounted read-only; mount it for writing"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"state_dir {path}: not writable; let the service's user write to {there}"
    return ""
