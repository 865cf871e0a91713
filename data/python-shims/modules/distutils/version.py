"""LooseVersion and StrictVersion: versions that can be compared, also with texts."""

import re
from functools import total_ordering


@total_ordering
class LooseVersion(object):
    """Numbers compare as numbers, words as words, and a number comes before a word."""

    def __init__(self, vstring=None):
        if vstring is not None:
            self.parse(vstring)

    def parse(self, vstring):
        self.vstring = vstring
        parts = re.findall(r"\d+|[a-z]+|[^.\da-z]+", vstring)
        self.version = [int(part) if part.isdigit() else part for part in parts]

    def _key(self):
        return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in self.version]

    def _other(self, other):
        return type(self)(other) if isinstance(other, str) else other

    def __eq__(self, other):
        return self._key() == self._other(other)._key()

    def __lt__(self, other):
        return self._key() < self._other(other)._key()

    def __hash__(self):
        return hash(str(self._key()))

    def __str__(self):
        return self.vstring

    def __repr__(self):
        return "%s ('%s')" % (type(self).__name__, self)


class StrictVersion(LooseVersion):
    """Two or three numbers, perhaps with a or b and a number."""

    def parse(self, vstring):
        match = re.match(r"^(\d+)\.(\d+)(?:\.(\d+))?(?:([ab])(\d+))?$", vstring)
        if match is None:
            raise ValueError("invalid version number %r" % vstring)
        self.vstring = vstring
        self.version = tuple(int(part or 0) for part in match.group(1, 2, 3))
        self.prerelease = (match.group(4), int(match.group(5))) if match.group(4) else None

    def _key(self):
        return self.version, self.prerelease or ("c", 0)
