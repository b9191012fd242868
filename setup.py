"""Lists the packages: the configurations lie beside mgc and are installed inside it."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        # The packages that mgc new-plugin writes are data.
        *find_namespace_packages(include=["mgc", "mgc.*"], exclude=["mgc.plugin_template*"]),
        "mgc.configs",
    ],
    package_dir={"mgc.configs": "configs"},
)
