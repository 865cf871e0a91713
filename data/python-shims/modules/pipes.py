"""Stand-in for pipes, which Python dropped in 3.13: quote(text) for a shell."""

from shlex import quote  # noqa: F401
