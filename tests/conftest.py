"""Every annotation of the package is checked while the tests run: shapes and dtypes of tensors, and all other types."""

from jaxtyping import install_import_hook

install_import_hook("mechscope", "shape_checks.checked")
