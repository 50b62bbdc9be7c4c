"""`ui`: the status page, made from what the daemon says over its socket.

`views.py` reads the answers into what the page shows beside the counts, and `server.py` says who may see it.
"""
