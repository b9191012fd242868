"""``mgc list``: list models, data sets and packages."""

from mgc import registry
from mgc.core.terminal import print_line, print_table
from mgc.errors import MgcError
from mgc.installation import broken_packages, location
from mgc.libraries import diagnose


def list_components(verbose: bool = False, check: bool = False) -> None:
    """List the registered models and data sets with their packages.

    Nothing is imported, so broken packages are listed too. To find them, use --check.

    Example: mgc list --verbose

    Args:
        verbose: Also list the packages, with required version of mgc, folder and summary.
        check: Import all models and data sets (takes several seconds), and list the broken ones.
    """
    rows = [("KIND", "NAME", "PACKAGE", "CLASS")]
    notes = []
    for kind in registry.GROUPS:
        for name, claims in registry.find(kind).items():
            rows += [(kind, name, registry.owner(claim), claim.value) for claim in claims]
            if len(claims) > 1:
                notes.append(f"{len(claims)} packages register the {kind} '{name}'.")
            elif check:
                try:
                    registry.load(kind, name)
                except MgcError as error:
                    notes.append(" ".join(str(diagnose(error) or error).split()))
    notes += broken_packages()
    print_table(rows)
    if verbose:
        print_line()
        print_table(_packages())
    for note in dict.fromkeys(notes):  # several models may fail for the same reason
        print_line(f"broken: {note}")
    if check and not notes:
        print_line("All models and data sets can be imported.")


def _packages() -> list[tuple[str, ...]]:
    """Return a table of the packages."""
    rows: list[tuple[str, ...]] = [("PACKAGE", "REQUIRES MGC", "COMPATIBLE", "FOLDER", "SUMMARY")]
    for name, dist in registry.packages().items():
        required = registry.mgc_versions(dist)
        compatible = "yes" if registry.fits(required) else "no"
        summary = str(dist.metadata.json.get("summary", ""))
        rows.append((name, required or "any", compatible, location(dist), summary))
    return rows
