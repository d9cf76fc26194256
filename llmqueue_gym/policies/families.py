"""Where the policies of a kind are: in files of families, whose builders are named as the policies are."""


def places(package: str, **families: str) -> dict[str, str]:
    """Return the place of each builder by the name of its policy, as `Registry` takes them.

    Args:
        package: that the files are in.
        families: names of the policies in each file, with spaces between them.
    """
    return {
        name: f"{package}.{file}:{name.replace('-', '_')}" for file, names in families.items() for name in names.split()
    }
