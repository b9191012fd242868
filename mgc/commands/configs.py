"""``mgc configs``: list or print shipped configurations."""

import mgc
from mgc.configurations import choose_configuration, find_shipped
from mgc.core.terminal import print_table, print_text


def configs(name: str = "", /) -> None:
    """List the configurations shipped with mgc and its plugins, or print one of them.

    Every command that takes a configuration accepts these names. To change a configuration, save it
    to a file and pass the path of the file.

    Example: mgc configs

    Example: mgc configs vgg_gtzan > my_vgg.yaml

    Args:
        name: Configuration to print; by default all are listed.

    Raises:
        MgcError: If no shipped configuration has this name.
    """
    shipped = find_shipped()
    if name:
        print_text(choose_configuration(name, shipped).path.read_text(encoding="utf-8"), end="")
        return
    rows = [("NAME", "CONTENT")]
    for key, configurations in shipped.items():
        for configuration in configurations:
            plugin = not configuration.package.startswith(f"{mgc.DISTRIBUTION} ")
            owner = f" ({configuration.package})" if plugin else ""
            rows.append((key, f"{configuration.summary}{owner}"))
    print_table(rows)
