"""Moves a deployment to another cloud, in both directions."""
