"""``mgc list``: models and data sets."""

from mgc import registry
from mgc.core.terminal import print_table
from mgc.errors import MgcError
from mgc.installation import location
from mgc.libraries import diagnose


def list_components(verbose: bool = False, check: bool = False) -> None:
    """List the registered models and data sets and the packages they come from.

    Nothing is imported, so a broken package is listed like any other unless --check is given.

    Example: mgc list --verbose

    Args:
        verbose: Tell also of each package what it is, where it is installed and which versions of
            mgc it is made for.
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
                    notes.append(" ".join(str(diagnose(error) or error).split()))
    print_table(rows)
    if verbose:
        print()
        print_table(_packages())
    for note in dict.fromkeys(notes):  # models share libraries
        print(f"broken: {note}")
    if check and not notes:
        print("All of them can be imported.")


def _packages() -> list[tuple[str, ...]]:
    """What is known of each package."""
    rows: list[tuple[str, ...]] = [("PACKAGE", "FOR MGC", "FITS", "WHERE", "WHAT")]
    for name, dist in registry.packages().items():
        needed = registry.mgc_versions(dist)
        fits = "yes" if registry.fits(needed) else "no"
        summary = dist.metadata["Summary"] or ""
        rows.append((name, needed or "any", fits, location(dist), summary))
    return rows
