"""Finding steps: who wins, what masks, what is refused and with which words."""

from __future__ import annotations

import os

import pytest

from tests.unit.runner.conftest import Machine

SH = "#!/bin/sh\ntrue\n"


def names(machine: Machine, stage: str = "local") -> list[str]:
    return [f"{step.number:02d}-{step.name}" for step in machine.steps(stage).steps]


def reasons(machine: Machine) -> dict[str, str]:
    return {os.path.basename(refused.path): refused.reason for refused in machine.steps().refused}


def test_steps_of_all_directories_run_in_order_of_number_then_name(machine: Machine) -> None:
    machine.module("vendor/local/30-user.py")
    machine.module("vendor/local/20-hostname.py")
    machine.add("admin/local/19-before-hostname.sh", SH)
    machine.add("run/local/30-also", SH)
    machine.add("site/local/05-first.sh", SH)
    assert names(machine) == ["05-first", "19-before-hostname", "20-hostname", "30-also", "30-user"]


@pytest.mark.parametrize("rank", ["site", "run", "admin"])
def test_the_same_name_higher_up_replaces_and_runs_at_its_own_number(machine: Machine, rank: str) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.module("vendor/local/30-user.py")
    machine.add(f"{rank}/local/40-hostname.sh", SH)
    listing = machine.steps()
    assert [step.name for step in listing.steps] == ["user", "hostname"]
    assert listing.steps[1].rank == rank
    assert listing.steps[1].replaces == ("/usr/lib/waagent/modules/local/20-hostname.py",)


def test_admin_wins_over_run_over_site_over_vendor(machine: Machine) -> None:
    for rank in ("vendor", "site", "run", "admin"):
        machine.add(f"{rank}/local/20-x.sh", SH)
    (step,) = machine.steps().steps
    assert step.rank == "admin"
    assert [path.split("/")[1] for path in step.replaces] == ["run", "usr", "usr"]


def test_an_empty_file_masks(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.add("admin/local/20-hostname.py", "")
    listing = machine.steps()
    assert listing.steps == ()
    assert listing.masked[0].name == "hostname"
    assert listing.masked[0].what == ("/usr/lib/waagent/modules/local/20-hostname.py",)


def test_a_link_to_dev_null_masks(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    path = machine.add("admin/local/99-hostname", SH)
    path.unlink()
    path.symlink_to("/dev/null")
    listing = machine.steps()
    assert listing.steps == ()
    assert [item.by for item in listing.masked] == ["/etc/waagent/hooks.d/local/99-hostname"]


def test_a_mask_can_be_lifted_higher_up(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.add("site/local/20-hostname.py", "")
    machine.add("admin/local/20-hostname.sh", SH)
    assert names(machine) == ["20-hostname"]


def test_a_link_moves_a_module(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.module("vendor/local/30-user.py")
    path = machine.root / "etc/waagent/hooks.d/local/35-hostname.py"
    path.parent.mkdir(parents=True)
    path.symlink_to("/usr/lib/waagent/modules/local/20-hostname.py")
    assert names(machine) == ["30-user", "35-hostname"]


@pytest.mark.parametrize(
    ("file", "mode", "words"),
    [
        ("20-x.sh", 0o644, "not executable"),
        ("20-x.sh", 0o775, "writable by others"),
        ("20-x.sh", 0o757, "writable by others"),
        ("20-x.sh", 0o4755, "set-uid"),
        ("20-x.sh", 0o2755, "set-uid or set-gid"),
        ("x.sh", 0o755, "name has to be"),
        ("2-x.sh", 0o755, "name has to be"),
        ("20-X.sh", 0o755, "name has to be"),
        ("20-with space", 0o755, "name has to be"),
        ("20-schön", 0o755, "name has to be"),
        (".20-x.sh", 0o755, "hidden"),
        ("20-x.sh~", 0o755, "left over"),
        ("20-x.sh.dpkg-old", 0o755, "left over"),
        ("20-x.rpmsave", 0o755, "left over"),
        ("20-x.sh.swp", 0o755, "left over"),
    ],
)
def test_a_file_that_must_not_run_is_refused_with_its_reason(
    machine: Machine, file: str, mode: int, words: str
) -> None:
    machine.add(f"admin/local/{file}", SH, mode)
    assert machine.steps().steps == ()
    assert words in reasons(machine)[file]


def test_a_file_of_another_owner_is_refused(machine: Machine) -> None:
    os.chown(machine.add("admin/local/20-x.sh", SH), 65534, 65534)
    assert "does not belong to root" in reasons(machine)["20-x.sh"]


def test_a_directory_that_others_may_write_refuses_all_in_it(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", SH)
    (machine.root / "etc/waagent").chmod(0o777)
    assert "etc/waagent is writable by others" in reasons(machine)["20-x.sh"]


def test_a_directory_that_is_a_link_is_refused(machine: Machine) -> None:
    machine.add("admin/elsewhere/20-x.sh", SH)
    (machine.root / "etc/waagent/hooks.d/local").symlink_to("elsewhere")
    assert "is a link, not a directory" in reasons(machine)["20-x.sh"]


def test_a_refused_file_does_not_hide_the_module_below(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.add("admin/local/20-hostname.sh", SH, 0o777)
    (step,) = machine.steps().steps
    assert step.rank == "vendor"


def test_one_name_twice_in_a_directory_refuses_both_and_hides_nothing(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.add("admin/local/10-hostname.sh", SH)
    machine.add("admin/local/30-hostname.sh", SH)
    listing = machine.steps()
    assert [step.rank for step in listing.steps] == ["vendor"]
    assert "there 2 times: 10-hostname.sh, 30-hostname.sh" in listing.refused[0].reason


def test_equal_numbers_run_in_order_of_name(machine: Machine) -> None:
    machine.add("admin/local/20-b.sh", SH)
    machine.module("vendor/local/20-a.py")
    machine.module("vendor/local/20-c.py")
    assert names(machine) == ["20-a", "20-b", "20-c"]


def test_a_link_to_nowhere_and_one_out_of_the_tree_are_refused(machine: Machine) -> None:
    folder = machine.root / "etc/waagent/hooks.d/local"
    folder.mkdir(parents=True)
    (folder / "20-gone.sh").symlink_to("/usr/bin/nothing-here")
    open_folder = machine.root / "tmp/open"
    open_folder.mkdir(mode=0o777)
    open_folder.chmod(0o777)
    target = open_folder / "x.sh"
    target.write_text(SH)
    target.chmod(0o755)
    (folder / "30-open.sh").symlink_to("/tmp/open/x.sh")
    found = reasons(machine)
    assert "does not exist" in found["20-gone.sh"]
    assert "writable by others" in found["30-open.sh"]


def test_readme_is_for_people(machine: Machine) -> None:
    machine.add("admin/local/README", "words", 0o644)
    listing = machine.steps()
    assert (listing.steps, listing.refused) == ((), ())


def test_a_python_file_is_not_run_to_be_listed(machine: Machine) -> None:
    machine.add("admin/local/20-x.py", "raise SystemExit('listed by running')\n", 0o644)
    assert "needs MODULE" in reasons(machine)["20-x.py"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MODULE = Module(summary=str(1))\ndef run(ctx): pass\n", "summary of MODULE has to be a literal"),
        ("MODULE = Module(summary='x', frequency='weekly')\ndef run(ctx): pass\n", "'weekly' is not one of"),
        ("MODULE = Module(summary='x', colour='red')\ndef run(ctx): pass\n", "colour"),
        ("MODULE = Module(summary='x', limit='soon')\ndef run(ctx): pass\n", "not a duration"),
        ("MODULE = Module(summary='x')\n", "needs MODULE = Module(…) and run(ctx)"),
        ("def run(:\n", "not Python"),
        ("\0", "not Python"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused(machine: Machine, text: str, words: str) -> None:
    machine.add("admin/local/20-x.py", text, 0o644)
    assert words in reasons(machine)["20-x.py"]


def test_a_program_that_replaces_a_module_has_its_declaration_but_for_the_header(machine: Machine) -> None:
    machine.module("vendor/local/20-a.py", frequency="per-instance", essential=True, when=("x=y",))
    machine.module("vendor/local/30-b.py", frequency="per-instance", limit=9)
    machine.add("admin/local/20-a.sh", SH)
    machine.add("admin/local/30-b.sh", "#!/bin/sh\n# waagent: {frequency: always, limit: 2m, on-failure: stop}\n")
    a, b = machine.steps().steps
    assert (a.module.frequency, a.module.essential, a.module.when) == ("per-instance", True, ("x=y",))
    assert (b.module.frequency, b.module.limit, b.module.on_failure) == ("always", 120.0, "stop")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("{frequenzy: always}", "unknown key 'frequenzy'"),
        ("{frequency: }", "is not one of"),
        ("{limit: [}", "not a YAML mapping"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(machine: Machine, header: str, words: str) -> None:
    machine.add("admin/local/20-x.sh", f"#!/bin/sh\n# waagent: {header}\n")
    assert words in reasons(machine)["20-x.sh"]


def test_before_and_after_in_a_header_move_a_step(machine: Machine) -> None:
    machine.module("vendor/local/20-hostname.py")
    machine.module("vendor/local/30-user.py")
    machine.add("admin/local/90-x.sh", "#!/bin/sh\n# waagent: {before: hostname}\n")
    machine.add("admin/local/01-y.sh", "#!/bin/sh\n# waagent: {after: user}\n")
    assert [step.name for step in machine.steps().steps] == ["x", "hostname", "user", "y"]


def test_a_circle_and_an_unknown_name_are_noted_and_the_number_stands(machine: Machine) -> None:
    machine.add("admin/local/10-a.sh", "#!/bin/sh\n# waagent: {before: b}\n")
    machine.add("admin/local/20-b.sh", "#!/bin/sh\n# waagent: {before: a}\n")
    machine.add("admin/local/30-c.sh", "#!/bin/sh\n# waagent: {after: nobody}\n")
    listing = machine.steps()
    assert [step.name for step in listing.steps] == ["a", "b", "c"]
    assert sum("makes a circle" in note for note in listing.notes) == 2
    assert sum("no step here" in note for note in listing.notes) == 1


def test_hostile_names_do_not_break_the_listing(machine: Machine) -> None:
    folder = machine.root / "etc/waagent/hooks.d/local"
    folder.mkdir(parents=True)
    with open(os.path.join(os.fsencode(folder), b"20-\xff\xfe\n.sh"), "wb"):
        pass
    (refused,) = machine.steps().refused
    assert "name has to be" in refused.reason
    refused.path.encode("utf-8")
