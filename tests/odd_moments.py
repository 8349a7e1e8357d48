"""Commands to which something happens at a chosen moment: one for each line of stdin, forked.

Keras and JAX are imported once, which takes longer than most of the commands. A moment is when a
file of a name is opened or put into its place, or when words are said; what happens then is a
signal, a disk that is full or a clock of another year from there on. Each line is a JSON object;
the answer is a list of exit code, stdout and stderr.
"""

import json
import os
import resource
import signal
import sys
import time

import jax  # noqa: F401
import keras  # noqa: F401
import numpy as np

import twinset.evaluation.evaluate
import twinset.figures
import twinset.run
import twinset.search.indexing
import twinset.training.fit
import twinset.training.jax_engine
from colours import png
from twinset.cli import app


class Moment:
    """When something happens, and what; it happens once."""

    def __init__(self, when, what):
        self.when, self.what, self.happened = when, what, False

    def hear(self, event, arguments):
        """Look at what Python does, as its audit events tell."""
        if event in ("open", "os.rename") and not self.happened:
            # of a rename: to where
            path = arguments[event == "os.rename"]
            name = os.fsdecode(path) if isinstance(path, str | bytes) else ""
            if self.when.startswith(f"{event} ") and name.endswith(self.when.partition(" ")[2]):
                self.come()

    def come(self):
        self.happened = True
        if self.what.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.what))
        elif self.what == "full":  # as `ulimit -f 0`
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        elif self.what:
            now = time.mktime((int(self.what), 1, 1, 0, 0, 0, 0, 0, 0))
            time.time = lambda: now


class Said:
    """A stream that knows the moment of certain words."""

    def __init__(self, stream, moment):
        self.stream, self.moment = stream, moment

    def write(self, text):
        words = self.moment.when.removeprefix("says ")
        if words != self.moment.when and words in text and not self.moment.happened:
            self.moment.come()
        return self.stream.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def become(asked, streams):
    """Become a command, whose output goes to pipes: a full disk is none of theirs."""
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    for number, (_, end) in streams.items():
        os.dup2(end, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    moment = Moment(asked["when"], asked["what"])
    sys.addaudithook(moment.hear)
    sys.stderr = Said(sys.stderr, moment)
    if not moment.when:
        moment.come()
    sys.argv = ["twinset", *asked["words"]]
    app.main()


def main():
    # to draw pictures is half of what a short run takes, and no moment is one of drawing
    twinset.figures.png_bytes = lambda figure: png(np.zeros((8, 8), np.uint8))
    for line in sys.stdin:
        asked = json.loads(line)
        streams = {number: os.pipe() for number in (1, 2)}
        child = os.fork()
        if not child:
            become(asked, streams)
        _, status = os.waitpid(child, 0)
        said = []
        for mine, end in streams.values():
            os.close(end)
            with os.fdopen(mine, encoding="utf-8") as stream:
                said.append(stream.read())
        print(json.dumps([os.waitstatus_to_exitcode(status), *said]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
