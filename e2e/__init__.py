"""End to end: the real daemon with stock clients, faults and a cluster."""
