"""Directories of ``embedded://`` that other users own, prepared or can replace."""

import asyncio
import os
import shutil
import socket
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from stat import S_IMODE

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf
from sessions_redis.clients import embedded, pools
from sessions_redis.clients.directories import create_private, open_to_append, require_private
from sessions_redis.engine import SessionStore
from tests.servers import unavailable

# IDs of users that do not exist.
SOMEBODY, SOMEBODY_ELSE = 61234, 61235


@pytest.fixture
def own(tmp_path):
    """A directory of this user, as `create_private` leaves it."""
    return create_private(tmp_path / "redis")


@pytest.fixture
def root():
    """Skip the test if this process cannot give files to other users."""
    return os.geteuid() == 0 or unavailable("only root can give files to other users")


@pytest.fixture
def shared(root):
    """A directory like ``/tmp``, in which every user can write."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # other users can reach it
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def user(number):
    """Runs code in this process as that user."""
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def refusal(directory):
    with pytest.raises(ImproperlyConfigured) as caught:
        embedded.ensure(directory)
    told = str(caught.value)
    with pytest.raises(ImproperlyConfigured) as caught:
        embedded.check(directory)
    assert str(caught.value) == told
    assert told.endswith('or name another directory in SESSION_REDIS["LOCATION"].')
    return told


def held(directory):
    return sorted(path.name for path in directory.iterdir())


# Owners


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777])
def test_a_directory_of_another_user(own, mode):
    """
    Even root does not use another user's directory, and nothing in it changes. The error names the
    owner.
    """
    os.chown(own, SOMEBODY, SOMEBODY)
    own.chmod(mode)
    told = refusal(own)
    assert f"{own} belongs to the user with the ID {SOMEBODY}" in told
    assert f"sudo -u '#{SOMEBODY}'" in told
    assert held(own) == []
    assert S_IMODE(own.stat().st_mode) == mode


def test_another_user_than_root(shared):
    """Another user does not use it either, and may not even look into it."""
    directory = create_private(shared / "redis")
    os.chown(directory, SOMEBODY, SOMEBODY)
    with user(SOMEBODY_ELSE):
        assert f"belongs to the user with the ID {SOMEBODY}" in refusal(directory)
    with user(SOMEBODY):
        require_private(directory)
    os.chown(directory, 0, 0)
    with user(SOMEBODY):
        assert "belongs to the user with the ID 0" in refusal(directory)


@pytest.mark.usefixtures("root")
def test_a_server_of_another_user(own, settings):
    """A server that answers in another user's directory receives nothing: any user could run it."""
    settings.SESSION_REDIS = {"LOCATION": f"embedded://{own}"}
    path = embedded.ensure(own)
    try:
        with redis.Redis(unix_socket_path=str(path)) as client:
            before = client.info("stats")["total_connections_received"]
            os.chown(own, SOMEBODY, SOMEBODY)
            with pytest.raises(ImproperlyConfigured, match=f"user with the ID {SOMEBODY}"):
                SessionStore().create()
            with pytest.raises(ImproperlyConfigured, match=f"user with the ID {SOMEBODY}"):
                pools.check()
            assert client.info("stats")["total_connections_received"] == before
    finally:
        embedded.stop(own)


@pytest.fixture
def foreign(own, root):
    """A server of another user, on a socket that looks like this user's own."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own / "valkey.sock"))
        with user(SOMEBODY):
            listener.listen()
        listener.settimeout(0)
        yield listener


def heard(listener):
    """The data that all connections have sent to a server."""
    sent = b""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return sent
        with connection:
            sent += connection.recv(1000)


def test_a_foreign_server_on_an_own_socket(own, foreign):
    """
    The operating system says who runs the server. The engine sends nothing to another user's
    server.
    """
    told = refusal_of_server(own)
    assert f"A server of the user with the ID {SOMEBODY} answers on {own}" in told
    assert heard(foreign) == b""


def refusal_of_server(directory):
    with pytest.raises(ImproperlyConfigured) as caught:
        embedded.ensure(directory)
    return str(caught.value)


@pytest.mark.parametrize("world", [pools.SYNC, pools.ASYNC], ids=["sync", "async"])
def test_a_foreign_server_later(own, foreign, settings, world):
    """
    The same holds for connections that are made later, when the directory is not checked first.
    """
    settings.SESSION_REDIS = {"LOCATION": f"embedded://{own}"}
    pool = pools._checked_pool(conf.current(), world, own / "valkey.sock", repeats=True)

    async def connect():
        try:
            await pool.get_connection()
        finally:
            await pool.disconnect()

    with pytest.raises(redis.ConnectionError, match=f"the user with the ID {SOMEBODY} runs"):
        pool.get_connection() if world is pools.SYNC else asyncio.run(connect())
    assert heard(foreign) == b""


def test_a_system_that_does_not_say_who_runs_the_server(own, settings, monkeypatch):
    """
    On systems other than Linux, the engine checks only the owners of the directory and its files.
    """
    monkeypatch.delattr(socket, "SO_PEERCRED")
    settings.SESSION_REDIS = {"LOCATION": f"embedded://{own}"}
    SessionStore().create()
    embedded.stop(own)


# Content of the directory

FILES = ["valkey.sock", "valkey.log", "valkey.lock", "appendonlydir", "appendonly.aof"]
FILES += ["dump.rdb", "temp-1.rdb", "appendonlydir/appendonly.aof.manifest"]


@pytest.fixture(params=FILES)
def file(own, request):
    """The name of a file that the server uses."""
    file = own / request.param
    file.parent.mkdir(exist_ok=True)
    return file


@pytest.mark.parametrize("target", ["file", "directory", "nothing"])
def test_a_symbolic_link_in_it(file, own, tmp_path, target):
    """A symbolic link is refused for any target, and its target does not change."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "directory").mkdir()
    file.symlink_to(tmp_path / target)
    told = refusal(own)
    assert f"{file} is a symbolic link" in told
    assert "Remove it" in told
    assert (tmp_path / "file").read_text() == "precious"
    assert held(tmp_path / "directory") == []
    assert not (tmp_path / "nothing").exists()


@pytest.mark.usefixtures("root")
def test_a_file_of_another_user_in_it(file, own):
    """The engine does not use data, a log or a lock that another user has put there."""
    file.write_text("")
    os.chown(file, SOMEBODY, SOMEBODY)
    assert f"{file} belongs to the user with the ID {SOMEBODY}" in refusal(own)


def test_a_hard_link_in_it(file, own, tmp_path):
    """A hard link is refused, because the file would also change under its other name."""
    (tmp_path / "file").write_text("precious")
    file.hardlink_to(tmp_path / "file")
    assert f"{file} is a file that has a second name" in refusal(own)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_pipe_in_it(file, own):
    """Anything else than a file, a directory or a socket is refused, without waiting for it."""
    os.mkfifo(file)
    assert f"{file} is neither a file" in refusal(own)


def test_a_file_is_opened_without_following_links(own, tmp_path):
    """If a link or a pipe appears after the check, opening it fails at once."""
    (own / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(own / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(ImproperlyConfigured, match=f"cannot use {own / name}"):
            open_to_append(own / name)
    assert not (tmp_path / "elsewhere").exists()
    with open_to_append(own / "new") as file:
        file.write(b"line")
    assert S_IMODE((own / "new").stat().st_mode) == 0o600


def test_a_file_that_a_running_server_removes(own, monkeypatch):
    """A temporary file of the server may disappear during the check."""
    (own / "temp-1.rdb").write_text("")
    listed = [*os.scandir(own)]
    monkeypatch.setattr(os, "scandir", lambda path: nullcontext(listed))
    (own / "temp-1.rdb").unlink()
    require_private(own)


def test_its_own_files(own):
    """Files that the server itself has created are used again."""
    embedded.ensure(own)
    embedded.stop(own)
    assert {"appendonlydir", "valkey.lock", "valkey.log"} <= set(held(own))
    require_private(own)


# The path to the directory


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_a_volume_of_a_container(tmp_path, mode):
    """This user's own directory may be in a directory that other users own or may write to."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume").chmod(mode)
    os.chown(tmp_path / "volume", SOMEBODY, SOMEBODY)
    embedded.ensure(tmp_path / "volume" / "redis")
    embedded.stop(tmp_path / "volume" / "redis")


@pytest.mark.usefixtures("root")
def test_another_directory_in_its_place(tmp_path, own, settings):
    """If another user replaces the directory later, it is refused."""
    settings.SESSION_REDIS = {"LOCATION": f"embedded://{own}"}
    SessionStore().create()
    embedded.stop(own)
    own.rename(tmp_path / "moved")
    own.mkdir(mode=0o700)
    os.chown(own, SOMEBODY, SOMEBODY)
    with pytest.raises(ImproperlyConfigured, match=f"user with the ID {SOMEBODY}"):
        SessionStore().create()
    assert held(own) == []


@pytest.mark.usefixtures("root")
def test_a_link_of_another_user(shared, own):
    """A link of another user is refused as part of the path."""
    link = shared / "link"
    link.symlink_to(own)
    embedded.check(link)
    os.lchown(link, SOMEBODY, SOMEBODY)
    assert f"{link} belongs to the user with the ID {SOMEBODY}" in refusal(link)


@pytest.mark.usefixtures("root")
def test_a_link_of_another_user_above(own, tmp_path):
    """That also holds for links in parent directories outside of ``/tmp``."""
    link = tmp_path / "link"
    link.symlink_to(own.parent)
    os.lchown(link, SOMEBODY, SOMEBODY)
    assert f"{link} belongs to the user with the ID {SOMEBODY}" in refusal(link / own.name)


def test_links_of_this_user(own, tmp_path):
    """Links of this user are followed: relative ones, absolute ones and several in a row."""
    (tmp_path / "one").symlink_to("redis")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "three").symlink_to("../" + tmp_path.name)
    for path in (tmp_path / "one", tmp_path / "two", tmp_path / "three" / "two"):
        require_private(path)
    require_private(own / ".." / "redis")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("below", ["redis", "a/redis", "a/../b/redis"])
def test_missing_directories_behind_a_link_of_another_user(tmp_path, below):
    """Behind a link of another user, nothing is created."""
    (tmp_path / "victim").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "victim")
    os.lchown(link, SOMEBODY, SOMEBODY)
    assert f"{link} belongs to the user with the ID {SOMEBODY}" in refusal(link / below)
    assert held(tmp_path / "victim") == []


@pytest.mark.usefixtures("root")
def test_a_link_that_appears_meanwhile(own, tmp_path, monkeypatch):
    """
    If another user creates a link just before this process creates the directory, it is refused.
    """
    link = tmp_path / "link"
    make = Path.mkdir

    def mkdir(self, *arguments, **options):
        link.symlink_to(own.parent)
        os.lchown(link, SOMEBODY, SOMEBODY)
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(ImproperlyConfigured, match=f"{link} belongs to the user"):
        create_private(link / own.name)


def test_missing_directories_behind_a_link_of_this_user(tmp_path):
    """Behind a link of this user, missing directories are created."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    create_private(tmp_path / "link" / "a" / ".." / "redis")
    assert held(tmp_path / "there") == ["a", "redis"]


@pytest.mark.parametrize("target", ["nothing", "nothing/below", "file/below", "link"])
@pytest.mark.parametrize("below", ["", "redis", "a/redis"])
def test_a_link_to_nothing(tmp_path, target, below):
    """A link without a target, or to itself, is refused. The error names its target."""
    (tmp_path / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(target)
    told = refusal(link / below)
    assert f"{link}: it is a symbolic link to {target}, which cannot be found" in told
    assert "Remove the link" in told
    assert held(tmp_path) == ["file", "link"]


def test_links_to_links(tmp_path):
    """As many links are followed as the operating system follows."""
    (tmp_path / "0").mkdir(mode=0o700)
    for number in range(50):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    require_private(tmp_path / "40")
    assert f"{tmp_path / '50'}: it is a symbolic link" in refusal(tmp_path / "50")


def test_a_missing_directory(tmp_path, settings):
    """A check creates nothing."""
    settings.SESSION_REDIS = {"LOCATION": f"embedded://{tmp_path / 'redis'}"}
    pools.check()
    assert conf.current().directory == tmp_path / "redis"
    assert held(tmp_path) == []
