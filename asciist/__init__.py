"""asciist turns an image into ASCII art over HTTP: the package that the web tier and the worker tier share."""
