"""Packages of extras that are not installed."""


class MissingPackageError(ImportError):
    """A package of an extra is not installed; the message tells how to install it."""


def missing_package(package: str, extra: str) -> MissingPackageError:
    """The error to raise where `package` could not be imported."""
    return MissingPackageError(f"this needs the package `{package}`: pip install 'sphere-ebm[{extra}]'", name=package)
