"""`fairfront push`: an exported folder on a model hub; nothing is sent unless asked."""

import argparse

from orchestrator.cli.runs import DONE


def push(arguments: argparse.Namespace) -> int:
    """Say what would be sent to a model hub, or send it."""
    from orchestrator.deploy.push import pack, send

    parcel = pack(arguments.folder, arguments.to)
    for file in parcel.files:
        print(f"{file.stat().st_size:>12,} bytes  {file.relative_to(parcel.folder)}")
    whole = f"{len(parcel.files)} files, {parcel.bytes:,} bytes, of trial {parcel.trial_id}"
    if not arguments.send:
        print(f"{whole}: nothing was sent; --send sends them to {arguments.to}")
        return DONE
    print(f"{whole}: {send(parcel, private=arguments.private)}")
    return DONE
