"""Pages and pictures from numbers that others computed: HTML that needs no network, and PNG."""
