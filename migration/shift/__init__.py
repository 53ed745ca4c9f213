"""Moves traffic from one origin to another at a CDN, in steps that are judged: the command `asciist-shift`.

`judge` compares the origins, `state` decides what follows, `controller` does it, and `journal` survives crashes. `ports` says
what a CDN, a source of figures and a comparison of art must provide; `haproxy`, `cloudflare`, `request_log` and `art` do so.
"""
