"""Who may come in: keys, signatures, and what a key may do.

Pure: no module here reads a file, a clock or a socket. The door gives it the request, the keys and the time.
"""
