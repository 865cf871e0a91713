"""The .deb of this working tree, built in a clean copy and cached by the content of the tree.

build() returns the Path of the package. A build takes about ten seconds; an unchanged tree costs the
hashing of its files. What git would not track is not copied, so a stray file cannot slip in. $WAAGENT_DEB names
a package that is there already, for a packager who wants to see these tests pass with theirs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bed import cache
from bed.cache import say

SOURCE = Path(__file__).resolve().parents[2]

# Rooms that go into the package; a change elsewhere (tests, bench) needs no new build.
INGREDIENTS = (
    "debian", "setup.py", "pyproject.toml", "waagent.conf", "waagent", "stages", "modules", "hooks", "data",
    "README.md", "CHANGELOG.md", "LICENSE", "docs",
)  # fmt: skip


def build() -> Path:
    given = os.environ.get("WAAGENT_DEB")
    if given:
        return Path(given)
    files = ingredients()
    digest = hashlib.sha256()
    for name in files:
        path = SOURCE / name
        digest.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0".encode())
        digest.update(path.read_bytes())
    kept = cache.directory() / "debs" / digest.hexdigest()[:12]
    with cache.locked("deb"):
        if not kept.exists():
            say("building the .deb")
            kept.parent.mkdir(parents=True, exist_ok=True)
            cache.drop_old(kept.parent, keep=3)
            _build(files, kept)
    (deb,) = kept.glob("waagent_*.deb")
    return deb


def ingredients() -> list[str]:
    """The files that make the package, relative to the source tree."""
    if (SOURCE / ".git").exists():
        git = ["git", "-c", f"safe.directory={SOURCE}", "-C", str(SOURCE)]
        command = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.split("\0")
        names = {name for name in listed if name and (SOURCE / name).is_file()}
    else:
        names = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.is_file()}
    return sorted(
        name for name in names if name.split("/")[0] in INGREDIENTS and "__pycache__" not in name.split("/")
    )


def _build(files: list[str], kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="waagent-deb-") as scratch:
        tree = Path(scratch) / "waagent"
        for name in files:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, tree / name)
        build = ["sh", "-c", 'cd "$1" && exec dpkg-buildpackage -b -us -uc', "sh", str(tree)]
        cache.checked(build, "build the .deb")
        new = kept.with_name(kept.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for path in Path(scratch).glob("waagent_*"):
            shutil.copy(path, new)
        new.rename(kept)
