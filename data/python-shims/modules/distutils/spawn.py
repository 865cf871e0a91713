"""find_executable(name): where a program is, or None."""

from shutil import which


def find_executable(executable, path=None):
    return which(executable, path=path)
