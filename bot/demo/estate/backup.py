"""The pre-deployment backup: database, artifact, configuration and a manifest that describes them."""

import asyncio
import hashlib
import shutil
import tarfile
from datetime import datetime
from pathlib import Path

from psycopg import IsolationLevel

from bot.demo.estate import commands, database
from bot.demo.estate.facts import BackedUpFile, Backup, EstateError, Facts, Layout, replace_file


async def take(facts: Facts, *, now: datetime) -> Backup:
    """Back up what a rollback needs to come back to this moment, while the service goes on working.

    Args:
        facts: the estate.
        now: aware; its UTC minute and second name the files (`payments-db-20240115-143005.dump`).

    Raises:
        EstateError: pg_dump failed, or a backup of this second exists; nothing is overwritten.
    """
    layout = Layout(root=facts.root)
    stamp = f"{now:%Y%m%d-%H%M%S}"
    manifest = layout.pre_deploy / f"payments-{stamp}.json"
    if manifest.exists():
        raise EstateError(
            f"The backup {manifest} exists already.",
            untouched="It was left as it is.",
            resolution="Try again in a second.",
        )
    release = layout.link.resolve()
    dump = layout.pre_deploy / f"payments-db-{stamp}.dump"
    schema, counts = await _dump(facts, dump)
    artifact = layout.artifacts / f"payments-{release.name}.tar.gz"
    config = layout.config_backups / stamp / layout.config.name
    await asyncio.to_thread(_pack, release, artifact)
    await asyncio.to_thread(_copy, layout.config, config)
    backup = Backup(
        taken_at=now,
        version=release.name,
        schema_version=schema,
        row_counts=counts,
        database=await asyncio.to_thread(_describe, dump),
        artifact=await asyncio.to_thread(_describe, artifact),
        config=await asyncio.to_thread(_describe, config),
        manifest=manifest,
    )
    replace_file(manifest, backup.model_dump_json(indent=2) + "\n")
    return backup


async def _dump(facts: Facts, dump: Path) -> tuple[str, dict[str, int]]:
    """Dump the database, and count its rows in the very snapshot that is dumped: traffic goes on meanwhile."""
    layout = Layout(root=facts.root)
    await asyncio.to_thread(dump.parent.mkdir, parents=True, exist_ok=True)
    async with database.connect(facts, role=facts.operator_role) as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        cursor = await connection.execute("SELECT pg_export_snapshot()")
        row = await cursor.fetchone()
        snapshot = str(row[0]) if row else ""
        await commands.run(
            [
                facts.bin_dir / "pg_dump",
                *("--host", facts.db_host, "--port", str(facts.db_port)),
                *("--username", facts.operator_role, "--dbname", facts.db_name, "--no-password"),
                *("--format=custom", "--snapshot", snapshot, "--file", dump),
            ],
            env={"PGPASSWORD": layout.operator_password.read_text(encoding="utf-8")},
            untouched="The service goes on unchanged; there is no backup.",
        )
        return await database.read_schema_version(connection), await database.read_row_counts(connection)


def _pack(release: Path, artifact: Path) -> None:
    artifact.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(artifact, "w:gz") as archive:
        archive.add(release, arcname=release.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _describe(path: Path) -> BackedUpFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BackedUpFile(path=path, sha256=digest, size=path.stat().st_size)
