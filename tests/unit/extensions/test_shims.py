"""Stand-ins for modules that Python has dropped, as a handler's interpreter finds them (row 110)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, single
from waagent.extensions.steps import SHIMS

HERE = Path(__file__).resolve().parents[3] / "data" / "python-shims"
NAME = "Contoso.Test.Probe"


def python(program: str, *places: Path, first: str = "") -> str:
    """What a Python without the dropped modules prints; those of this one are hidden, if it still has them."""
    hidden = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] not in ('crypt', 'imp', 'pipes', 'distutils'):\n"
        "            return None\n"
        "        from importlib.machinery import PathFinder\n"
        f"        return PathFinder.find_spec(name, path or [{str(HERE / 'modules')!r}])\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, *places)))}
    done = subprocess.run(
        [sys.executable, "-c", (first or hidden) + program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.row("field-demands", 110)
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import crypt; h = crypt.crypt('x', '$6$abcdefgh'); print(h[:12], len(h))", r"\$6\$abcdefgh\$ \d+"),
        ("import crypt; s = crypt.mksalt(crypt.METHOD_SHA256); print(crypt.crypt('x', s).startswith(s))", "True"),
        ("import crypt; h = crypt.crypt('x'); print(crypt.crypt('x', h) == h, crypt.crypt('y', h) == h)", "True False"),
        ("import imp; print(imp.load_source('m', FILE).VALUE, sys.modules['m'].VALUE)", "7 7"),
        ("import imp; print(imp.load_module('m', *imp.find_module('one', [FOLDER])).VALUE)", "7"),
        ("import pipes; print(pipes.quote('a b'))", "'a b'"),
        ("from distutils.version import LooseVersion as V; print(V('1.10') > V('1.9'), V('1.0a') < '1.0b')", "True True"),
        ("from distutils.version import LooseVersion as V; print(V('7.9.2009') < V('8.el'), V('1.a') < V('1.2'))", "True False"),
        ("from distutils.version import StrictVersion as V; print(V('1.2a1') < V('1.2.0'), V('1.2') == '1.2.0')", "True True"),
        ("from distutils.util import strtobool as b; print(b('Yes'), b('off'))", "1 0"),
        ("from distutils.spawn import find_executable as f; print(f('sh') is not None, f('no-such'))", "True None"),
    ],
)  # fmt: skip
def test_row_110_what_handlers_use_of_them(tmp_path: Path, program: str, said: str) -> None:
    (tmp_path / "one.py").write_text("VALUE = 7\n")
    given = f"FILE, FOLDER = {str(tmp_path / 'one.py')!r}, {str(tmp_path)!r}\n"
    assert re.fullmatch(said, python(given + program))


@pytest.mark.row("field-demands", 110)
def test_row_110_what_python_has_itself_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pipes.py").write_text("OWN = True\n")
    program = "import pipes, sys; print(pipes.OWN, sys.path[-1])"
    assert python(program, tmp_path, first="\n") == f"True {HERE / 'modules'}"


@pytest.mark.row("field-demands", 110)
def test_row_110_the_machine_s_own_start_up_file_runs_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('the machine s')\n")
    assert python("print('done')", tmp_path, first="\n") == "the machine s\ndone"


@pytest.mark.row("field-demands", 110)
@pytest.mark.parametrize("inherited", ["", "/opt/site"])
def test_row_110_only_on_request(bed: Bed, monkeypatch: pytest.MonkeyPatch, inherited: str) -> None:
    monkeypatch.setenv("PYTHONPATH", inherited)
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    assert bed.environment("enable").get("PYTHONPATH", "") == inherited
    bed.rules = replace(bed.rules, shims=True)
    bed.process(single(NAME, "1.0.0", 1))
    assert bed.environment("enable")["PYTHONPATH"] == (f"{SHIMS}:{inherited}" if inherited else SHIMS)
