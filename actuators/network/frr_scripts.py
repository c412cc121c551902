"""What runs on the machine of an FRR router: POSIX shell, and the programs that come with FRR.

A change is a folder ``NAME.change`` within the machine's folder. It is made and kept by one process on the router,
the keeper, which leads a session of its own, so that neither the bot's death nor a cut connection ends it. It holds
the lock of the folder while it lives, and the lock names the change:

``applying`` -> ``waiting`` -> ``confirmed``, or -> ``reverting`` -> ``reverted`` or ``stuck``;
``refused`` and ``moved`` before anything was changed.

Time is that of ``/proc/uptime``: a clock that is set meanwhile changes nothing. After a restart of the machine no
keeper is there, and FRR has read its startup configuration, the one from before the change.
"""

from __future__ import annotations

import shlex

from bot.domain.inventory import FrrMachine

VTYSH = "/usr/bin/vtysh"
RELOAD = "/usr/lib/frr/frr-reload.py"
_PASS = 60
"""Seconds that one pass of FRR's own program may take; after that the keeper goes back."""
_TRIES = 10


def vtysh(machine: FrrMachine) -> list[str]:
    """Return FRR's command line, to be followed by its arguments."""
    return [*_run_as(machine), VTYSH, *(["-N", machine.pathspace] if machine.pathspace else [])]


def reloading(machine: FrrMachine) -> list[str]:
    """Return FRR's program that compares and applies whole configurations, to be followed by what to do."""
    pathspace = ["--pathspace", machine.pathspace] if machine.pathspace else []
    return [*_run_as(machine), RELOAD, *pathspace, "--stdout", "--log-level", "error"]


def startup(machine: FrrMachine) -> str:
    """Return the file that a restart loads."""
    return f"/etc/frr/{machine.pathspace}/frr.conf" if machine.pathspace else "/etc/frr/frr.conf"


def _run_as(machine: FrrMachine) -> list[str]:
    return ["sudo", "-n", "-u", machine.run_as, "--"] if machine.run_as else []


def begin(machine: FrrMachine) -> str:
    """Return the script that starts a keeper. Arguments: folder, name, file, SHA-256, difference's, seconds."""
    keeper = (
        f"frr_show() {{ {shlex.join(vtysh(machine))} -c 'show running-config no-header'; }}\n"
        f'frr_reload() {{ timeout -k 5 {_PASS} {shlex.join(reloading(machine))} "$@"; }}\n'
        f"tries={_TRIES} space={shlex.quote(machine.pathspace or '.')}\n{_KEEPER}"
    )
    # The keeper's name is that of the change: `ps` on the router shows whose it is.
    return f'setsid sh -c {shlex.quote(keeper)} "rollback-$2" "$@" </dev/null >/dev/null 2>&1 &\n'


# FRR's program saves what it has applied, unless the file is the very one that a restart loads. So that a restart
# goes back too, each file lies in a folder that is given as that of the startup configuration.
_KEEPER = r"""
folder=$1 name=$2 file=$3 sha=$4 difference=$5 seconds=$6
umask 027
cd -- "$folder" || exit 1
say() { printf '%s\n' "$*" >state.new && mv -f state.new state; }
end() { say "$@"; exit 0; }
last() { tail -n 1 log | cut -c 1-300; }
up() { read -r now rest </proc/uptime && echo "${now%%.*}"; }
sum() { sha256sum | cut -c 1-64; }
put() { frr_reload --reload --confdir "$PWD/$1" "$PWD/$1/frr.conf" >>log 2>&1 9>&-; }
back() { frr_reload --test previous/frr.conf >left 2>>log && [ ! -s left ]; }
exec 9>>lock
if ! flock -w 5 9; then
  mkdir -- "$name.change" && cd -- "$name.change" && end refused another change is being made
  exit 1
fi
printf '%s\n' "$name" >lock
for old in *.change; do [ -d "$old" ] && rm -rf -- "$old"; done
mkdir -- "$name.change" && cd -- "$name.change" && mkdir -p "wanted/$space" "previous/$space" || exit 1
: >log
: >"wanted/$space/vtysh.conf"
: >"previous/$space/vtysh.conf"
cat -- "$file" >wanted/frr.conf 2>>log || end refused "$(last)"
[ "$(sum <wanted/frr.conf)" = "$sha" ] || end refused "$file is another one than the plan's"
frr_show >previous/frr.conf 2>>log || end refused "what is in force cannot be read: $(last)"
[ -s previous/frr.conf ] || end refused "what is in force cannot be read"
back || end refused "the way back is not sure: what is in force would not be taken again: $(last)"
frr_reload --test wanted/frr.conf >change 2>>log || end refused "$(last)"
[ "$(sum <change)" = "$difference" ] || end moved
deadline=$(( $(up) + seconds ))
echo "$deadline" >deadline
say applying
if put wanted; then
  say waiting
  while [ ! -e confirm ] && [ ! -e back ] && [ "$(up)" -lt "$deadline" ]; do sleep 0.5 9>&-; done
  [ -e confirm ] && end confirmed
  if [ -e back ]; then why='FRR did not take all of it'; else why='it was not confirmed in time'; fi
else
  why="FRR did not take it: $(last)"
fi
say "reverting $why"
while [ "$tries" -gt 0 ]; do
  tries=$(( tries - 1 ))
  put previous
  back && end "reverted $why"
  sleep 2 9>&-
done
end "stuck $why"
"""

STATE = r"""
cd -- "$1" || exit 1
[ -e lock ] || { echo none; exit 0; }
name=$(cat lock) || exit 1
if flock -n -s lock true; then held=free; else held=held; fi
read -r state why 2>/dev/null <"$name.change/state" || state=none
read -r now rest </proc/uptime
read -r deadline 2>/dev/null <"$name.change/deadline" || deadline=0
left=$(( deadline - ${now%%.*} ))
[ "$left" -gt 0 ] || left=0
echo "$held $left $state $why"
"""
"""Prints ``none``; or ``held`` or ``free``, the seconds left, the latest change's state. Argument: folder."""

WAIT = r"""
cd -- "$1" || exit 1
n=0
while [ "$n" -lt "$3" ]; do
  read -r state why 2>/dev/null <"$2.change/state" || state=none
  case $state in none | applying | reverting) ;; *) break ;; esac
  n=$(( n + 1 ))
  sleep 0.1
done
echo "$state $why"
cat -- "$2.change/log" 2>/dev/null
exit 0
"""
"""Waits until a change has come to rest. Arguments: folder, name, tenths of a second at most."""

CONFIRM = r"""
cd -- "$1" || exit 1
name=$(cat lock) || exit 1
if flock -n -s lock true; then echo 'none waits'; exit 1; fi
read -r state why 2>/dev/null <"$name.change/state" || state=none
case $state in waiting | confirmed) ;; *) echo "$state $why"; exit 1 ;; esac
: >"$name.change/confirm" || exit 1
n=0
while [ "$n" -lt 50 ]; do
  read -r state why 2>/dev/null <"$name.change/state" || state=none
  [ "$state" = confirmed ] && exec flock -w 5 -s lock true
  case $state in reverting | reverted | stuck) echo "$state $why"; exit 1 ;; esac
  n=$(( n + 1 ))
  sleep 0.1
done
# What is told to go back must not be confirmed later after all.
rm -f -- "$name.change/confirm"
echo "nobody answered: $state"
exit 1
"""
"""Confirms the change that waits, and returns when its keeper has said so. Argument: folder."""

BACK = r"""
cd -- "$1" && : >"$2.change/back"
"""
"""Lets a change go back at once. Arguments: folder, name."""

READY = r"""
for program in flock setsid timeout sha256sum; do
  command -v "$program" >/dev/null || { echo "$program is not installed"; exit 1; }
done
[ -d "$1" ] || { echo "there is no folder $1"; exit 1; }
[ -w "$1" ] && [ -x "$1" ] || { echo "the folder $1 cannot be written"; exit 1; }
case $(stat -c %a -- "$1") in *0) ;; *) echo "the folder $1 can be read by everybody"; exit 1 ;; esac
"""
"""Looks whether a change can be kept there. Argument: folder."""

HISTORY = r"""
cd -- "$1" || exit 1
for change in *.change; do
  [ -d "$change" ] || continue
  printf '%s: ' "$change"
  cat -- "$change/state" 2>/dev/null || echo
  tail -n 20 -- "$change/log" 2>/dev/null
done
exit 0
"""
"""Prints the latest change that was kept, with FRR's words. Argument: folder."""
