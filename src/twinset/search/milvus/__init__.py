"""Stores in Milvus, or in a file of Milvus Lite; pymilvus is imported when one is opened."""

from twinset.search.milvus.store import MilvusStore

STORE = MilvusStore
