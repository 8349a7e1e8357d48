"""The most memory that this process has used since it began."""

import re
from pathlib import Path


def peak_megabytes():
    """VmHWM of Linux: `ru_maxrss` begins with what the parent used, which may be far more."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000
