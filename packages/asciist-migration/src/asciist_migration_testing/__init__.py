"""Stand-ins for CDNs and ports, and models, for the tests and the rehearsal of a migration."""
