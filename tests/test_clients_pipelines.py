"""
Auto-pipelining: tasks that send commands at the same time share a round trip, but no results or
errors.
"""

import asyncio

import pytest
import redis

from sessions_redis import clients
from sessions_redis.clients import pools
from sessions_redis.clients.pipelines import PIPELINE_LIMIT
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command
from tests.proxy import Proxy

MANY = 40

# Takes longer than any command of the engine. Commands that are sent meanwhile share a round trip.
SLOW = Command(
    ("EVAL", "local n = 0 for i = 1, 3000000 do n = n + 1 end return n", 0), lambda reply: reply
)


def echo(word):
    return Command(("ECHO", word), bytes.decode)


async def together(*asked):
    """The answers to commands that are sent in one turn of the loop, while another command runs."""
    first, *answers = await asyncio.gather(
        *(clients.arun(command) for command in (echo("first"), *asked)), return_exceptions=True
    )
    assert first == "first"
    return answers


@pytest.fixture
def at(settings, session_redis):
    """Sets the location of Redis, with options for redis-py."""

    def change(location, **options):
        settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}

    return change


@pytest.fixture
def trips(at, server):
    """
    ``trips(ask)`` returns how many round trips ``ask()`` takes when its connections are already
    open.
    """

    def count(ask):
        async def counted(proxy):
            await ask()
            before = proxy.round_trips
            await ask()
            return proxy.round_trips - before

        with Proxy(server.port) as proxy:
            at(proxy.url)
            return asyncio.run(counted(proxy))

    return count


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(0, 1), (1, 2), (PIPELINE_LIMIT, 2), (PIPELINE_LIMIT + 1, 3), (3 * PIPELINE_LIMIT, 4)],
)
def test_commands_at_the_same_time_share_a_round_trip(trips, asked, expected):
    """
    Up to ``PIPELINE_LIMIT`` commands share a round trip. The command that was sent first has its
    own.
    """
    assert trips(lambda: together(*[echo("word")] * asked)) == expected


def test_a_lone_command_does_not_wait(at, server):
    """
    Commands that are sent one after the other are sent at once, each in its round trip. No task is
    started for them.
    """
    client_id = Command(("CLIENT", "ID"), int)

    async def ask():
        ids = {await clients.arun(client_id) for _ in range(5)}
        pipeline = await pools.current().pipeline_for([SLOW])
        task = asyncio.create_task(clients.arun(SLOW))
        under_way = []
        for _ in range(5):
            await asyncio.sleep(0)
            under_way.append(list(pipeline._under_way))
        assert await task > 0
        return ids, under_way

    at(server.url)
    ids, under_way = asyncio.run(ask())
    assert len(ids) == 1
    assert [len(exchanges) for exchanges in under_way] == [1] * 5
    assert not any(isinstance(one, asyncio.Task) for exchanges in under_way for one in exchanges)


def test_each_gets_the_answer_to_its_own_command():
    words = [f"word-{number}" for number in range(5 * MANY)]
    assert asyncio.run(together(*map(echo, words))) == words


def test_sessions_that_are_saved_at_the_same_time(raw, prefix):
    """Each session is saved completely, in any combination with others."""

    async def visit(number):
        session = SessionStore()
        await session.aset("number", number)
        await session.acreate()
        await session.aset("pair", [number] * 2)
        await session.asave()
        return session.session_key

    async def visits():
        return await asyncio.gather(*map(visit, range(MANY)))

    for number, key in enumerate(asyncio.run(visits())):
        assert dict(SessionStore(key).items()) == {"number": number, "pair": [number] * 2}
    assert len(raw.keys(f"{prefix}:[0-9a-f]*")) == MANY


def test_few_connections_serve_many(at, server, raw, prefix):
    """Commands that share a round trip share a connection."""

    async def ask():
        await together(*[echo("word")] * PIPELINE_LIMIT)
        return sum(client["name"] == prefix for client in raw.client_list())

    at(server.url, client_name=prefix)
    assert asyncio.run(ask()) == 2


def test_many_commands_of_one_task_do_not_delay_others(trips):
    """A task that sends many commands at once has an exchange of its own."""

    async def ask():
        answers = await asyncio.gather(
            clients.arun(echo("first")),
            clients.arun_all([echo("a"), echo("b")]),
            clients.arun(echo("c")),
            clients.arun(echo("d")),
        )
        assert answers == ["first", ["a", "b"], "c", "d"]

    assert trips(ask) == 3


def test_a_refusal_reaches_only_its_own_task(raw, prefix):
    """If the server refuses the command of one task, the others still get their answers."""
    raw.set(f"{prefix}:text", "text", ex=60)
    keyspace = Keyspace(prefix)
    refused, wrong, good = asyncio.run(
        together(
            Command(("HGET", "too few words"), bytes), commands.load(keyspace, "text"), echo("good")
        )
    )
    assert isinstance(refused.__cause__, redis.ResponseError)
    assert isinstance(wrong, commands.WrongType)
    assert good == "good"


def test_a_command_that_cannot_be_encoded_fails_alone():
    """A command that redis-py cannot encode fails before it is combined with others."""
    failed, good = asyncio.run(together(Command(("ECHO", object()), bytes), echo("good")))
    assert isinstance(failed.__cause__, redis.DataError)
    assert good == "good"


@pytest.mark.parametrize("turns", range(8))
def test_a_cancelled_task_does_not_cancel_others(turns):
    """A cancelled task does not cancel the others, before or after the exchange has begun."""

    async def ask():
        slow = asyncio.create_task(clients.arun(SLOW))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(clients.arun(echo(f"{number}"))) for number in range(MANY)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert await slow > 0
        assert [await clients.arun(echo(word)) for word in "ab"] == ["a", "b"]
        return answers

    answers = asyncio.run(ask())
    assert answers[1::2] == [f"{number}" for number in range(1, MANY, 2)]
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])


def test_all_are_cancelled():
    """If all tasks of an exchange are cancelled, its connection can still be used for the next."""

    async def ask():
        for turns in range(10):
            tasks = [asyncio.create_task(clients.arun(echo("gone"))) for _ in range(MANY)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await clients.arun(echo("here")) == "here"

    asyncio.run(ask())


def test_a_loop_that_ends_during_an_exchange(recwarn, prefix):
    """When a loop ends, its exchanges are cancelled with it, without a message."""
    waiting = Command(("BLPOP", f"{prefix}:nothing", 5), lambda reply: reply)

    async def ask():
        tasks = [asyncio.create_task(clients.arun(waiting)) for _ in range(5)]
        await asyncio.sleep(0.05)
        return tasks

    tasks = asyncio.run(ask())
    assert all(task.cancelled() for task in tasks)
    assert list(recwarn) == []


def test_each_task_gets_an_error_in_an_outage(at, server):
    """In an outage, each task gets an error of its own. Afterwards all get answers again."""

    async def ask(proxy):
        await together(echo("before"))
        proxy.__exit__(None, None, None)
        return await asyncio.gather(
            *(clients.arun(echo("word")) for _ in range(MANY)), return_exceptions=True
        )

    with Proxy(server.port) as proxy:
        at(proxy.url)
        errors = asyncio.run(ask(proxy))
    assert all(isinstance(error, SessionStoreUnavailable) for error in errors)
    assert len({id(error) for error in errors}) == MANY
    at(server.url)
    assert asyncio.run(together(*map(echo, "abc"))) == list("abc")


def test_connections_that_the_server_closed(raw, at, server, prefix):
    """The tasks that shared a lost exchange share its retry."""

    async def ask():
        await together(*[echo("word")] * MANY)
        raw.client_kill_filter(_type="normal", skipme=True)
        return await together(*map(echo, "abc"))

    at(server.url, client_name=prefix)
    assert asyncio.run(ask()) == list("abc")


def test_increments_at_the_same_time_are_sent_once(at, server, live, raw, prefix):
    """
    An increment is never sent twice, also not together with other commands. Each raised an error,
    or its value was added.
    """
    key = f"{prefix}:{commands.session_id(live.session_key)}"

    async def add():
        stores = [SessionStore(live.session_key) for _ in range(MANY)]
        first = await asyncio.gather(*(store.aincrement("counter") for store in stores))
        raw.execute_command("CLIENT", "PAUSE", 2500, "WRITE")
        return first, await asyncio.gather(
            *(store.aincrement("counter") for store in stores), return_exceptions=True
        )

    at(server.url, socket_timeout=1.0)
    first, second = asyncio.run(add())
    assert sorted(first) == list(range(1, MANY + 1))
    assert all(isinstance(error, SessionStoreUnavailable) for error in second)
    assert pools.RETRIES > 0  # these commands were not sent again
    raw.hset(key, "afterwards", "true")  # waits until the delayed commands are done
    assert int(raw.hget(key, "counter")) <= 2 * MANY
