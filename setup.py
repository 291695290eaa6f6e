"""Builds the extensions, hotset._engine, hotset._lab and hotset._wire; everything else is in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

if sys.platform == "win32":
    compile_args, link_args = ["/O2"], []
elif os.environ.get("HOTSET_SANITIZE") == "1":
    # -fno-wrapv undoes a flag of CPython's own build that would hide signed overflow.
    compile_args, link_args = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", *SANITIZERS], SANITIZERS
else:
    compile_args, link_args = ["-O3"], []

extensions = [
    Extension(
        f"hotset.{name}",
        [f"cext/{name}.pyx"],
        include_dirs=["cext"],
        depends=sorted(str(path) for path in Path("cext").rglob("*") if path.suffix in {".pxd", ".h"}),
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for name in ("_engine", "_lab", "_wire")
]

setup(ext_modules=cythonize(extensions, include_path=["cext"], build_dir="build/cython"))
