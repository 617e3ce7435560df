"""What a request may ask for, in Docker's words. Pure."""
