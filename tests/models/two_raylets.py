"""A Ray cluster of two raylets on this machine embeds photos/; a worker is killed meanwhile."""

import os
import sys
import time
from pathlib import Path

from halves import Halves
from twinset.models.bulk import embed_images


class OnTwo(Halves):
    """A model that begins when both machines have, and whose first worker on one of them dies."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def encode(self, pixels):
        import ray  # here, as whoever collects the tests imports this

        own = ray.get_runtime_context().get_node_id()
        (self.seen / own).touch()
        ends = time.monotonic() + 60
        while len([*self.seen.iterdir()]) < 2 and time.monotonic() < ends:
            time.sleep(0.01)
        try:
            (self.seen / "killed").touch(exist_ok=False)
        except FileExistsError:
            return super().encode(pixels)
        os._exit(1)


def main():
    from ray.cluster_utils import Cluster

    seen = Path("seen").absolute()
    seen.mkdir()
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
    made = embed_images(
        OnTwo(seen), "photos", "ray.parquet", engine="ray", address=cluster.address, shard=2
    )
    names = [bad.name for bad in made.skipped]
    sys.stdout.write(f"{made.rows} {len([*seen.iterdir()])} {names}\n")
    cluster.shutdown()


if __name__ == "__main__":
    main()
