"""Our neighbours, one file each. Only `asciist.wiring` imports from here."""
