"""Shifts traffic from one origin to another at a CDN, in steps, each of which is judged: the
command `asciist-shift`.

`judge` compares the origins, `state` decides the next action, `controller` carries it out, and
`journal` survives crashes. `ports` defines the interfaces of a CDN, a source of metrics and a
comparison of art; `haproxy`, `cloudflare`, `request_log` and `art` implement them.
"""
