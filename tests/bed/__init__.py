"""A machine to test on: a real Debian in a container, and the fabric it talks to.

    with Bed() as bed:                                # tree, namespaces, simulator; nothing booted yet
        bed.guest.boot()
        bed.guest.wait_for_unit("waagent.service")
        assert bed.guest.succeed("hostname").strip() == "vm-under-test"

needs.py      may this machine run beds at all, and what is missing
gate.py       which tests need one, and what happens where it cannot be had
tree.py       guest trees, cached: a Debian with its packages, and one layer with our .deb installed
package.py    the .deb, built from this working tree, cached by content
network.py    two network namespaces: the guest's, and the fabric's with 168.63.129.16
fabric.py     the simulator in the fabric's namespace
guest.py      systemd-nspawn: boot, run, reboot, power cut
scene.py      handlers that can be steered, goal states, and what became of them
verbs.py      what a test does with any guest: succeed, fail, wait, read, write
bed.py        all of it together, and the certain way out

Everything needs root. Nothing here touches the machine outside of the cache directory and
of namespaces, control groups and processes that it made itself.
"""

from bed.bed import Bed
from bed.dhcp import Dhcp
from bed.fabric import Fabric
from bed.guest import Guest
from bed.needs import missing
from bed.verbs import Ran

__all__ = ["Bed", "Dhcp", "Fabric", "Guest", "Ran", "missing"]
