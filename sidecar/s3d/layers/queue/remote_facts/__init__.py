"""What is known of the remote, and how it is learnt (SEMANTICS Q-4, Q-11, Q-14, Q-15c, Q-18, R-6).

`facts.py` owns all of it: buckets and their tags, the ETags seen, what kind of store it is, and the write profiles that
it has judged. Nobody else writes these tables, and no fact is guessed: an answer has shown it, or the remote is asked.
"""
