"""Adapters: implementations of the ports, one module or package for each technology. Only
`asciist.wiring` imports them."""
