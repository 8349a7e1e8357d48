"""What the server answers: one module a subject, each with a `router`."""
