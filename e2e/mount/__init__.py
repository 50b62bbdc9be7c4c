"""The mount for long, and beside other programs of its kind."""
