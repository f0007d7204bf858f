"""All ports on one SQLite file: WAL, durable commits, one writer thread per process, any number of processes."""

from __future__ import annotations

from pathlib import Path

from gateway.clock import Clock
from gateway.stores.bundle import Load, Stores
from gateway.stores.sqlite.connection import open_reader, open_writer
from gateway.stores.sqlite.database import SqliteDatabase
from gateway.stores.sqlite.events import SqliteEvents
from gateway.stores.sqlite.feed import FeedWatch
from gateway.stores.sqlite.keys import SqliteKeys
from gateway.stores.sqlite.lane import Reader
from gateway.stores.sqlite.sessions import SqliteSessions
from gateway.stores.sqlite.users import SqliteUsers
from gateway.stores.sqlite.writer import Observer, Point, Writer


async def open_sqlite(path: Path, *, clock: Clock, busy_timeout: float, observer: Observer | None = None) -> Stores:
    """Open or create the database at `path`. `observer` is called in the writer's thread at each `Point`.

    A call may wait for a lock once behind another one that waits, so each wait gets half of `busy_timeout`.
    """
    patience = busy_timeout / 2
    written = open_writer(path, busy_timeout=patience, now=clock.now())
    try:
        read = open_reader(path, busy_timeout=patience)
    except BaseException:
        written.close()
        raise
    reader = Reader(read, "sqlite-reader")
    feed = FeedWatch(reader)
    writer = Writer(written, "sqlite-writer", on_feed=feed.grew, observer=observer)
    return Stores(
        sessions=SqliteSessions(writer, reader, feed, clock),
        users=SqliteUsers(writer, reader, clock),
        keys=SqliteKeys(writer, reader),
        events=SqliteEvents(writer, reader),
        database=SqliteDatabase(writer, reader),
        load=lambda: Load(open=2, waiting=writer.waiting + reader.waiting),
    )


__all__ = ["Observer", "Point", "open_sqlite"]
