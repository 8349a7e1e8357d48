"""A package as somebody else writes it: parts for twinset, found by their entry points alone.

A folder on `PYTHONPATH` with a `.dist-info` in it is an installed package to Python, so the tests
install this one without a download (`tests/test_third_party.py`). To add a part: a module here, a
line under its group in `twinset_extra-1.0.dist-info/entry_points.txt`, and a test there that uses
it from the command line.
"""
