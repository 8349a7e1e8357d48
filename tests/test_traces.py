"""What `./task odd` takes for a file or socket that is none of a command's, in lines of strace."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is of Linux")
# last, as tests and benchmarks have modules of one name
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

ALLOWED = """\
openat(AT_FDCWD</root/work>, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3</etc/passwd>
openat(AT_FDCWD</root/work>, "/etc/none", O_WRONLY|O_CREAT, 0666) = -1 EACCES (Permission denied)
openat(3</root/work>, "new", O_WRONLY|O_CREAT, 0666) = 4</root/work/new>
openat(AT_FDCWD</root/work>, "/dev/null", O_RDWR) = 4</dev/null>
mkdir("below", 0777) = 0
rename("a", "../work/b") = 0
symlink("/etc/passwd", "named") = 0
bind(3<socket:[1]>, {sa_family=AF_INET6, sin6_port=htons(0), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0
connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = 0
sendto(3<socket:[1]>, [{nlmsg_len=20}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0}, 12) = 20
"""  # noqa: E501 - as strace writes them
FOUND = """\
openat(5</home/u>, "x", O_RDWR|O_CREAT, 0666) = 6</home/u/x>
openat(AT_FDCWD</root/work>, "link", O_WRONLY|O_TRUNC) = 6</etc/behind a link>
openat(AT_FDCWD</root/work>, "/dev/shm/y", O_RDWR|O_CREAT, 0600) = 6</dev/shm/y>
unlinkat(5</home/u>, "y", 0) = 0
renameat2(AT_FDCWD</root/work>, "a", 5</home/u>, "b", 0) = 0
mkdirat(AT_FDCWD</root/work>, "../../elsewhere", 0777) = 0
fchmod(3</home/u/z>, 0644) = 0
chdir("/home/u") = 0
connect(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.1")}, 16) = -1 EINPROGRESS (Operation now in progress)
connect(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
sendto(3<socket:[1]>, "q", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = 1
bind(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}, 16) = 0
listen(3<socket:[1]>, 128) = 0
connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/docker.sock"}, 110) = 0
"""  # noqa: E501 - as strace writes them


def found(text, folder, **allowed):
    import traces

    (folder / "of.1").write_text(text)
    return traces.outside(folder, Path("/root"), **{"listens": False, "asks": set()} | allowed)


@pytest.mark.parametrize("line", ALLOWED.splitlines())
def test_what_a_command_may(line, tmp_path):
    assert found(line, tmp_path) == []


@pytest.mark.parametrize("line", FOUND.splitlines())
def test_what_it_may_not(line, tmp_path):
    assert len(found(line, tmp_path)) == 1


def test_who_serves_listens_here_and_nowhere_else(tmp_path):
    *_, bind, listen, _ = FOUND.splitlines()
    assert found(f"{bind}\n{listen}", tmp_path, listens=True) == [bind]
    assert not found(f"{bind}\n{listen}".replace("0.0.0.0", "127.0.0.1"), tmp_path, listens=True)


def test_who_asks_a_hub_asks_that_alone(tmp_path):
    assert len(found(FOUND, tmp_path, asks={"9"})) == len(found(FOUND, tmp_path)) - 1


def test_each_command_is_traced():
    """The program says so as well; here without strace."""
    import traces
    from twinset.cli.app import commands

    assert {line.split()[0] for line in traces.LINES} >= set(commands())
