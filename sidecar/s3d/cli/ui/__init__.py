"""`ui`: the status page, made from what the daemon says over its socket.

`views.py` reads the answers into what a page shows, `charts.py` draws a day of counts, the templates are the pages, and
`server.py` says who may see them.
"""
