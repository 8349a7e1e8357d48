"""Stores in Postgres databases; psycopg and pgvector are imported when one is opened."""

from twinset.search.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
