"""Encrypt entries anew that are not stored as ``SESSION_SERIALIZER`` stores them now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_redis import conf, sealing
from sessions_redis.clients import perform, run_all
from sessions_redis.json_serializer import made
from sessions_redis.registry.scanning import scanned
from sessions_redis.storage import commands
from sessions_redis.storage.entries import SealingSerializer
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.sealing import outdated, reseal
from sessions_redis.storage.steps import Steps
from sessions_redis.storage.together import together

# Sessions that are read and written at a time.
AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far it has come.

    ``share``: roughly how much of the database it has read, from 0 to 1. ``sessions``: how many
    sessions it has found. ``outdated``: how many entries were stored otherwise. ``written``: how
    many of these are now as they should be. The others are damaged, expire by themselves, or were
    changed by requests meanwhile.
    """

    share: float = 0
    sessions: int = 0
    outdated: int = 0
    written: int = 0


def reencrypt(
    *, only_look: bool = False, report: Callable[[Progress], None] = lambda _: None
) -> Progress:
    """
    Store each entry as ``SESSION_SERIALIZER`` stores it now.

    That is with the first key, or plain with a serializer that only decrypts. Looks at all keys of
    the database, about a thousand in each step, beside a site that serves visitors: it writes an
    entry only if it still is what this has read. ``only_look``: count, and write nothing.

    Calls ``report`` after each step. Raises ``ImproperlyConfigured`` if the serializer is not one
    that encrypts or decrypts, and `SessionStoreUnavailable` if Redis is away.
    """
    serializer = made(import_string(settings.SESSION_SERIALIZER))
    if not isinstance(serializer, SealingSerializer):
        raise ImproperlyConfigured(
            f"SESSION_SERIALIZER {settings.SESSION_SERIALIZER!r} neither encrypts nor decrypts. "
            "docs/encryption.md says which ones do."
        )
    keyspace, progress = conf.current().keyspace, Progress()
    for ids, share in scanned(keyspace):
        for start in range(0, len(ids), AT_A_TIME):
            batch = ids[start : start + AT_A_TIME]
            hashes: list[Any] = run_all([commands.load(keyspace, id) for id in batch])
            found = {
                id: fields
                for id, fields in zip(batch, hashes, strict=True)
                if isinstance(fields, Mapping)
            }
            old = {id: len(outdated(serializer, fields)) for id, fields in found.items()}
            written = 0
            if not only_look:
                steps = [_resealed(keyspace, id, found[id], serializer) for id in found if old[id]]
                written = sum(perform(together(steps)))
            progress = replace(
                progress,
                sessions=progress.sessions + len(found),
                outdated=progress.outdated + sum(old.values()),
                written=progress.written + written,
            )
        progress = replace(progress, share=share)
        report(progress)
    return replace(progress, share=1)


def _resealed(
    keyspace: Keyspace, id: str, fields: Mapping[bytes, bytes], serializer: SealingSerializer
) -> Steps[int]:
    written = 0
    for command in reseal(keyspace, id, fields, serializer, sealing.new_salt()):
        answer = yield command
        written += max(answer, 0)
    return written
