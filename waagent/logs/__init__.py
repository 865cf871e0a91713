"""Logs for support: what is taken, how it is packed, and the limits under which that happens."""
