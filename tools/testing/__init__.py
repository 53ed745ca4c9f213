"""Development tools shared by the tests, the bench and the scripts that take the documentation's
screenshots.

The wheel and the deployed bundles do not contain this package.
"""
