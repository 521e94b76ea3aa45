"""Optional libraries: imported where they are used, with an error that says how to get them. Floor 0."""

import importlib


class MissingLibrary(ModuleNotFoundError):
    """A library that an extra of this package installs is not there; the message says how to get it."""


def optional(module, *, extra="app"):
    """Import and return `module` (a dotted name), which the extra `extra` of this package installs.

    Raises:
        MissingLibrary: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library is there, and lacks something of its own
        distribution = {"sklearn": "scikit-learn", "PIL": "pillow"}.get(library, library)
        message = f'{distribution} is not installed; do: pip install "tinygen[{extra}]"'
        raise MissingLibrary(message, name=library) from error
