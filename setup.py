"""Builds the native scanner where there is a compiler; all else stands in pyproject.toml."""

from setuptools import Extension, setup

SCANNER = Extension(
    "watcher.source._scan",
    ["watcher/source/_scan.c"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    extra_compile_args=["-O3", "-g0"],
    py_limited_api=True,
    optional=True,  # without it the program is slower, not different
)

setup(ext_modules=[SCANNER], options={"bdist_wheel": {"py_limited_api": "cp311"}})
