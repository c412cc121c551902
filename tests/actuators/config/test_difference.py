"""What restoring would change, shown before the approval, and what the approval binds to."""

from __future__ import annotations

import dataclasses
import json

import pytest

from actuators import config, config_changes
from actuators.config import RestoreConfiguration
from actuators.config_diff import difference
from actuators.config_files import Configuration
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.announcements import Note, Place, announcements
from bot.domain.errors import ActuatorError
from bot.domain.events import CheckFinding
from bot.domain.lifecycle import State
from bot.engine import outside
from handlers.slack import render
from tests.support import plans, stories
from tests.support.actuation import START, fails
from tests.support.hosts import NEW_CONF, OLD_CONF, OLD_DATABASE, Estate, sha256
from tests.support.ssh import SshEstate
from tests.support.stories import happened, run_in

RESTORE = RestoreConfiguration(id="config", target="payments-app", backup="cfg")
ACTUATOR = config.register()[0].actuator


async def looked(estate: Estate, step: RestoreConfiguration = RESTORE) -> Check:
    """Return the check that shows the difference."""
    checks = await ACTUATOR.check(step, estate.context(step))
    return next(check for check in checks if check.subject == f"Difference from {step.backup}")


def binding(context: Context, seal: str) -> Context:
    """Return the run as it is once it was authorised."""
    return dataclasses.replace(context, approved={RESTORE.id: seal})


async def test_the_approver_reads_what_changes_line_by_line(estate: Estate) -> None:
    """Hosts that differ alike share one diff from what is in place to the backup, and the words count the lines."""
    total = len(estate.folders)
    found = await looked(estate)
    where = "1 host" if total == 1 else f"{total} hosts"
    assert found.verdict is Verdict.OK
    assert found.words == f"2 of 2 files would change on {where}, 4 lines added, 3 removed"
    names = ", ".join(estate.folders)
    assert found.detail.split("\n") == [
        f"app.conf on {names}: 3 added, 2 removed",
        "Stays with mode 0640; the backup has mode 0644.",
        "--- app.conf (now)",
        "+++ app.conf (backup)",
        "@@ -1,3 +1,4 @@",
        "+# payments",
        " [app]",
        "-version = 2.4",
        "-pool = 5",
        "+version = 2.3",
        "+pool = 20",
        f"database.yml on {names}: 1 added, 1 removed",
        "Stays with mode 0600; the backup has mode 0644.",
        "--- database.yml (now)",
        "+++ database.yml (backup)",
        "@@ -1,2 +1,2 @@",
        " host: db",
        "-password: ***",
        "+password: ***",
    ]


async def test_the_difference_stands_folded_in_the_thread(one_ssh_host: SshEstate) -> None:
    """What the check found reaches the people who approve as a note with the diff below it, secrets masked."""
    found = outside.check(await looked(one_ssh_host))
    finding = CheckFinding(subject=found.subject, verdict=found.verdict, words=found.words, detail=found.detail)
    run = happened(run_in(State.CHECKING), stories.checked(START, plans.READING, finding))
    (told,) = [each for each in announcements(run, plans.policy()) if isinstance(each.content, Note)]
    assert told.place is Place.THREAD
    assert isinstance(told.content, Note)
    words = "Difference from cfg: 2 of 2 files would change on 1 host, 4 lines added, 3 removed"
    assert told.content == Note(words, detail=found.detail)
    shown = json.dumps(render.note(told.content).blocks)
    assert "-version = 2.4\\n-pool = 5\\n+version = 2.3\\n+pool = 20" in shown
    assert "-password: ***\\n+password: ***" in shown
    assert "hunter" not in shown


async def test_nothing_to_do_is_told_in_a_word(one_ssh_host: SshEstate) -> None:
    """Where every file is as in the backup there is nothing to show."""
    await ACTUATOR.apply(RESTORE, one_ssh_host.context(RESTORE))
    found = await looked(one_ssh_host)
    assert (found.words, found.detail) == ("nothing would change on 1 host", "")


async def test_hosts_that_are_not_alike_are_told_apart(ssh_hosts: SshEstate) -> None:
    """Each difference names its hosts; that a host is unlike the others is a warning with what to do."""
    ssh_hosts.folders["app03"].write("etc/app.conf", OLD_CONF)
    ssh_hosts.folders["app02"].write("etc/flags.conf", "power_peg = on\n")
    found = await looked(ssh_hosts)
    assert found.verdict is Verdict.WARN
    assert found.words == (
        "2 of 2 files would change on 3 hosts, 4 lines added, 3 removed; the hosts are not alike now: "
        "app01 | app02 | app03"
    )
    assert found.resolution.startswith("Find out why first")
    assert "app.conf on app01, app02: 3 added, 2 removed\n" in found.detail
    assert "flags.conf on app02: not in the backup, and stays as it is" in found.detail
    ssh_hosts.folders["app03"].write("etc/database.yml", OLD_DATABASE)
    found = await looked(ssh_hosts)
    assert found.words.startswith("2 of 2 files would change on 2 of 3 hosts, 4 lines added, 3 removed; ")
    assert found.detail.endswith("\napp03: nothing changes")


async def test_new_binary_and_large_files_are_told_in_words(one_ssh_host: SshEstate) -> None:
    """A missing file shows how it is made; what is no text or too long is told by its size and digest."""
    folder = one_ssh_host.only
    (folder.root / "etc/database.yml").unlink()
    (folder.root / "backup/cfg/database.yml").chmod(0o604)
    (folder.root / "etc/store.p12").write_bytes(b"\xff\xfe")
    (folder.root / "backup/cfg/store.p12").write_bytes(b"\xff\xfe\xfd")
    folder.write("backup/cfg/list.txt", "x" * 300_000)
    found = await looked(one_ssh_host)
    state = (folder.root / "etc").stat()
    assert "4 of 4 files would change on 1 host, 5 lines added, 2 removed" in found.words
    assert (
        "There is no such file; it is made with mode 0604 (the backup's) and owner "
        f"{state.st_uid}:{state.st_gid} (its folder's).\n"
        "--- (no file)\n+++ database.yml (backup)\n@@ -0,0 +1,2 @@\n"
    ) in found.detail
    digests = [sha256(data)[:12] for data in (b"\xff\xfe", b"\xff\xfe\xfd", b"x" * 300_000)]
    assert (
        f"store.p12 is no text: 2 bytes (sha256 {digests[0]}) become 3 bytes (sha256 {digests[1]})." in found.detail
    )
    assert f"list.txt is too long to be compared line by line: 300,000 bytes (sha256 {digests[2]}) come back." in (
        found.detail
    )


async def test_contents_are_read_once_for_hosts_that_are_alike(
    ssh_hosts: SshEstate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference of fifty equal hosts costs no more reading than that of one."""
    read: list[str] = []
    original = config_changes._difference

    async def counted(*given: object) -> object:
        read.append(str(given[2]))
        return await original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(config_changes, "_difference", counted)
    await looked(ssh_hosts)
    assert len(read) == 2


async def test_a_host_that_cannot_be_compared_fails_the_check(ssh_hosts: SshEstate) -> None:
    """No difference is no promise: a file that cannot be read is a failure, and nothing is sealed."""
    (ssh_hosts.folders["app02"].root / "etc/app.conf").unlink()
    (ssh_hosts.folders["app02"].root / "etc/app.conf").symlink_to("/proc/self/mem")
    checks = await ACTUATOR.check(RESTORE, ssh_hosts.context(RESTORE))
    found = next(check for check in checks if check.subject == "Difference from cfg")
    assert found.verdict is Verdict.FAIL
    assert found.words.startswith("app02: ")
    assert (found.detail, found.seal) == ("", "")


async def test_the_approval_binds_to_the_backup_that_was_shown(ssh_hosts: SshEstate) -> None:
    """A backup that was exchanged after the approval is refused before any file is replaced; the same is taken."""
    context = ssh_hosts.context(RESTORE)
    seal = (await looked(ssh_hosts)).seal
    assert len(seal) == 64
    last = list(ssh_hosts.folders.values())[-1]
    last.write("backup/cfg/app.conf", OLD_CONF + "evil = on\n")
    with pytest.raises(ActuatorError, match="not what it was when this was approved") as caught:
        await ACTUATOR.apply(RESTORE, binding(context, seal))
    assert caught.value.untouched == "No file was replaced on any host."
    assert caught.value.resolution
    assert {folder.read("etc/app.conf") for folder in ssh_hosts.folders.values()} == {NEW_CONF}
    last.write("backup/cfg/app.conf", OLD_CONF)
    # What is in place may have changed meanwhile, as in a repeat: only what comes back is sealed.
    last.write("etc/app.conf", OLD_CONF)
    await ACTUATOR.apply(RESTORE, binding(context, seal))
    assert {folder.read("etc/app.conf") for folder in ssh_hosts.folders.values()} == {OLD_CONF}


async def test_a_backup_that_the_plan_pins_needs_no_seal(one_ssh_host: SshEstate) -> None:
    """The digest in the approved plan already says what comes back."""
    listing = f"{sha256(OLD_CONF.encode())}  app.conf\n{sha256(OLD_DATABASE.encode())}  database.yml\n"
    context = one_ssh_host.context(RESTORE, digests={"cfg": sha256(listing.encode())})
    assert {check.seal for check in await ACTUATOR.check(RESTORE, context)} == {""}


async def test_a_backup_that_changes_while_it_is_read_is_refused(
    one_ssh_host: SshEstate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between comparing and reading nobody can slip another content in."""
    compared = Configuration.compared

    async def then_changed(*given: object) -> object:
        pairs = await compared(*given)  # type: ignore[arg-type]
        one_ssh_host.only.write("backup/cfg/app.conf", "another = 1\n")
        return pairs

    monkeypatch.setattr(Configuration, "compared", then_changed)
    with pytest.raises(ActuatorError, match="has changed while it was read"):
        await ACTUATOR.apply(RESTORE, one_ssh_host.context(RESTORE))
    assert one_ssh_host.only.read("etc/app.conf") == NEW_CONF


async def test_links_in_the_backup_are_pointed_out(one_ssh_host: SshEstate) -> None:
    """Only regular files are restored; anything else in the backup's folder is named and not passed over."""
    (one_ssh_host.only.root / "backup/cfg/sub").mkdir()
    (one_ssh_host.only.root / "backup/cfg/sub/link.conf").symlink_to("../app.conf")
    checks = await ACTUATOR.check(RESTORE, one_ssh_host.context(RESTORE))
    found = next(check for check in checks if check.subject == "Configuration backup cfg")
    assert found.verdict is Verdict.WARN
    assert "no regular files, so not restored: sub/link.conf" in found.words
    assert fails(checks) == ""


def test_a_secret_block_stays_hidden_where_the_diff_cuts_its_name_off() -> None:
    """The whole text is redacted, not its difference: far below the name a line of the block is a secret still."""
    lines = [f"  secret line {number}" for number in range(20)]
    before = "\n".join(["a: 1", "api_token: |", *lines, "b: 2", ""])
    after = before.replace("secret line 19", "other line 19").replace("b: 2", "b: 3")
    found = difference("x.yml", now=before.encode(), backup=after.encode())
    assert found is not None
    assert found.text.splitlines()[2:] == [
        "@@ -1,23 +1,23 @@",
        " a: 1",
        *("-api_token: ***", "-  ***", "-b: 2"),
        *("+api_token: ***", "+  ***", "+b: 3"),
    ]
    assert (found.added, found.removed) == (22, 22)


@pytest.mark.parametrize(
    ("now", "backup", "text"),
    [
        (b"a\r\nb\r\n", b"a\nb\n", "x differs in its line ends only."),
        (b"a\0b", b"ab", "x is no text: "),
        (b"\n" * 5_001, b"ab", "x is too long to be compared line by line: 5,001 bytes "),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            b"-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n",
            "-[private key ***]\n+[private key ***]",
        ),
        (b"url = https://u:hunter2@h/\n", b"url = https://u:hunter3@h/\n", "-url = https://u:***@h/\n+url = "),
        (b"a = 1\nb\n", b"", "@@ -1,2 +0,0 @@\n-a = 1\n-b"),
        (b"a\n", b"b\n", "@@ -1 +1 @@\n-a\n+b"),
    ],
)
def test_a_difference_in_its_forms(now: bytes, backup: bytes, text: str) -> None:
    """Contents that cannot be shown line by line are told in a sentence, secrets in none."""
    found = difference("x", now=now, backup=backup)
    assert found is not None
    assert text in found.text
    assert not any(secret in found.text for secret in ("hunter", "AAAA", "BBBB"))


def test_a_long_difference_is_bounded() -> None:
    """Of one file 200 lines are shown, all are counted, and the same content is no difference."""
    found = difference("x", now=None, backup=b"".join(b"line %d\n" % number for number in range(1_000)))
    assert found is not None
    assert found.text.endswith("line 199\n... and 800 more lines of this file") or found.text.endswith(
        "line 198\n... and 801 more lines of this file"
    )
    assert (found.added, found.removed) == (1_000, 0)
    assert difference("x", now=b"a", backup=b"a") is None
