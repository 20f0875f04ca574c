"""What the agent cannot be started with."""


class OptionError(Exception):
    """A word of the command line that cannot be meant; names the option and what was expected."""
