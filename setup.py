"""List the packages; configs/ is installed as mgc/configs."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        # Templates of mgc new-plugin are package data.
        *find_namespace_packages(include=["mgc", "mgc.*"], exclude=["mgc.plugin_template*"]),
        "mgc.configs",
    ],
    package_dir={"mgc.configs": "configs"},
)
