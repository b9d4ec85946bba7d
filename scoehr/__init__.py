"""Synthetic patients by latent continuous-time diffusion: the study re-run, corrected and improved
on.
"""

from scoehr.files import InputError

__version__ = "0.1.0"
__all__ = ["InputError", "__version__"]
