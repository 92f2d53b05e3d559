"""What a caller may have to tell apart, beyond Django's own ``CreateError`` and ``UpdateError``."""


class SessionStoreUnavailable(Exception):  # noqa: N818 - named for what a caller is told
    """
    Redis did not answer, or refused a command; whether the session exists is not known.

    Raised from the client's own error (``__cause__``). A site answers with 503: the visitor's
    cookie is still good and must not be touched.
    """
