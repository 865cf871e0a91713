"""What to do about the extensions: a pure function from what is wanted and what is on disk to operations.

    plan(desired, observed, refusals) -> tuple[Turn, ...]        everything, supposing that all goes well
    turn(pair, observed, signed)      -> tuple[Operation, ...]   one pair, from what is on disk just now
    after(operation, observed)        -> Observed                what is on disk when the operation has gone well

A *pair* is a handler with one of its settings, or with none. Pairs are taken in order: removals first, highest
dependency level first, then what is to be enabled, lowest level first. Each gets one Turn. The executor asks for a
turn's operations when it comes, so that every decision follows from the disk as it is; plan() does the same with a
disk that is imagined, and is what tests and people look at.

Operation verbs:
    download     the package on disk, unpacked         initialise   modes, manifest, folders, environment
    settings     write the settings file               install, enable, disable, update, uninstall   run the command
    carry        mrseq and status files to the new version          remove   delete the version's directory and zip
    forget       delete an instance's files            idle   note that no instance is enabled any more
    check        the signed package in the place of what was installed, which is to be installed again then

signed: whether a policy requires a good signature. Then nothing is run of a version without one but what removes or
replaces it: what is installed already is checked first. Removals never carry a signature, so they are not held up.

Source: extensions 4.2 - 4.7, 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from waagent.extensions import version as versions
from waagent.extensions.handler import ENABLED, INSTALLED, NOT_INSTALLED
from waagent.fabric import desired as model
from waagent.fabric.desired import Desired, Handler, Settings

STOP, IF_CONTINUE, IGNORE = "stop", "unless the new version continues on update failure", "ignore"


class Operation(NamedTuple):
    """One step. version is the directory it acts in.

    failure         stop the turn, IGNORE, or IF_CONTINUE: the new version's manifest decides
    update          "" or the version that is being replaced: the step belongs to an update from it to `target`
    target          the version the handler will have in the end
    by_mode         the step is left out if the new version's manifest does not say UpdateWithInstall
    """

    verb: str
    handler: str
    version: str
    instance: str = ""
    sequence: int = 0
    failure: str = STOP
    update: str = ""
    target: str = ""
    by_mode: bool = False

    def __str__(self) -> str:
        instance = f"/{self.instance}" if self.instance else ""
        return f"{self.verb} {self.handler}{instance} {self.version}"


class OnDisk(NamedTuple):
    """One version of a handler on disk.

    instances and disabled: of its instances (multi-config) those enabled, and those disabled since. checked: its
    package had a good signature.
    """

    name: str
    version: str
    state: str
    instances: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    checked: bool = False


class Update(NamedTuple):
    """An update that was begun and not finished.

    disabled     instance ("" for single-config) -> exit code of the old version's disable
    updated      the update command has succeeded
    uninstalled  exit code of the old version's uninstall, "" when it has not run
    """

    old: str
    new: str
    disabled: Mapping[str, str] = {}
    updated: bool = False
    uninstalled: str = ""


class Refusal(NamedTuple):
    """Why a handler is not processed. code None: 1009 or 1010, as the requested state is (a denial).

    before_dependencies: it counts even when a dependency failed (options and unreadable policies).
    """

    message: str
    code: int | None = -1
    before_dependencies: bool = False
    operation: str | None = "InvalidExtensionConfig"


@dataclass(frozen=True)
class Observed:
    """The disk: versions of handlers, and updates that are under way (handler -> Update)."""

    handlers: tuple[OnDisk, ...] = ()
    updates: Mapping[str, Update] = field(default_factory=dict)

    def find(self, name: str, version: str) -> OnDisk | None:
        return next((one for one in self.handlers if one.name == name and one.version == version), None)

    def state(self, name: str, version: str) -> str:
        one = self.find(name, version)
        return one.state if one else NOT_INSTALLED

    def versions(self, name: str) -> tuple[OnDisk, ...]:
        return tuple(one for one in self.handlers if one.name == name)

    def installed(self, name: str, besides: str = "") -> OnDisk | None:
        """The highest version that is installed."""
        candidates = [
            one
            for one in self.versions(name)
            if one.state in (INSTALLED, ENABLED) and one.version != besides and versions.is_version(one.version)
        ]
        return max(candidates, key=lambda one: versions.key(one.version), default=None)


class Pair(NamedTuple):
    """A handler with one of its settings, or None; key: what the pairs are ordered by (extensions 5.2)."""

    handler: Handler
    settings: Settings | None
    key: int

    @property
    def instance(self) -> str:
        return self.settings.name if self.settings and self.handler.multi_config else ""

    @property
    def sequence(self) -> int:
        return self.settings.sequence if self.settings else 0

    @property
    def label(self) -> str:
        return f"{self.handler.name}.{self.instance}" if self.instance else self.handler.name

    @property
    def id(self) -> str:
        return f"{self.handler.name}/{self.instance}"


class Turn(NamedTuple):
    pair: Pair
    operations: tuple[Operation, ...] = ()
    refusal: Refusal | None = None


def pairs(desired: Desired) -> tuple[Pair, ...]:
    """All pairs in the order in which they are processed."""
    found = []
    for handler in desired.handlers:
        settings: tuple[Settings | None, ...] = handler.settings or (None,)
        for one in settings:
            level = one.level if one else 0
            wanted = handler.state == model.ENABLED and (one is None or one.state == model.ENABLED)
            found.append(Pair(handler, one, level if wanted else -level - 1))
    return tuple(sorted(found, key=lambda pair: pair.key))


def awaited(pair: Pair, ordered: tuple[Pair, ...]) -> bool:
    """Whether what comes later depends on how this pair fares (extensions 5.3)."""
    return pair.key >= 0 and pair.key < max(other.key for other in ordered)


def not_signed(handler: str) -> bool:
    """Where no policy requires signatures."""
    return False


def plan(
    desired: Desired,
    observed: Observed,
    refusals: Mapping[str, Refusal] | None = None,
    signed: Callable[[str], bool] = not_signed,
) -> tuple[Turn, ...]:
    """Every turn with its operations, each supposing that those before it go well."""
    turns = []
    for pair in pairs(desired):
        refusal = (refusals or {}).get(pair.handler.name)
        if refusal is not None:
            turns.append(Turn(pair, refusal=refusal))
            continue
        operations = turn(pair, observed, signed(pair.handler.name))
        observed = after_turn(pair, operations, observed)
        turns.append(Turn(pair, operations))
    return tuple(turns)


def turn(pair: Pair, observed: Observed, signed: bool = False) -> tuple[Operation, ...]:
    """The operations of one pair, from what is on disk."""
    if pair.handler.state == model.UNINSTALL:
        return _uninstall(pair, observed)
    if pair.handler.state == model.DISABLED:
        return _disable(pair, observed)
    return _enable(pair, observed, signed)


def _operation(pair: Pair, verb: str, version: str, **more: object) -> Operation:
    base = Operation(verb, pair.handler.name, version, pair.instance, pair.sequence, target=pair.handler.version)
    return base._replace(**more)  # type: ignore[arg-type]


def _enable(pair: Pair, observed: Observed, signed: bool) -> tuple[Operation, ...]:
    name, wanted = pair.handler.name, pair.handler.version
    state, here = observed.state(name, wanted), observed.find(name, wanted)
    operations: list[Operation] = []
    pending = pending_update(name, wanted, observed)
    removal = pair.settings is not None and pair.settings.state != model.ENABLED  # of one instance
    runs = not removal if state in (INSTALLED, ENABLED) else pending is not None  # what is there, as it is
    check = signed and runs and here is not None and not here.checked
    if check:
        operations.append(_operation(pair, "check", wanted))
    if state in (INSTALLED, ENABLED):
        operations.append(_operation(pair, "settings", wanted))
        if pending is not None:
            operations += _rest_of_removal(pair, pending, observed)
        if check:
            operations.append(_operation(pair, "install", wanted))
    else:
        old = observed.installed(name, besides=wanted)
        if pending is not None:
            operations.append(_operation(pair, "settings", wanted))
            operations += _update(pair, pending, observed)
        else:
            operations.append(_operation(pair, "download", wanted))
            operations.append(_operation(pair, "initialise", wanted))
            operations.append(_operation(pair, "settings", wanted))
            if old is not None:
                operations += _update(pair, Update(old.version, wanted), observed)
            else:
                operations.append(_operation(pair, "install", wanted))
    return (*operations, *_instance_part(pair, wanted, here))


def leftovers(name: str, wanted: str, observed: Observed) -> list[str]:
    """Versions that came to nothing, failed updates above all; none while the wanted one is not there itself."""
    if observed.state(name, wanted) not in (INSTALLED, ENABLED) or name in observed.updates:
        return []
    others = (one for one in observed.versions(name) if one.version != wanted)
    return [one.version for one in others if one.state not in (INSTALLED, ENABLED)]


def pending_update(name: str, wanted: str, observed: Observed) -> Update | None:
    """The update that was begun towards the wanted version, if what it needs is still there."""
    update = observed.updates.get(name)
    if update is None or update.new != wanted or observed.find(name, update.new) is None:
        return None
    return update if update.uninstalled or observed.find(name, update.old) is not None else None


def _instance_part(pair: Pair, version: str, here: OnDisk | None) -> list[Operation]:
    """What is done for the pair's own settings once its handler is installed."""
    if pair.settings is None or pair.settings.state == model.ENABLED:
        return [_operation(pair, "enable", version)]
    operations = []
    if here is not None and pair.instance in here.instances:
        operations.append(_operation(pair, "disable", version, failure=IGNORE))
    if here is not None and pair.instance in here.instances | here.disabled:
        operations.append(_operation(pair, "forget", version))
    return [*operations, _operation(pair, "idle", version)]


def _update(pair: Pair, update: Update, observed: Observed) -> list[Operation]:
    """The steps of an update that have not been done (extensions 4.5)."""
    name, old, new = pair.handler.name, update.old, update.new
    more: dict[str, object] = {"update": old}
    operations: list[Operation] = []
    before = observed.find(name, old)
    if not update.updated:
        if before is not None and before.state == ENABLED:
            operations += _disable_old(pair, before, update, more)
        downgrade = versions.key(new) < versions.key(old)
        operations.append(_operation(pair, "carry", new, **more))
        operations.append(_operation(pair, "update", old if downgrade else new, **more))
    if not update.uninstalled:
        operations.append(_operation(pair, "uninstall", old, failure=IF_CONTINUE, **more))
    operations.append(_operation(pair, "remove", old, failure=IGNORE, **more))
    operations.append(_operation(pair, "install", new, by_mode=True, **more))
    return operations


def _rest_of_removal(pair: Pair, update: Update, observed: Observed) -> list[Operation]:
    """The new version is installed: all that can be left of the update is the old version's directory."""
    if observed.find(pair.handler.name, update.old) is None:
        return []
    return [_operation(pair, "remove", update.old, failure=IGNORE, update=update.old)]


def _disable_old(pair: Pair, before: OnDisk, update: Update, more: Mapping[str, object]) -> list[Operation]:
    if not pair.handler.multi_config:
        return (
            []
            if "" in update.disabled
            else [_operation(pair, "disable", before.version, failure=IF_CONTINUE, **more)]
        )
    operations = []
    for settings in pair.handler.settings:
        if settings.name in before.instances and settings.name not in update.disabled:
            operation = _operation(pair, "disable", before.version, failure=IF_CONTINUE, **more)
            operations.append(operation._replace(instance=settings.name, sequence=settings.sequence))
    return operations


def _disable_here(pair: Pair, here: OnDisk) -> list[Operation]:
    """Disable what is enabled of this version, for all settings the goal state names."""
    if here.state != ENABLED:
        return []
    if not pair.handler.multi_config:
        return [_operation(pair, "disable", here.version, target=here.version)]
    return [
        _operation(pair, "disable", here.version, target=here.version)._replace(
            instance=settings.name, sequence=settings.sequence
        )
        for settings in pair.handler.settings
        if settings.name in here.instances
    ]


def _uninstall(pair: Pair, observed: Observed) -> tuple[Operation, ...]:
    """Every version that is installed, or half so, is uninstalled; then all directories of the name go."""
    operations: list[Operation] = []
    there = sorted(observed.versions(pair.handler.name), key=lambda one: versions.key(one.version), reverse=True)
    for one in there:
        if one.state != NOT_INSTALLED:
            operations += _disable_here(pair, one)
            operations.append(_operation(pair, "uninstall", one.version, failure=IGNORE, target=one.version))
    operations += [_operation(pair, "remove", one.version, target=one.version) for one in there]
    return tuple(operations)


def _disable(pair: Pair, observed: Observed) -> tuple[Operation, ...]:
    """The retired state "disabled": nothing is installed, what is enabled is disabled once."""
    here = observed.installed(pair.handler.name)
    if here is None or here.state != ENABLED:
        return ()
    if pair.handler.multi_config:
        if pair.instance not in here.instances:
            return (_operation(pair, "idle", here.version, target=here.version),)
        return (
            _operation(pair, "disable", here.version, target=here.version),
            _operation(pair, "idle", here.version, target=here.version),
        )
    return (_operation(pair, "disable", here.version, target=here.version),)


# -- what an operation leaves behind -------------------------------------------------------------------------


def after_turn(pair: Pair, operations: tuple[Operation, ...], observed: Observed) -> Observed:
    """The disk after a turn that went well: no update of its handler is under way any more."""
    for operation in operations:
        observed = after(operation, observed)
    updates = {name: update for name, update in observed.updates.items() if name != pair.handler.name}
    return replace(observed, updates=updates)


def after(operation: Operation, observed: Observed) -> Observed:
    """The disk after the operation has gone well."""
    name, version = operation.handler, operation.version
    here = observed.find(name, version) or OnDisk(name, version, NOT_INSTALLED)
    updates = dict(observed.updates)
    update = updates.get(name)
    if operation.update and (update is None or update.new != operation.target):
        update = Update(operation.update, operation.target)
    changed: OnDisk | None = here
    if operation.verb == "download":
        changed = here._replace(state=NOT_INSTALLED, instances=frozenset(), checked=False)
    elif operation.verb in ("initialise", "check"):
        changed = here._replace(state=NOT_INSTALLED, checked=True)
    elif operation.verb == "install":
        changed = here._replace(state=INSTALLED)
    elif operation.verb == "enable":
        instances = here.instances | {operation.instance} if operation.instance else here.instances
        changed = here._replace(state=ENABLED, instances=instances, disabled=here.disabled - instances)
    elif operation.verb == "disable":
        changed, update = _after_disable(operation, here, update)
    elif operation.verb == "forget":
        changed = here._replace(disabled=here.disabled - {operation.instance})
    elif operation.verb == "idle" and not here.instances and here.state == ENABLED:
        changed = here._replace(state=INSTALLED)
    elif operation.verb == "update" and update is not None:
        update = update._replace(updated=True)
    elif operation.verb == "uninstall":
        changed = here._replace(state=NOT_INSTALLED)
        update = update._replace(uninstalled="0") if operation.update and update is not None else update
    elif operation.verb == "remove":
        changed = None
    if operation.update and update is not None:
        updates[name] = update
    others = tuple(one for one in observed.handlers if (one.name, one.version) != (name, version))
    return replace(observed, handlers=(*others, changed) if changed else others, updates=updates)


def _after_disable(operation: Operation, here: OnDisk, update: Update | None) -> tuple[OnDisk, Update | None]:
    if operation.update and update is not None:
        update = update._replace(disabled={**update.disabled, operation.instance: "0"})
    if not operation.instance:
        return here._replace(state=INSTALLED), update
    left, disabled = here.instances - {operation.instance}, here.disabled | {operation.instance}
    # While instances of one handler are switched off one by one, `idle` draws the conclusion for the handler.
    state = INSTALLED if operation.update and not left else here.state
    return here._replace(instances=left, disabled=disabled, state=state), update
