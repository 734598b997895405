"""The commands ``evidence …``: list, show, verify, diff, head, add, prune, push."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from runbook.evidence.archive import ARCHIVE_FILE, archive_folder, find_run, read_archive_id
from runbook.model import RunFailed, UsageError
from runbook.model.layout import is_baseline_id, is_entry_id
from runbook.model.units import counted


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``evidence``."""
    commands = parser.add_subparsers(dest="evidence", required=True, metavar="WHAT")

    listing = commands.add_parser("list", help="the runs, newest first")
    listing.add_argument("--target", default="", metavar="T")
    listing.add_argument("--notebook", default="", metavar="NAME")
    listing.add_argument("--incident", default="", metavar="I")
    statuses = ["", "OK", "WARNING", "CRITICAL", "UNKNOWN", "FAILED"]
    told = "OK, WARNING, CRITICAL, UNKNOWN or FAILED"
    listing.add_argument("--status", default="", type=str.upper, choices=statuses, metavar="S", help=told)
    listing.add_argument("-n", dest="most", type=int, default=30, metavar="N", help="at most so many (30; 0 for all)")

    show = commands.add_parser("show", help="one run: its facts, its findings, its seal")
    show.add_argument("run", metavar="RUN", help="a run's id, or the end of it")

    verify = commands.add_parser("verify", help="whether an archive, or one run, is what was sealed")
    verify.add_argument("what", nargs="?", default="", metavar="PATH|RUN", help="another archive's folder, or a run")
    verify.add_argument("--key", action="append", default=[], metavar="FILE", help="a public key to trust (PEM)")
    verify.add_argument("--head", action="append", default=[], metavar="LINE", help="a head that was published")

    diff = commands.add_parser("diff", help="what changed from one run to another, or in the course of an incident")
    diff.add_argument("before", metavar="RUN|INCIDENT")
    diff.add_argument("after", nargs="?", default="", metavar="RUN")

    commands.add_parser("head", help="one line for each chain, to be published in a ticket or a tag")
    commands.add_parser("index", help="make the page of all runs anew, and say where it is")
    commands.add_parser("key", help="the public key that others need to verify what was sealed here")

    add = commands.add_parser("add", help="archive a notebook that was run by hand, told as interactive")
    add.add_argument("file", metavar="FILE.ipynb")
    add.add_argument("--target", default="", metavar="T", help="whose secrets are scrubbed (else as the notebook says)")
    told = 'the incident that it belongs to: its id, or "open" (else as the notebook says)'
    add.add_argument("--incident", default="", metavar="I", help=told)
    add.add_argument("--after-close", action="store_true", help="also where that incident is closed already")

    prune = commands.add_parser("prune", help="remove the files of old runs; their seals stay")
    prune.add_argument("--older-than", type=int, required=True, metavar="DAYS")
    prune.add_argument("--confirm", default="", metavar="TOKEN", help="what the plan showed")

    push = commands.add_parser("push", help="copy the archive to an object store, verified by digest")
    push.add_argument("place", metavar="URL", help="s3://BUCKET/FOLDER, or what else fsspec knows")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command and return its exit status."""
    from runbook.cli import archive

    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "verify": _verify,
        "head": _head,
        "key": _key,
        "index": _index,
        "list": archive.show_list,
        "show": archive.show_run,
        "diff": archive.show_difference,
        "add": archive.add,
        "prune": archive.prune,
        "push": archive.push,
    }
    return commands[arguments.evidence](arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from runbook.evidence.index import check_index
    from runbook.evidence.keys import trusted_keys
    from runbook.evidence.verify import verify_archive, verify_run

    keys = trusted_keys(arguments.key)
    named = Path(arguments.what) if arguments.what else None
    archive = named if named is not None and named.is_dir() else archive_folder()
    if not archive.is_dir():
        raise UsageError(
            f"there is no archive {archive}: nothing was run yet, or RUNBOOK_EVIDENCE names another folder"
        )
    if arguments.what and archive != named:
        place = find_run(archive, arguments.what)
        facts = verify_run(place, archive, keys)
        if facts is None:
            raise RunFailed(f"{place.run_id} was interrupted before it was sealed: what it holds proves nothing")
        _say(
            f"{place.run_id} is what was sealed at {facts.ended} by {facts.operator} on {facts.host}; "
            "whether runs are missing around it, only the whole archive tells"
        )
        return 0
    verified = verify_archive(archive, keys, arguments.head)
    check_index(archive)
    for run_id in verified.interrupted:
        _say(f"interrupted: {run_id} was ended before it was sealed; what it holds proves nothing")
    chains = verified.heads()
    ended = len(verified.interrupted)
    noted = sum(map(is_entry_id, verified.runs))
    baselines = sum(map(is_baseline_id, verified.runs))
    count = len(verified.runs) - noted - baselines
    told = [f"{counted(count, 'run is', 'runs are')} what was sealed, in {counted(len(chains), 'unbroken chain')}"]
    told += [f"so {counted(noted, 'entry of an incident is', 'entries of incidents are')}"] if noted else []
    told += [f"so {counted(baselines, 'baseline is', 'baselines are')}"] if baselines else []
    told += [f"{counted(ended, 'was', 'were')} interrupted"] if ended else []
    told += [f"of {len(verified.pruned)} only the seal is left, as was decided"] if verified.pruned else []
    _say("; ".join(told))
    if verified.runs and not arguments.head:
        _say("That no run was cut off the end is certain only against a head that was published: --head LINE")
    return 0


def _head(_: argparse.Namespace) -> int:
    from runbook.evidence.chain import head_line, heads

    archive = archive_folder()
    found = heads(archive)
    if not found:
        raise UsageError(f"the archive {archive} holds no sealed run yet")
    own = read_archive_id(archive / ARCHIVE_FILE)
    for writer, head in found.items():
        _say(head_line(own, writer, head))
    return 0


def _index(_: argparse.Namespace) -> int:
    from runbook.evidence.index import rebuild_index

    archive = archive_folder()
    if not archive.is_dir():
        raise UsageError(f"there is no archive {archive}: nothing was run yet")
    _say(str(rebuild_index(archive)))
    return 0


def _key(_: argparse.Namespace) -> int:
    from runbook.evidence.keys import public_text, signer

    _say(public_text(signer().public_key).rstrip())
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
