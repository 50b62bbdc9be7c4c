"""The status page: the counts that each reader may see, and how a page looks.

The metrics door shows it, and `s3d ui` with more on it: names, and what may be done. `counts.py` reads what the daemon
says of itself, `parts.py` puts the optional parts into words, `charts.py` draws a day of counts, and `rendering.py`
makes a page of a template. A daemon loads what makes pages when the first one is asked for.
"""
