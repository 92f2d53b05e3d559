"""Pages and data for visitors: the devices on which a user is signed in, and the 503 page."""
