"""
Creates sessions with the former engine: ``python -m tests.moving_site.preparing COUNT USERS EACH``.

Prints the keys of each user's sessions, in JSON. The other sessions belong to nobody who visits.
"""

import json
import pickle
import random
import sys
from datetime import timedelta
from importlib import import_module

import django

AT_ONCE = 1000

# What a session of a signed-in user holds, about: 500 bytes in JSON.
ENTRIES = {
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_language": "en",
    "theme": "dark",
    "cart": [{"article": number, "pieces": 1} for number in range(5)],
    "last_search": {"words": "garden chairs", "page": 2, "sorted_by": "price"},
}


def main():
    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    count, users, each = map(int, sys.argv[1:])
    call_command("migrate", verbosity=0)
    model = get_user_model()
    model.objects.bulk_create(model(pk=n, username=f"user-{n}") for n in range(1, users + 1))
    hashes = {user.pk: user.get_session_auth_hash() for user in model.objects.all()}
    store = import_module(settings.SESSION_REDIS["FORMER_ENGINE"]).SessionStore
    chance = random.Random(1)
    keys = {}
    sessions = []
    for number in range(count):
        user = number // each + 1
        key = f"{chance.getrandbits(160):032x}"[:32]
        if user <= users:
            keys.setdefault(user, []).append(key)
        entries = {
            **ENTRIES,
            "_auth_user_id": str(user),
            "_auth_user_hash": hashes.get(user, "0" * 64),
        }
        sessions.append((key, entries, chance.randrange(3_600, 14 * 86_400)))
    writing = {"db": in_table, "cached_db": in_table, "cache": in_cache, "file": in_files}
    for start in range(0, count, AT_ONCE):
        writing[store.__module__.rpartition(".")[2]](store, sessions[start : start + AT_ONCE])
    print(json.dumps(list(keys.values())))


def in_table(store, sessions):
    from django.utils import timezone

    model, now = store.get_model_class(), timezone.now()
    model.objects.bulk_create(
        model(
            session_key=key,
            session_data=store().encode(entries),
            expire_date=now + timedelta(seconds=left),
        )
        for key, entries, left in sessions
    )


def in_cache(store, sessions):
    cache = store()._cache
    client = cache._cache.get_client(None, write=True)
    with client.pipeline(transaction=False) as pipeline:
        for key, entries, left in sessions:
            name = cache.make_and_validate_key(store(key).cache_key)
            pipeline.set(name, pickle.dumps(entries), ex=left)
        pipeline.execute()


def in_files(store, sessions):
    for key, entries, left in sessions:
        one = store(key)
        one._session_cache = dict(entries)  # to load a key that is not there yet would drop it
        one.set_expiry(left)
        one.save(must_create=True)


if __name__ == "__main__":
    main()
