"""The default store: a folder with an SQLite file for what is known, and a file of vectors."""

from twinset.search.sqlite.store import SqliteStore

STORE = SqliteStore
