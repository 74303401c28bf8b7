"""How results are made and kept: files, the store, training, jobs, assets; and the errors that a user can cause and
repair, each one sentence that names the thing and the repair. Nothing here knows what a CGN is."""


class ReproError(Exception):
    """Shown without a traceback by the command line; the exit code is 2."""

    def __str__(self) -> str:
        """Without what torch puts before the sentence of a process that reads images: that one's traceback."""
        return super().__str__().rsplit(f".{type(self).__name__}: ", 1)[-1].rstrip()


class ParameterError(ReproError):
    """A profile or a notebook parameter that the schema refuses."""


class AssetError(ReproError):
    """A file that is missing, corrupt or not what its name says."""


class StoreError(ReproError):
    """A file or folder that cannot be written."""
