"""`python -m twinset` is `twinset`."""

from twinset.cli.app import main

if __name__ == "__main__":
    main()
