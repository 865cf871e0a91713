"""Discs and disks as the platform, or an owner, hands them to a machine. All are sparse files; nothing is mounted.

    dvd(path, document, kind)       the provisioning disc: "udf" (with ISO 9660 beside it, as the platform's) or
                                    "iso9660" alone
    blank(path, size)               nothing on it
    platform(path, size)            as the platform delivers a resource disk: MBR, one NTFS partition, its warning;
                                    files make of it one that an owner has used
    large(path, size)               as it delivers one above 2 TiB: GPT, a reserved partition, one with NTFS
    data(path, size, files)         an owner's: MBR, one ext4 partition with these files
    vmm(path)                       the disc of System Center VMM, whose installer writes /run/vmm-installer
    unknown(path, size)             MBR, one partition of type Linux, in which are bytes of no known file system
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MIB = 1024 * 1024
START = 1 * MIB  # of the first partition

# genisoimage writes ISO 9660 always; with -udf a UDF file system that shares the files.
DVD = {"udf": ("-udf", "-J", "-r"), "iso9660": ("-J", "-r")}


def dvd(path: Path, document: str, kind: str = "udf") -> Path:
    with tempfile.TemporaryDirectory(prefix="dvd-", dir=path.parent) as directory:
        (Path(directory) / "ovf-env.xml").write_text(document, encoding="utf-8")
        _run("genisoimage", "-quiet", *DVD[kind], "-V", "PROVISIONING", "-o", str(path), directory)
    path.chmod(0o600)
    return path


def blank(path: Path, size: int) -> Path:
    with open(path, "wb") as disk:
        disk.truncate(size)
    return path


WARNING = {"DATALOSS_WARNING_README.txt": "WARNING: THIS IS A TEMPORARY DISK.\r\n"}
LABEL = "Temporary Storage"


def platform(path: Path, size: int, files: Mapping[str, str] = WARNING) -> Path:
    blank(path, size)
    _partition(path, "7")
    _put(path, _ntfs(path, size - START, files))
    return path


def large(path: Path, size: int, files: Mapping[str, str] = WARNING) -> Path:
    blank(path, size)
    reserved, basic = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
    layout = f"label: gpt\nsize=16MiB, type={reserved}\ntype={basic}\n"
    _run("sfdisk", "--quiet", str(path), stdin=layout)
    start = START + 16 * MIB
    _put(path, _ntfs(path, size - start - MIB, files), start)
    return path


def vmm(path: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="vmm-", dir=path.parent) as directory:
        (Path(directory) / "linuxosconfiguration.xml").write_text("<LinuxOSConfiguration/>", encoding="utf-8")
        (Path(directory) / "install").write_text('echo "$# $1" >/run/vmm-installer\n', encoding="utf-8")
        _run("genisoimage", "-quiet", "-J", "-r", "-V", "VMM", "-o", str(path), directory)
    return path


def data(path: Path, size: int, files: Mapping[str, str]) -> Path:
    blank(path, size)
    _partition(path, "83")
    part = blank(path.with_suffix(".part"), size - START)
    with tempfile.TemporaryDirectory(prefix="data-", dir=path.parent) as directory:
        for name, content in files.items():
            (Path(directory) / name).write_text(content, encoding="utf-8")
        _run("mke2fs", "-q", "-t", "ext4", "-F", "-d", directory, str(part))
    _put(path, part)
    return path


def unknown(path: Path, size: int) -> Path:
    blank(path, size)
    _partition(path, "83")
    with open(path, "r+b") as disk:
        disk.seek(START)
        disk.write(b"what an owner's database wrote here\n" * 2000)
    return path


def _ntfs(path: Path, size: int, files: Mapping[str, str]) -> Path:
    part, file = blank(path.with_suffix(".part"), size), path.with_suffix(".txt")
    _run("mkntfs", "--quiet", "--fast", "--force", "--label", LABEL, str(part))
    for name, content in files.items():
        file.write_text(content, encoding="utf-8")
        _run("ntfscp", "--quiet", str(part), str(file), name)
        file.unlink()
    return part


def _partition(path: Path, kind: str) -> None:
    _run("sfdisk", "--quiet", str(path), stdin=f"label: dos\nstart={START // 512}, type={kind}\n")


def _put(path: Path, part: Path, start: int = START) -> None:
    """Copy a partition's content to where it belongs, leaving holes as holes."""
    offset = f"seek={start // MIB}"
    _run("dd", f"if={part}", f"of={path}", "bs=1M", offset, "conv=notrunc,sparse", "status=none")
    part.unlink()


def _run(*command: str, stdin: str = "") -> None:
    ran = subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if ran.returncode:
        raise RuntimeError(f"{_shown(command)}: status {ran.returncode}: {ran.stderr.strip()[-1000:]}")


def _shown(command: Sequence[str]) -> str:
    return " ".join(command)
