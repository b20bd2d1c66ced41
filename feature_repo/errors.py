"""The one kind of error that people see as a sentence; anything else is a bug and shows its trace."""


class LookbookError(Exception):
    """Something the user can mend; the text names the file, row or field and what to do."""


class InputError(LookbookError, ValueError):
    """What was handed in cannot be used."""
