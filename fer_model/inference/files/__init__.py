"""Which files there are, what each holds, and what is in an archive."""
