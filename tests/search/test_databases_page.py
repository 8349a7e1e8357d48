"""docs/how-to/move-to-a-database.md: its example moves all that an index holds."""

import re
from pathlib import Path

import numpy as np

from twinset.search.store import Items, Signature, create_store, open_store

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "move-to-a-database.md"


def test_the_example_moves_an_index(postgres_server, tmp_path, capsys):
    vectors = np.random.default_rng(0).normal(size=(250, 4))
    with create_store("photos.index", Signature("m", 4)) as store:  # in a folder of the test's own
        store.add(Items([str(i) for i in range(250)], vectors, [{"row": i} for i in range(250)]))
    example, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 20
    target = postgres_server.url("moved")
    exec(example.replace("postgresql://me@db.example.org/photos?index=shoes", target), {})
    assert capsys.readouterr().out == "250 of 250\n"
    with open_store(target) as moved:
        assert moved.signature == Signature("m", 4)
        assert [*next(moved.batches()).metadata] == [{"row": i} for i in range(250)]
