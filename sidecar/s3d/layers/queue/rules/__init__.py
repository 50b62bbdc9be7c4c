"""What a request may say, and within which limits: judged by looking at nothing else. Pure."""
