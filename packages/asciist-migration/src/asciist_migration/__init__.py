"""Tools that move a running service from one cloud to another. The service does not need them."""
