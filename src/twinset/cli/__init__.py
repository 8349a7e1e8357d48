"""Commands by subject, which `twinset.cli.app` puts together."""
