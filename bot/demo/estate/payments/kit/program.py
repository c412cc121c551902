"""The payments program: arguments, `--validate-config`, start-up, graceful stop."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .ledger import Ledger, Pool, Release
from .settings import Settings, SettingsError, Shape, load

log = logging.getLogger("payments")


def main(
    argv: Sequence[str],
    *,
    release: Release,
    shape: Shape,
    make_ledger: Callable[[Settings], Ledger],
) -> int:
    """Run the program.

    Returns:
        The exit code: 0 served until SIGTERM or the file is valid, 1 the configuration is invalid or the
        database's schema is not this release's, 2 wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="payments", description=f"payments {release.version}")
    parser.add_argument("--config", type=Path, default=os.environ.get("PAYMENTS_CONFIG"))
    parser.add_argument("--validate-config", type=Path, metavar="FILE")
    parser.add_argument("--version", action="version", version=f"payments {release.version} ({release.build})")
    args = parser.parse_args(argv)
    path: Path | None = args.validate_config or args.config
    if path is None:
        parser.error("name the configuration file by --config or PAYMENTS_CONFIG")
    try:
        settings = load(Path(path), shape=shape)
    except SettingsError as error:
        print(f"payments {release.version}: {path} is not valid:", file=sys.stderr)  # noqa: T201 - a program's answer
        for problem in str(error).splitlines():
            print(f"  {problem}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    if args.validate_config:
        print(f"payments {release.version}: {path} is valid ({settings.count} options)")  # noqa: T201 - as above
        return 0
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # The pool warns at every failed attempt; the health page and the requests already say it.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    return asyncio.run(_serve(settings, release=release, ledger=make_ledger(settings)))


async def _serve(settings: Settings, *, release: Release, ledger: Ledger) -> int:
    # Imported here, so that --validate-config answers without the web server's 0.2 s of imports.
    from aiohttp import web  # noqa: PLC0415 - see above

    from .ledger import make_pool  # noqa: PLC0415 - see above
    from .web import Api  # noqa: PLC0415 - see above

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pool = make_pool(settings, application_name=f"payments {release.version}")
    async with pool:
        if not await _schema_fits(pool, release=release):
            return 1
        app = Api(release=release, ledger=ledger, pool=pool).application()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        host, port = settings.text("server", "host"), settings.number("server", "port")
        try:
            await web.TCPSite(runner, host, port).start()
            log.info("payments %s (%s) listens on %s:%s", release.version, release.build, host, port)
            tell_ready(release.version)
            await stopping.wait()
            log.info("stopping: finishing the requests that run")
        except OSError as error:
            log.error("cannot listen on %s:%s: %s", host, port, error)  # noqa: TRY400 - the words are enough
            return 1
        finally:
            await runner.cleanup()
    log.info("stopped")
    return 0


async def _schema_fits(pool: Pool, *, release: Release) -> bool:
    """Refuse a schema of another version; a database that is away is waited for while serving."""
    import psycopg  # noqa: PLC0415 - see _serve
    from psycopg_pool import PoolTimeout  # noqa: PLC0415 - see _serve

    from .ledger import schema_version  # noqa: PLC0415 - see _serve

    try:
        found = await schema_version(pool)
    except (PoolTimeout, psycopg.Error) as error:
        log.warning("the database does not answer yet, health will say unhealthy: %s", error)
        return True
    if found == release.schema:
        return True
    log.error(
        "the database's schema is %s, payments %s needs %s: not started",
        found,
        release.version,
        release.schema,
    )
    return False


def tell_ready(words: str) -> None:
    """Tell the service manager, when there is one, that the port is open (its pipe's number is in READY_FD)."""
    number = os.environ.pop("READY_FD", "")
    if number:
        with contextlib.suppress(OSError):  # the manager may have been killed meanwhile; we serve all the same
            os.write(int(number), f"READY {words}\n".encode())
            os.close(int(number))
