"""Stores in Postgres databases; psycopg and pgvector are imported when one is opened."""

from twinset.search.postgresql.store import PostgresStore

STORE = PostgresStore
