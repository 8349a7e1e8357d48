"""The main job where what only POSIX has is missing, in a process that was spawned.

Run as a program in a folder with `photos/`, a folder of images for each class: it checks the data,
trains, evaluates, indexes, searches and compares, each by its command, and prints what each ended
with. A spawned process does not run what is under `__name__`: `job` takes the names away.
"""

import importlib.abc
import multiprocessing
import os
import sys

MODULES = {"fcntl", "grp", "pwd", "resource"}
FUNCTIONS = ("fork", "forkpty", "posix_fallocate", "posix_fadvise", "preadv", "pwritev")
FUNCTIONS += ("register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_setscheduler")
JOB = (
    "check photos",
    "train photos --recipe tutorial --set epochs=2 --set encoder.units=[8] --out run",
    "evaluate run",
    "index run photos --out photos.index",
    "search photos.index photos/dark/0.png -k 3",
    "compare run photos/dark/0.png photos/dark/1.png",
)


class _Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def leave_posix():
    """Take away what Windows has not got, from all that is imported from now on."""
    sys.meta_path.insert(0, _Missing())
    for name in MODULES & set(sys.modules):
        del sys.modules[name]
    for name in FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)


def job():
    leave_posix()
    from twinset.cli.app import main

    for line in JOB:
        sys.argv = ["twinset", *line.split()]
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        sys.stdout.write(f"= {line.split()[0]} {code}\n")
    sys.stdout.write("= missing\n" if not MODULES & set(sys.modules) else "= there\n")


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    worker = multiprocessing.Process(target=job)
    worker.start()
    worker.join()
    sys.exit(worker.exitcode)
