"""``mgc list``: models and data sets."""

from mgc import registry
from mgc.errors import MgcError


def list_components(check: bool = False) -> None:
    """List the registered models and data sets and the packages they come from.

    Nothing is imported, so a broken package is listed like any other unless --check is given.

    Example: mgc list --check

    Args:
        check: Import everything, which takes seconds, and tell what is broken and why.
    """
    rows = [("KIND", "NAME", "PACKAGE", "CLASS")]
    notes = []
    for kind in registry.GROUPS:
        for name, claims in registry.find(kind).items():
            rows += [(kind, name, registry.owner(claim), claim.value) for claim in claims]
            if len(claims) > 1:
                notes.append(f"The {kind} '{name}' is claimed {len(claims)} times.")
            elif check:
                try:
                    registry.load(kind, name)
                except MgcError as error:
                    notes.append(str(error))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    for note in notes:
        print(f"broken: {note}")
    if check and not notes:
        print("All of them can be imported.")
