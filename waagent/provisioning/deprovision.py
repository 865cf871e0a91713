"""Making an image of a machine: what was asked for, who its user was, what people are warned of.

Request      what the steps of the stage deprovision are told in ctx.event_data
    delete_user   the last provisioned account goes too         user      its name; "" where it is not known
    unknown       why it is not known                           offline   the machine is a mounted image
requested(ctx.event_data)                      the Request
last_user(system, lib, facts)                  (name, ""), or ("", why it is not known)
names_of(facts)                                names of the former machine that must not be found in an image
warnings(steps, config, profile, request)      lines for people, in the order of the steps that will run

What is done about it is in modules/deprovision, one file for each thing that goes.

Source: provisioning 5.1, 5.2, 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from waagent.errors import OvfInvalid
from waagent.instance import ovf
from waagent.provisioning import media

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waagent.config import Config
    from waagent.distro import DistroProfile
    from waagent.system import System

EVENT = "deprovision"
HOST_NAME = "localhost.localdomain"
# Names that say nothing about anybody.
PLAIN = ("", "localhost", HOST_NAME, "root", "waagent")


class Request(NamedTuple):
    delete_user: bool = False
    user: str = ""
    unknown: str = ""
    offline: bool = False

    def data(self) -> dict[str, Any]:
        return self._asdict()


def requested(data: Mapping[str, Any]) -> Request:
    return Request(**{name: data[name] for name in Request._fields if name in data})


def last_user(system: System, lib: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """From the instance's facts; for an image of another agent from the document it saved."""
    for tree, key in (("user", "name"), ("ovf", "user_name")):
        found = facts.get(tree)
        if isinstance(found, dict) and found.get(key):
            return str(found[key]), ""
    path = media.path_of(lib)
    try:
        return ovf.parse(system.read(path, ovf.LIMIT + 1)).user_name, ""
    except FileNotFoundError:
        return "", f"neither the facts of an instance nor {path} are there"
    except OSError as error:
        return "", f"{path} cannot be read ({error.strerror})"
    except OvfInvalid as error:
        return "", f"{path} cannot be used: {error.message}"


def names_of(facts: Mapping[str, Any], request: Request) -> tuple[str, ...]:
    """Host name, VM id and, if he goes, the user."""
    document, vm = facts.get("ovf") or {}, facts.get("vm") or {}
    names = [document.get("host_name"), vm.get("id"), request.user if request.delete_user else None]
    return tuple(str(name) for name in names if name and str(name) not in PLAIN)


def warnings(steps: Iterable[str], config: Config, profile: DistroProfile, request: Request) -> list[str]:
    """`steps`: the names of the shipped steps that will run; a step that is masked warns of nothing."""
    lines = []
    for step in steps:
        if step in _WARNINGS:
            lines += _WARNINGS[step](config, profile, request)
    return lines


def _stop_agent(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    service = profile.text("services.agent") or "waagent"
    told = f"The service {service} will be stopped; it starts again with the next boot."
    return [] if request.offline else [told]


def _host_keys(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    if not config.switch("Provisioning.RegenerateSshHostKeyPair"):
        return []
    return [f"All SSH host keys in {config.text('OS.SshDir') or '/etc/ssh'} will be deleted."]


def _leases(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    return ["Cached leases of the DHCP clients will be deleted."]


def _root_password(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    if not config.switch("Provisioning.DeleteRootPassword"):
        return []
    return ["The password of root will be disabled: nobody can log in as root with it."]


def _user(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    if not request.delete_user:
        return []
    if not request.user:
        return [
            f"The last provisioned account was not found: {request.unknown}.",
            "No account will be deleted.",
        ]
    return [f"The account {request.user} will be deleted, with its home directory and all that is in it."]


def _resolver(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    note = profile.text("deprovision.resolver-note")
    if note:
        return [f"{note[0].upper()}{note[1:]}."]
    files = profile.texts("deprovision.resolver")
    return [f"The resolver configuration ({', '.join(files)}) will be deleted."] if files else []


def _cloud_init(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    return ["Where cloud-init is installed, its state and logs will be deleted."]


def _machine_id(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    way = profile.text("deprovision.machine-id")
    done = {"empty": "emptied", "remove": "removed"}.get(way or "")
    return [f"The machine id (/etc/machine-id) will be {done}."] if done else []


def _logs(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    return ["The agent's logs, the journal and the logs that name people will be deleted."]


def _state(config: Config, profile: DistroProfile, request: Request) -> list[str]:
    lib = config.text("Lib.Dir") or "/var/lib/waagent"
    return [f"All state of the agent and of extensions ({lib}) will be deleted."]


_WARNINGS: dict[str, Callable[[Config, DistroProfile, Request], list[str]]] = {
    "stop-agent": _stop_agent,
    "ssh-host-keys": _host_keys,
    "leases": _leases,
    "root-password": _root_password,
    "user": _user,
    "resolver": _resolver,
    "cloud-init": _cloud_init,
    "machine-id": _machine_id,
    "logs": _logs,
    "state": _state,
}
