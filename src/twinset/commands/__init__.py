"""Commands by subject, which `twinset.cli` puts together."""
