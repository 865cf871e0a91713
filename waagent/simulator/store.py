"""State in an SQLite file, so that a restart goes on where it was.

Writes are collected and committed by a thread of its own, at most every `PERIOD` seconds: requests never wait for
the disk. `flush()` waits until everything handed over is on disk; the control API does that before it answers.

    machine   name, JSON                 report   machine name, JSON
    package   name, version, internal, content
    fault     number, JSON               violation   number, JSON            setting   key, value
"""
from __future__ import annotations

import json
import os
import sqlite3
import threading
from typing import Any, Callable, Optional, Union

from .errors import SimulatorError

PERIOD = 0.25
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS machine (name TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS report (name TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS package (name TEXT NOT NULL, version TEXT NOT NULL, internal INTEGER NOT NULL,
                                    content BLOB NOT NULL, PRIMARY KEY (name, version));
CREATE TABLE IF NOT EXISTS fault (number INTEGER PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS violation (number INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL);
"""
Write = tuple[str, tuple[Any, ...]]


class Store:
    """The file. Content of machines and reports is asked for when it is written, not when it changed."""

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path = os.fspath(path)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            self._database = sqlite3.connect(self.path, check_same_thread=False, timeout=10)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(SCHEMA)
            known = self._database.execute("SELECT value FROM setting WHERE key='schema'").fetchone()
            if known is None:
                self._database.execute("INSERT INTO setting VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            elif known[0] != str(SCHEMA_VERSION):
                raise SimulatorError(f"cannot use state file {self.path}: it has schema {known[0]}, this simulator "
                                     f"writes {SCHEMA_VERSION}; start with a new file")
            self._database.commit()
        except sqlite3.DatabaseError as error:
            raise SimulatorError(f"cannot use state file {self.path}: {error}; start with a new file") from None
        self._dirty: dict[tuple[str, str], Optional[Callable[[], str]]] = {}
        self._writes: list[Write] = []
        self._wake = threading.Condition()
        self._busy = False
        self._stopping = False
        self._hurry = 0
        self._error: Optional[str] = None
        self._thread = threading.Thread(target=self._run, name="simulator-store", daemon=True)
        self._thread.start()

    # --- reading, before the server starts ------------------------------------------------------------------------

    def rows(self, table: str) -> list[tuple[str, dict[str, Any]]]:
        """Key and decoded JSON of machine, report, fault or violation."""
        key = "name" if table in ("machine", "report") else "number"
        cursor = self._database.execute(f"SELECT {key}, content FROM {table} ORDER BY rowid")  # noqa: S608
        return [(str(name), json.loads(content)) for name, content in cursor]

    def packages(self) -> list[tuple[str, str, bytes, bool]]:
        cursor = self._database.execute("SELECT name, version, content, internal FROM package")
        return [(name, version, content, bool(internal)) for name, version, content, internal in cursor]

    # --- writing --------------------------------------------------------------------------------------------------

    def changed(self, table: str, name: str, content: Optional[Callable[[], str]]) -> None:
        """`content` is called on the writer's thread; many changes between two commits cost one write.

        None removes the row.
        """
        with self._wake:
            self._dirty[table, name] = content
            self._wake.notify_all()

    def write(self, statement: str, *values: Any) -> None:
        with self._wake:
            self._writes.append((statement, values))
            self._wake.notify_all()

    def flush(self) -> None:
        with self._wake:
            self._hurry += 1
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._error or not (self._dirty or self._writes or self._busy), timeout=30)
            self._hurry -= 1
            if self._error:
                raise SimulatorError(f"cannot write state file {self.path}: {self._error}")

    def close(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join()
        self._database.close()

    def _put(self, table: str, name: str, content: Optional[Callable[[], str]]) -> None:
        key = "name" if table in ("machine", "report") else "number"
        if content is None:
            self._database.execute(f"DELETE FROM {table} WHERE {key}=?", (name,))  # noqa: S608 - names of our own
        else:  # a row keeps its place: the first machine stays the default one
            self._database.execute(f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT ({key}) "  # noqa: S608
                                   "DO UPDATE SET content = excluded.content", (name, content()))

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._dirty or self._writes or self._stopping)
                if not (self._dirty or self._writes):
                    return
                dirty, self._dirty = self._dirty, {}
                writes, self._writes = self._writes, []
                self._busy = True
            try:
                with self._database:
                    for (table, name), content in dirty.items():
                        self._put(table, name, content)
                    for statement, values in writes:
                        self._database.execute(statement, values)
                failed = None
            except sqlite3.Error as error:
                failed = str(error)
            with self._wake:
                self._error = failed
                if failed is not None:  # a full disk may have room again later
                    self._dirty = {**dirty, **self._dirty}
                    self._writes = [*writes, *self._writes]
                self._busy = False
                self._wake.notify_all()
                if failed is not None and self._stopping:
                    return
                self._wake.wait_for(lambda: self._stopping or (self._hurry and not self._error), timeout=PERIOD)
