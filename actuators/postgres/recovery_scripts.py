"""What is run on the machine of a recovered server, as short shell scripts that take everything as arguments."""

from __future__ import annotations

# A process is the server's if its folder is ours: the number in an old postmaster.pid may be anybody's by now.
_ALIVE = """
run=$1
alive() {
  pid=$(head -n 1 "$run/data/postmaster.pid" 2>/dev/null) && [ -n "$pid" ] &&
    [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$run/data")" ]
}
"""

# The copy is worth nothing after a restart of the machine: it is written without fsync.
TAKE = (
    _ALIVE
    + r"""
mark=$2 attempt=$3
umask 077
[ -e "$run" ] || [ -L "$run" ] || mkdir "$run" || exit 1
if [ -L "$run" ] || [ ! -O "$run" ]; then echo "$run is not the bot's" >&2; exit 67; fi
if [ -s "$run/mark" ]; then
  [ "$(cat "$run/mark")" = "$mark" ] || { echo "$run belongs to: $(cat "$run/mark")" >&2; exit 67; }
elif [ -n "$(ls -A "$run" | grep -vx mark)" ]; then echo "$run is not the bot's: it bears no mark" >&2; exit 67
else printf %s "$mark" >"$run/mark"; fi
printf %s "$attempt" >"$run/attempt"
rm -rf "$run"/copy.* "$run"/dump.* "$run/pass"
boot=$(cat /proc/sys/kernel/random/boot_id)
[ "$(cat "$run/boot" 2>/dev/null)" = "$boot" ] || { alive || rm -rf "$run/data"; printf %s "$boot" >"$run/boot"; }
[ -d "$run/data" ] && echo copied
exit 0
"""
)
"""Makes the run's folder or takes it over: folder, mark, attempt. Exits 67 if it is somebody else's."""

VERIFY = r"""
copy=$1 program=$2 digest=$3
chmod 700 "$copy"
if [ "$(sha256sum <"$copy/backup_manifest" | cut -d' ' -f1)" != "$digest" ]; then
  echo "backup_manifest is another one by now" >&2; exit 1
fi
if [ -n "$(find "$copy" -type l | head -n 1)" ]; then echo "it holds symbolic links" >&2; exit 1; fi
exec "$program" -n -q "$copy"
"""
"""Compares a copy with its manifest, and the manifest with its digest: copy, pg_verifybackup, digest."""

CONFIGURE = r"""
copy=$1 data=$2
umask 077
cd "$copy" || exit 1
rm -f standby.signal postmaster.pid
cat >postgresql.conf && : >postgresql.auto.conf && printf 'local all all trust\n' >pg_hba.conf &&
  : >pg_ident.conf && : >recovery.signal && mv "$copy" "$data"
"""
"""Writes a copy's configuration anew from its input and puts it in place: copy, data folder."""

START = (
    _ALIVE
    + r"""
alive && exit 0
rm -f "$run/data/postmaster.pid"
"$2" -s -W -D "$run/data" -l "$run/log" start || exit 1
tenth=0
while [ "$tenth" -lt 120 ]; do
  alive && exit 0
  grep -q ' FATAL: ' "$run/log" && exit 0
  tenth=$((tenth + 1))
  sleep 0.1
done
"""
)
"""Starts the server unless it runs, and returns when it can be seen, or has said why not: folder, pg_ctl."""

LOOK = (
    _ALIVE  # noqa: S608 - a shell script with a fixed statement
    + r"""
say() { printf '%s=%s\n' "$1" "$2"; }
alive && say alive yes
say seen "$("$2" -h "$run" -p 5432 -U "$3" -d template1 -XAtq -F '|' -c "SELECT
  CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() ELSE 'recovered' END,
  coalesce(extract(epoch FROM pg_last_xact_replay_timestamp()), 0)::int8, pg_last_wal_replay_lsn()" 2>/dev/null)"
say stopping "$(grep -o 'recovery stopping.*' "$run/log" | tail -n 1)"
say segment "$(grep -o 'restored log file "[0-9A-F]*"' "$run/log" | tail -n 1 | cut -d'"' -f2)"
say weak "$(grep -A 1 'insufficient parameter settings' "$run/log" | sed -n 's/.*DETAIL: *//p' | tail -n 1)"
say fatal "$(grep -E ' (FATAL|PANIC): ' "$run/log" | grep -vE 'the database system is|terminating ' |
  sed 's/.*\(FATAL\|PANIC\): *//' | tail -n 1)"
"""
)
"""Tells how far the server is: folder, psql, role."""

REMOVE = (
    _ALIVE
    + r"""
program=$2 whose=$3 attempt=$4
[ -e "$run" ] || exit 0
if [ -L "$run" ] || [ ! -O "$run" ]; then echo "$run is not the bot's" >&2; exit 67; fi
case $(cat "$run/mark" 2>/dev/null) in
  "$whose "*) ;;
  *) [ -z "$(ls -A "$run" | grep -vx mark)" ] || { echo "$run is not of this rollback" >&2; exit 67; } ;;
esac
[ -z "$attempt" ] || [ "$(cat "$run/attempt")" = "$attempt" ] || exit 0
if alive; then "$program" -s -D "$run/data" -m immediate -t 30 stop >&2; fi
if alive; then echo "the recovered server does not stop" >&2; exit 1; fi
rm -rf "$run" 2>/dev/null || { sleep 1; rm -rf "$run"; }
"""
)
"""Stops the server and removes the folder: folder, pg_ctl, run, attempt. Exits 67 if it is somebody else's."""
