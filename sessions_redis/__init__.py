"""Django sessions in Redis: one hash per session, one field per entry, one round trip."""
