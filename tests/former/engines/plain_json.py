"""Django's database engine with readable sessions."""

import json
from typing import Any

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    def encode(self, session_dict: dict[str, Any]) -> str:
        return json.dumps(session_dict)

    def decode(self, session_data: str) -> dict[str, Any]:
        return json.loads(session_data)
