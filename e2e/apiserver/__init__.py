"""What only a real API server can say of our resources."""
