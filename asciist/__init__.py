"""Convert images to ASCII art over HTTP: the code shared by the web tier, the workers, the command
and the client."""
