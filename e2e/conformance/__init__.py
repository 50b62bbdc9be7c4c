"""Conformance: a suite that others wrote, against the remote alone and through the gateway, in seven modes."""
