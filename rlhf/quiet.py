"""The terminal is for what a command has to say, not for what libraries print beside it."""

import sys
import warnings

from transformers.utils import logging


def quiet() -> None:
    """No warnings, and none of transformers' messages and bars (of weights that a classifier's head begins
    without, say); errors stay, and bars of downloads, for which people wait. Python's own `-W` and
    PYTHONWARNINGS have it otherwise."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
