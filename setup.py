"""Everything is declared in pyproject.toml; this file lets buildout develop the package."""

from setuptools import setup

setup()
