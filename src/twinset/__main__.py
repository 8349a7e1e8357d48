"""`python -m twinset` is `twinset`."""

from twinset.cli import main

if __name__ == "__main__":
    main()
