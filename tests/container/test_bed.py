"""The bed itself: what every other container test relies on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed import Bed, cache, tree

VERSIONS = "http://168.63.129.16/?comp=versions"
FETCH = f"python3 -c 'import urllib.request as u; print(u.urlopen(\"{VERSIONS}\", timeout=3).read().decode())'"


@pytest.fixture(scope="module")
def bare() -> Iterator[Bed]:
    """A guest without the agent."""
    with Bed(layers=[tree.base("bookworm")]) as made:
        made.guest.boot()
        yield made


def test_guest_boots_a_whole_systemd(bare: Bed) -> None:
    bare.guest.wait_until_booted()
    bare.guest.wait_for_unit("multi-user.target")
    assert bare.guest.succeed("cat /proc/1/comm").strip() == "systemd"


def test_guest_has_the_vm_id_that_the_test_gave(bare: Bed) -> None:
    assert f"container_uuid={bare.guest.vm_id}" in bare.guest.succeed("tr '\\0' '\\n' </proc/1/environ")


def test_status_output_and_errors_come_back_apart(bare: Bed) -> None:
    assert bare.guest.run("echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")
    with pytest.raises(AssertionError, match="in the guest, false: status 1"):
        bare.guest.succeed("false")
    with pytest.raises(AssertionError, match="should have failed"):
        bare.guest.fail("true")


def test_command_past_its_limit_is_killed_in_the_guest(bare: Bed) -> None:
    assert bare.guest.run(["sleep", "4242"], timeout=0.2).status == 124
    assert bare.guest.run(["pgrep", "-x", "sleep"]).status == 1


def test_waiting_for_a_failed_unit_fails_at_once_with_its_journal(bare: Bed) -> None:
    # oneshot: a simple service counts as active until its program has come to its exit
    bare.guest.run("systemd-run --unit=doomed --service-type=oneshot sh -c 'echo last words; exit 1'")
    start = time.monotonic()
    with pytest.raises(AssertionError, match="last words"):
        bare.guest.wait_for_unit("doomed.service", timeout=20)
    assert time.monotonic() - start < 10
    bare.guest.run("systemctl reset-failed")


def test_guest_reaches_the_fabric_and_nothing_else(bare: Bed) -> None:
    assert "2012-11-30" in bare.guest.wait_until_succeeds(FETCH, timeout=10)
    bare.guest.fail("timeout 2 bash -c '</dev/tcp/192.0.2.1/80'")
    assert list(bare.fabric.simulator.requests), "the simulator has recorded no request"


def test_pulled_cable_is_silence_and_a_stopped_fabric_is_refusal(bare: Bed) -> None:
    bare.network.unplug()
    bare.guest.fail(FETCH)
    bare.network.plug()
    bare.guest.wait_until_succeeds(FETCH, timeout=10)
    bare.fabric.stop()
    assert "refused" in bare.guest.fail(FETCH).err
    bare.fabric.start()
    bare.guest.wait_until_succeeds(FETCH, timeout=10)


def test_file_written_is_read_back_with_its_mode(bare: Bed) -> None:
    bare.guest.write("/srv/new/secret", "one\ntwo\n", 0o600)
    assert bare.guest.read("/srv/new/secret") == "one\ntwo\n"
    assert bare.guest.succeed("stat -c %a:%u /srv/new/secret") == "600:0\n"
    assert not bare.guest.exists("/srv/other")


def test_reboot_and_power_cut_keep_the_disk_and_lose_run(bare: Bed) -> None:
    bare.guest.write("/run/gone", "")
    bare.guest.write("/srv/stays", "here")
    bare.guest.reboot()
    assert bare.guest.read("/srv/stays") == "here"
    assert not bare.guest.exists("/run/gone")
    bare.guest.kill()
    assert not bare.guest.is_up()
    assert bare.guest.read("/srv/stays") == "here", "files can be read while the guest is off"
    bare.guest.boot()
    bare.guest.poweroff()
    bare.guest.boot()


def test_guest_that_restarts_by_itself_comes_back(bare: Bed) -> None:
    bare.guest.write("/run/before", "")
    with bare.guest.restarting():
        bare.guest.succeed("systemd-run --on-active=0.2 --timer-property=AccuracySec=50ms systemctl reboot")
    bare.guest.wait_until_booted()
    assert not bare.guest.exists("/run/before")


def test_two_beds_run_beside_each_other(bare: Bed) -> None:
    with Bed(layers=[tree.base("bookworm")]) as other:
        other.guest.boot()
        other.guest.write("/srv/mine", "")
        assert not bare.guest.exists("/srv/mine")
        assert other.guest.vm_id != bare.guest.vm_id
        other.guest.kill()
    assert bare.guest.is_up()
    bare.guest.wait_until_booted()


def traces(token: str) -> list[str]:
    """What a bed leaves on this machine when it is not taken away."""
    found = [line for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines() if token in line]
    found += [str(path) for path in Path("/run/netns").glob(f"*{token}*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/*{token}*")]
    found += [str(path) for path in (cache.directory() / "beds").glob(token)]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"systemd-nspawn") and any(token.encode() in word for word in words):
            found.append(str(entry))
    return found


def test_bed_leaves_nothing_behind_even_when_the_test_fails() -> None:
    with pytest.raises(ZeroDivisionError), Bed(layers=[tree.base("bookworm")]) as made:
        made.guest.boot()
        assert traces(made.token), "a running bed must be visible, or this test proves nothing"
        1 / 0  # noqa: B018
    assert traces(made.token) == []


# A run in the background (nohup, `&`) starts with SIGINT ignored, and Python then leaves it so.
SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = sys.argv[1:]
from bed import Bed, tree
with Bed(layers=[tree.base("bookworm")]) as made:
    made.guest.boot()
    print(made.token, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_is_cleaned_up(number: signal.Signals) -> None:
    """By itself when it was asked to stop, by the next bed when it was killed."""
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", SLEEPER, str(tests), str(tests.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        token = run.stdout.readline().strip()
        assert token, "the run has not come up"
        run.send_signal(number)
        run.wait(20)
    if number == signal.SIGKILL:
        assert traces(token)
        with Bed(layers=[tree.base("bookworm")]):
            pass
    assert traces(token) == []
