"""What a crash and a power cut leave behind: the real daemon, killed again and again."""
