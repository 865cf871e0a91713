"""The machine's own name in /etc/hosts: it follows the host name where the image has it there.

    rename(system, before, name) -> bool      false if nothing had to be changed

Programs that look up their own machine (sudo, mail servers) find it in this file where no other source of names
has it. Debian's installer writes a line for it, at an address of its own, 127.0.1.1:

    127.0.1.1    web-01.example.com web-01    # a comment

On lines of loopback addresses the former name becomes the new one, with its domain. The line of 127.0.1.1 has the
new name then in any case; what else it says stays. A file without such lines is left as it is: that machine finds
its name elsewhere (nss-myhostname), or the sample hook 31-hosts.sh is what its owner wants.

Source: provisioning 4.7, which says nothing of this file; sudo's "unable to resolve host".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waagent.system import System

HOSTS = "/etc/hosts"
OWN = "127.0.1.1"
# Names of every machine; on the lines of other addresses they are not the former name of this one.
COMMON = ("localhost", "localhost.localdomain")

_LINE = re.compile(r"(\s*)(\S+)(\s+)([^#]*?)(\s*(?:#.*)?)")


def rename(system: System, before: str, name: str) -> bool:
    """Raises SystemRefused."""
    try:
        lines = system.read_text(HOSTS).splitlines()
    except OSError:
        return False
    missing = not any(address == OWN and name in names for address, names in map(_parts, lines))
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        address, names = _parts(line)
        if match is None or not names or not (address.startswith("127.") or address == "::1"):
            continue
        fresh = names
        if before and (address == OWN or before not in COMMON):
            fresh = [_renamed(word, before, name) for word in names]
        if address == OWN and missing:
            fresh = fresh if name in fresh else [name, *fresh]
            missing = False
        if fresh != names:
            lead, _, gap, _, rest = match.groups()
            lines[number] = f"{lead}{address}{gap}{' '.join(dict.fromkeys(fresh))}{rest}"
    return system.write(HOSTS, "".join(f"{line}\n" for line in lines))


def _parts(line: str) -> tuple[str, list[str]]:
    """The address of a line and its names; comments and empty lines have neither."""
    words = line.partition("#")[0].split()
    return (words[0], words[1:]) if words else ("", [])


def _renamed(word: str, before: str, name: str) -> str:
    if word == before:
        return name
    if word.startswith(f"{before}."):
        return name if "." in name else name + word[len(before) :]
    if "." in before and word == before.partition(".")[0]:
        return name.partition(".")[0]
    return word
