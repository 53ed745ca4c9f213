"""Moves the artifacts of one deployment to the store of another (docs/migration.md)."""
