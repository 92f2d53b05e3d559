"""What Django asks of any session engine, as tests to inherit:

    class TestMyEngine(EngineContract):
        engine = SessionStore

A behaviour is written once, as an `async def` test that awaits every call on its `session`. It runs
twice: on the plain methods of the store, with no event loop, and on their async twins, in one.
The facts are those of `django.contrib.sessions` and of the tests it runs on its own engines.
"""

from tests.contract.base import SECURITY_LOG, Contract
from tests.contract.codec import CodecContract
from tests.contract.ending import EndContract
from tests.contract.entries import EntryContract
from tests.contract.expiry import ExpiryContract
from tests.contract.keys import KeyContract
from tests.contract.requests import MiddlewareContract
from tests.contract.storage import StorageContract

__all__ = ["SECURITY_LOG", "Contract", "EngineContract"]


class EngineContract(
    EntryContract,
    StorageContract,
    EndContract,
    KeyContract,
    CodecContract,
    ExpiryContract,
    MiddlewareContract,
):
    """All of it. A subclass names its `engine`, and what else of `Contract` differs."""
