"""The infrastructure of a deployment on Azure, as a program for Terraform.

`python -m azure_stacks` synthesizes a deployment. It checks the environment and builds the release in this project's own
environment, and runs `azure_stacks.program` in `.venv-azure`, which has the constructs for Terraform.
"""
