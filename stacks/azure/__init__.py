"""The infrastructure of a deployment on Azure, as a program for Terraform.

`python -m stacks.azure` synthesizes a deployment. It checks the environment and builds the release
in the project's own virtual environment, and runs `stacks.azure.program` in `.venv-azure`, which
contains the constructs for Terraform.
"""
