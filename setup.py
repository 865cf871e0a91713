"""Install waagent: the library as any Python package, everything else at its place in the system.

    python3 setup.py install --register-service         this machine, and start with the next boot
    python3 setup.py install --root=DIR --prefix=/usr   into a package tree (deb, rpm, images); Debian's own
                                                        Python wants --install-layout=deb as well
    python3 -m pip install [--root=DIR] .               the library alone, for programs that import it

`install` puts the library where this Python looks for packages and, below --root:

    /usr/sbin/waagent, waagent-simulator    programs of a few lines, isolated from the caller's Python settings
    /usr/lib/waagent/{stages,modules,data}  the numbered steps and what they read
    /etc/waagent.conf                       never replaces a changed file: the new one goes beside it as .new
    /etc/waagent/hooks.d/<stage>/           empty, for the administrator
    /etc/waagent.conf.d, /etc/waagent/distro.d   the same
    /usr/lib/systemd/system, /usr/lib/udev/rules.d, /etc/logrotate.d

A wheel can only hold paths below a prefix, so pip leaves out all of these: a service whose unit lies in
/usr/local/etc would look installed and never start.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from setuptools import find_packages, setup
from setuptools.command.install import install

HERE = Path(__file__).resolve().parent
VENDOR = "/usr/lib/waagent"
UNITS = "/usr/lib/systemd/system"
STAGES = ("local", "network", "config", "final", "periodic", "deprovision")

# Old handlers load the agent's program as a library of functions, in a process that has words for them, not for us.
PROGRAM = """#!/usr/bin/python3 -I
import sys

if __name__ != "__main__":
    raise ImportError("/usr/sbin/{name} is a program and no library; what a handler needs comes in its package")

from {module} import main

sys.exit(main())
"""
PROGRAMS = {"waagent": "waagent.cli.__main__", "waagent-simulator": "waagent.simulator.__main__"}

# (pattern in this tree, directory in the system, mode); a pattern that finds nothing is an error.
FILES = (
    ("stages/*.yaml", f"{VENDOR}/stages", 0o644),
    *((f"modules/{stage}/[0-9][0-9]-*.py", f"{VENDOR}/modules/{stage}", 0o644) for stage in STAGES),
    ("data/extension-root.pem", f"{VENDOR}/data", 0o644),
    ("data/distros/*.yaml", f"{VENDOR}/data/distros", 0o644),
    ("data/python-shims/*.py", f"{VENDOR}/data/python-shims", 0o644),
    ("data/python-shims/modules/*.py", f"{VENDOR}/data/python-shims/modules", 0o644),
    ("data/python-shims/modules/distutils/*.py", f"{VENDOR}/data/python-shims/modules/distutils", 0o644),
    ("data/systemd/*.service", UNITS, 0o644),
    ("data/systemd/*.timer", UNITS, 0o644),
    ("data/systemd/*.target", UNITS, 0o644),
    ("data/systemd/*.slice", UNITS, 0o644),
    ("data/systemd/periodic-due", VENDOR, 0o755),
    ("data/systemd/firewall-at-boot", VENDOR, 0o755),
    ("data/udev/*.rules", "/usr/lib/udev/rules.d", 0o644),
    ("data/logrotate/waagent", "/etc/logrotate.d", 0o644),
    ("docs/man/*.8", "/usr/share/man/man8", 0o644),
    ("docs/man/*.5", "/usr/share/man/man5", 0o644),
)
DIRECTORIES = (
    *(f"/etc/waagent/hooks.d/{stage}" for stage in STAGES),
    "/etc/waagent/distro.d",
    "/etc/waagent.conf.d",
)
# The name that Debian, Ubuntu and the fabric's documentation use for the service.
ALIASES = {f"{UNITS}/walinuxagent.service": "waagent.service"}


class Install(install):
    """The ordinary install, then the files that lie outside of any Python prefix."""

    user_options: ClassVar[list[Any]] = [
        *install.user_options,
        ("register-service", None, "enable the service, so that it starts with the next boot"),
        ("skip-data-files", None, "install the library alone"),
        ("lnx-distro=", None, "accepted and ignored: the same files serve every distribution"),
        ("lnx-distro-version=", None, "accepted and ignored"),
        ("lnx-distro-fullname=", None, "accepted and ignored"),
    ]
    boolean_options: ClassVar[list[str]] = [*install.boolean_options, "register-service", "skip-data-files"]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.register_service = False
        self.skip_data_files = False
        self.lnx_distro = self.lnx_distro_version = self.lnx_distro_fullname = None

    def finalize_options(self) -> None:
        # Without a root setuptools would build an egg, which nothing can upgrade or remove.
        self.single_version_externally_managed = True
        if self.root is None:
            self.root = "/"
        super().finalize_options()

    def run(self) -> None:
        super().run()
        # The wheel builder runs this command to collect the library.
        if self.skip_data_files or "bdist_wheel" in self.distribution.command_obj:
            return
        root = Path(self.root or "/").absolute()
        install_system_files(root)
        if self.register_service:
            register_service(root)


def install_system_files(root: Path) -> None:
    for pattern, directory, mode in FILES:
        found = [path for path in sorted(HERE.glob(pattern)) if path.is_file() and "__pycache__" not in path.parts]
        if not found:
            raise SystemExit(f"install {pattern} into {directory}: no such file in {HERE}")
        base = HERE / re.split(r"/[^/]*[*\[]", pattern)[0] if "*" in pattern else HERE / Path(pattern).parent
        for path in found:
            _copy(path, _under(root, directory) / path.relative_to(base), mode)
    for name, module in PROGRAMS.items():
        program = _under(root, f"/usr/sbin/{name}")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(PROGRAM.format(module=module, name=name), encoding="ascii")
        program.chmod(0o755)
    for directory in DIRECTORIES:
        _under(root, directory).mkdir(parents=True, exist_ok=True)
    for link, target in ALIASES.items():
        path = _under(root, link)
        if path.is_symlink():
            path.unlink()
        path.symlink_to(target)
    _install_configuration(root)


def register_service(root: Path) -> None:
    """Enable the agent in the tree under `root`; a running systemd learns of the new units."""
    subprocess.run(["systemctl", f"--root={root}", "enable", "waagent.target"], check=True)
    if root == Path("/") and os.path.isdir("/run/systemd/system"):
        subprocess.run(["systemctl", "daemon-reload"], check=True)


def _install_configuration(root: Path) -> None:
    source, target = HERE / "waagent.conf", _under(root, "/etc/waagent.conf")
    if target.exists() and target.read_bytes() != source.read_bytes():
        print(f"keeping {target}, which was changed; the new one is {target}.new")
        target = target.with_name("waagent.conf.new")
    _copy(source, target, 0o644)


def _under(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _version() -> str:
    text = (HERE / "waagent" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"read the version from {HERE}/waagent/__init__.py: no line __version__ = \"…\"")
    return found.group(1)


if __name__ == "__main__":
    setup(
        name="waagent",
        version=_version(),
        description="The Linux guest agent for Azure, as ordered boot stages of numbered modules",
        license="Apache-2.0",
        packages=find_packages(include=["waagent", "waagent.*"]),
        package_data={"waagent": ["py.typed"]},
        python_requires=">=3.9",
        install_requires=["PyYAML", "requests", "cryptography", "configobj"],
        cmdclass={"install": Install},
        zip_safe=False,
    )
