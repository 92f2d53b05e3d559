"""
The reasons why a session ended, as the signal `session_ended` names them.

Code that calls the registry can give other reasons. A session that expires is not ended: Redis
removes it by itself, and no process learns of it.
"""

# The visitor signed out, or code of the site called ``flush()`` or ``delete()`` of the session.
LOGGED_OUT = "logged_out"

# Somebody ended it in the admin.
ADMIN = "admin"

# The user's password changed, in another session.
PASSWORD = "password"  # noqa: S105 - not a password

# The user was deactivated or deleted.
DEACTIVATED = "deactivated"

# The user had too many sessions.
CAP = "cap"

# The session was used from another network or device than BIND_TO binds it to.
MOVED = "moved"

# The session reached the age at which it ends even if it is in use.
ABSOLUTE_AGE = "absolute_age"

# Code of the site called the registry without a reason.
ENDED = "ended"
