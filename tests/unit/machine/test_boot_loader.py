"""The serial console, distribution by distribution: which file, which line, and how the boot loader learns it."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from waagent.errors import MachineError
from waagent.machine import boot_loader, shell_lists
from waagent.system import System, command

GRUB, LIB = "/etc/default/grub", "/var/lib/waagent"
OPTIONS = "console=ttyS0 earlyprintk=ttyS0"
GRUBBY = ("grubby", "--update-kernel=ALL", f"--args={OPTIONS}")
MKCONFIG = ("grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")
ENTRIES = ("grub2-mkconfig", "--update-bls-cmdline", "-o", "/boot/grub2/grub.cfg")
DEFAULT = 'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX="rhgb"\n'


@pytest.mark.row("provisioning", 3)
@pytest.mark.parametrize(
    ("distro", "version", "installed", "before", "after", "ran"),
    [
        ("debian", "12", ["update-grub"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', ("update-grub",)),
        ("ubuntu", "24.04", ["update-grub"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', ("update-grub",)),
        ("rhel", "9.4", ["grubby", "grub2-mkconfig"], DEFAULT, f'LINUX="rhgb {OPTIONS}"\n', GRUBBY),
        ("rhel", "9.4", ["grub2-mkconfig"], DEFAULT, f'LINUX="rhgb {OPTIONS}"\n', ENTRIES),
        ("fedora", "40", ["grubby"], "GRUB_TIMEOUT=5\n", f'LINUX="{OPTIONS}"\n', GRUBBY),
        ("sles", "15.5", ["grub2-mkconfig"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', MKCONFIG),
        ("opensuse-leap", "15.6", ["grub2-mkconfig"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', MKCONFIG),
        ("azurelinux", "3.0", ["grub2-mkconfig"], DEFAULT, f" {OPTIONS}", MKCONFIG),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else None,
)
def test_row_12_3_the_console_is_set_in_grub_2(
    system: System, script: Script, put, program, tmp_path, distro, version, installed, before, after, ran
) -> None:
    profile = profile_of(tmp_path / "root", distro, version)
    program(*installed)
    script.on(*ran)
    file = put(GRUB, before)
    assert boot_loader.add_console(system, profile, LIB) == [GRUB]
    assert after in file.read_text() and file.read_text().count("console=ttyS0") == 1
    assert script.ran == [ran]
    assert boot_loader.add_console(system, profile, LIB) == []
    assert script.ran == [ran], "the second time there is nothing to do"


MENU = "default=0\ntitle One\n\troot (hd0,0)\n\tkernel /vmlinuz ro quiet\n\tinitrd /initrd\ntitle Two\n\tkernel /old ro\n"


@pytest.mark.row("provisioning", 3)
@pytest.mark.parametrize(("distro", "version"), [("rhel", "6.10"), ("sles", "11.4")])
def test_row_12_3_the_console_is_set_in_every_entry_of_grub_1(system: System, put, tmp_path, distro, version) -> None:
    file = put("/boot/grub/menu.lst", MENU)
    profile = profile_of(tmp_path / "root", distro, version)
    assert boot_loader.add_console(system, profile, LIB) == ["/boot/grub/menu.lst"]
    kernels = [line.strip() for line in file.read_text().splitlines() if line.strip().startswith("kernel")]
    assert kernels == [f"kernel /vmlinuz ro quiet {OPTIONS}", f"kernel /old ro {OPTIONS}"]
    assert "\tinitrd /initrd\n" in file.read_text()


def test_red_hats_older_program_makes_the_menu_without_entries_of_its_own(
    system: System, script: Script, put, program, tmp_path
) -> None:
    profile = profile_of(tmp_path / "root", "rhel", "8.10")
    program("grub2-mkconfig")
    script.on(*ENTRIES, status=1, stderr="unrecognized option")
    script.on(*MKCONFIG)
    put(GRUB, DEFAULT)
    assert boot_loader.add_console(system, profile, LIB) == [GRUB]
    assert script.ran == [ENTRIES, MKCONFIG]


def test_a_boot_loader_that_cannot_be_told_leaves_the_file_alone(system: System, script: Script, profile, put) -> None:
    file = put(GRUB, DEFAULT)
    with pytest.raises(MachineError, match="the boot loader could not be told, there is no update-grub"):
        boot_loader.add_console(system, profile, LIB)
    assert file.read_text() == DEFAULT and system.effects == []


def test_after_a_failure_the_second_try_goes_all_the_way(system: System, script: Script, profile, put, program) -> None:
    file, cloud = put(GRUB, DEFAULT), put(f"{GRUB}.d/50-cloud.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1"\n')
    program("update-grub")
    script.on("update-grub", status=1, stderr="/usr/sbin/grub-probe: error: disk not found.")
    with pytest.raises(MachineError, match=r"update-grub ended with status 1: .*disk not found\.; .* are as before"):
        boot_loader.add_console(system, profile, LIB)
    assert file.read_text() == DEFAULT and "ttyS0" not in cloud.read_text()
    seen = []
    script.on("update-grub", effect=lambda: seen.append(file.read_text() + cloud.read_text()))
    assert boot_loader.add_console(system, profile, LIB) == [GRUB, f"{GRUB}.d/50-cloud.cfg"]
    assert seen[0].count("console=ttyS0") == 2 and len(script.ran) == 2


class PowerCut(BaseException):
    """Nothing of the agent runs any more."""


def test_cut_off_within_the_update_the_next_call_makes_good(system: System, script: Script, profile, put, program) -> None:
    def strike() -> None:
        raise PowerCut

    file = put(GRUB, DEFAULT)
    program("update-grub")
    script.on("update-grub", effect=strike)
    with pytest.raises(PowerCut):
        boot_loader.add_console(system, profile, LIB)
    assert "ttyS0" in file.read_text()
    script.on("update-grub", status=1, stderr="disk not found.")
    for _ in range(2):  # as long as the boot loader has not read them
        with pytest.raises(MachineError, match=r"disk not found\.$"):
            boot_loader.add_console(system, profile, LIB)
    script.on("update-grub")
    assert boot_loader.add(system, profile, LIB, ("quiet",), "another option") == []
    script.ran.clear()
    assert boot_loader.add_console(system, profile, LIB) == [GRUB]
    assert boot_loader.add_console(system, profile, LIB) == []
    assert script.ran == [("update-grub",)] and not system.exists(f"{LIB}/boot-loader.json")


@pytest.mark.parametrize("note", ["", "[]", "{", '{"console=ttyS0 earlyprintk=ttyS0": 1}'])
def test_a_note_that_says_nothing_clear_is_none(system: System, script: Script, profile, put, program, note) -> None:
    put(f"{LIB}/boot-loader.json", note)
    put(GRUB, f'GRUB_CMDLINE_LINUX_DEFAULT="{OPTIONS}"\n')
    assert boot_loader.add_console(system, profile, LIB) == []


def test_bytes_that_are_no_text_stay(system: System, script: Script, profile, put, program) -> None:
    file = put(GRUB, b'# caf\xe9\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    program("update-grub")
    script.on("update-grub", status=1)
    with pytest.raises(MachineError):
        boot_loader.add_console(system, profile, LIB)
    assert file.read_bytes() == b'# caf\xe9\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
    script.on("update-grub")
    boot_loader.add_console(system, profile, LIB)
    assert file.read_bytes() == f'# caf\udce9\nGRUB_CMDLINE_LINUX_DEFAULT="quiet {OPTIONS}"\n'.encode("utf-8", "surrogateescape")


CLOUD = f"{GRUB}.d/50-cloudimg-settings.cfg"


@pytest.mark.parametrize(
    ("base", "cloud", "changed", "told"),
    [
        # What Ubuntu's cloud images have: the drop-in takes the place of the file.
        ("KEY='quiet'", "KEY='console=tty1 console=ttyS0'", [GRUB, CLOUD], f"console=tty1 {OPTIONS}"),
        ("KEY='quiet'", 'KEY="$KEY nosplash"', [GRUB], f"quiet {OPTIONS} nosplash"),
        ("KEY='quiet'", 'KEY="${KEY} nosplash"', [GRUB], f"quiet {OPTIONS} nosplash"),
        ("A=b", "KEY=console=tty1", [CLOUD], f"console=tty1 {OPTIONS}"),
        ("A=b", 'KEY="$KEY nosplash"', [GRUB], f"{OPTIONS} nosplash"),
        ("A=b", "# KEY=no", [GRUB], OPTIONS),
        (f'KEY="{OPTIONS}"', "A=b", [], OPTIONS),
        ('KEY="console=ttyS0,115200n8 earlyprintk=ttyS0,115200"', "A=b", [], "console=ttyS0,115200n8 earlyprintk=ttyS0,115200"),
    ],
)  # fmt: skip
def test_drop_ins_count_as_the_shell_reads_them(
    system: System, script: Script, profile, put, program, base, cloud, changed, told
) -> None:
    program("update-grub")
    script.on("update-grub")
    for path, text in ((GRUB, base), (CLOUD, cloud)):
        put(path, text.replace("KEY", "GRUB_CMDLINE_LINUX_DEFAULT") + "\n")
    for expected in (changed, []):
        assert boot_loader.add_console(system, profile, LIB) == expected
        assert shell(*(str(system.path(path)) for path in (GRUB, CLOUD))) == told


def shell(*files: str) -> str:
    """What a shell makes of the files, as grub-mkconfig reads them."""
    script = "".join(f". {file}\n" for file in files) + 'echo "$GRUB_CMDLINE_LINUX_DEFAULT"\n'
    answer = command.execute(("bash", "-euc", 'GRUB_CMDLINE_LINUX_DEFAULT=""\n' + script), None, 10.0)
    assert answer.status == 0, answer.stderr
    return " ".join(answer.stdout.split())


@pytest.mark.parametrize(
    ("line", "before"),
    [
        ('KEY="quiet"', "quiet"),
        ('KEY="quiet"  # note', "quiet"),
        ('KEY="quiet" # "quoted" note', "quiet"),
        ('KEY="quiet"#joined', "quiet#joined"),
        ("KEY='quiet splash'", "quiet splash"),
        ("KEY=''", ""),
        ("KEY=", ""),
        ("KEY= # nothing", ""),
        ("KEY=quiet", "quiet"),
        ("KEY=quiet # note", "quiet"),
        ("KEY=quiet\\ splash", "quiet splash"),
        ("  KEY=\"quiet\"", "quiet"),
        ("export KEY=\"quiet\"", "quiet"),
        ("export\tKEY=quiet", "quiet"),
        ('KEY="quiet \\\n  splash"', "quiet splash"),
        ('KEY="quiet\nsplash"', "quiet splash"),
        ('KEY="quiet \\\n"', "quiet"),
        ("KEY=\"quiet \"'splash'", "quiet splash"),
        ("KEY='a'\"b\"c", "abc"),
        ('KEY="a=\\"b c\\""', 'a="b c"'),
        ('KEY="quiet"; A=b', "quiet"),
        ('KEY="quiet"\nKEY+=" splash"', "quiet splash"),
        ('KEY="quiet "\nKEY+="splash"', "quiet splash"),
        ('KEY="quiet"\nKEY="$KEY splash"', "quiet splash"),
        ("# don't\nKEY=\"quiet\"", "quiet"),
        ('A="a\nKEY=no\n"\nKEY="quiet"', "quiet"),
        ("if true; then\n\tKEY=a\nelse\n\tKEY=b\nfi", "a"),
        ("if false; then\n\tKEY=a\nelse\n\tKEY=b\nfi", "b"),
        ("#KEY=no", ""),
        ("KEY_TOO=no\nMY_KEY=no", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_shell_reads_what_it_read_before_and_the_options(tmp_path, line, before) -> None:
    key = "GRUB_CMDLINE_LINUX_DEFAULT"
    text = line.replace("KEY", key)
    file = tmp_path / "grub"
    file.write_text(text + "\n" if text else "")
    assert shell(str(file)) == before
    done = boot_loader.edited(file.read_text(), key, tuple(OPTIONS.split()), "grub")
    file.write_text(done)
    assert sorted(shell(str(file)).split()) == sorted(f"{before} {OPTIONS}".split())
    assert boot_loader.edited(done, key, tuple(OPTIONS.split()), "grub") == done
    assert all(comment in done for comment in ("note", "don't") if comment in line)


@pytest.mark.parametrize("value", ["$(cat /proc/cmdline)", '"$(cat /proc/cmdline)"', "`cat /proc/cmdline`", '"`cat x`"'])
def test_a_value_that_a_command_makes_is_left_alone_and_named(system, profile, put, program, value) -> None:
    program("update-grub")
    file = put(GRUB, f"A=b\nGRUB_CMDLINE_LINUX_DEFAULT={value}\n")
    with pytest.raises(MachineError, match=f"in {GRUB}: what line 2 assigns .* cannot be understood; add console=ttyS0"):
        boot_loader.add_console(system, profile, LIB)
    assert value in file.read_text() and system.effects == []


@pytest.mark.parametrize("text", ['KEY="' + "\\\"" * 100_000, "'" * 99_999, "KEY=" + "\\" * 99_999, '"' + "a" * 200_000])
def test_a_file_that_is_none_of_the_shell_takes_no_time(text) -> None:
    began = time.monotonic()
    shell_lists.assignments(text, "KEY")
    assert time.monotonic() - began < 5


def test_without_a_boot_loader_that_is_known_it_is_told(system: System, profile) -> None:
    with pytest.raises(MachineError, match="cannot set the serial console: there is no /etc/default/grub"):
        boot_loader.add_console(system, profile, LIB)
