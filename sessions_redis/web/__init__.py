"""What visitors see: the pages where users end their own sessions, and the 503 page."""
