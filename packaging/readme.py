"""README.md as a package index shows it, where no path of the repository leads anywhere."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)(\n\n)?")


def packaged(text, repository=None, tag=""):
    """Give each path its address in a repository; without one, words for links, and no pictures."""

    def mended(found):
        picture, words, path, end = found.groups(default="")
        if repository:
            kind = "raw" if picture else "blob"
            return f"{picture}[{words}]({repository}/{kind}/{tag}/{path}){end}"
        return "" if picture else f"{words}{end}"

    return _RELATIVE.sub(mended, text)


class Readme(MetadataHookInterface):
    """Hatchling's: what goes into the metadata of wheel and source archive."""

    def update(self, metadata):  # noqa: D102 - told by its class
        # [project.urls] is the one place that may say where the repository is
        repository = metadata.get("urls", {}).get("Source")
        text = packaged(
            Path(self.root, "README.md").read_text("utf-8"), repository, f"v{metadata['version']}"
        )
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
