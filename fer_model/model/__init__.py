"""The network and what is asked of it alone."""
