"""Worker tier as a Lambda function."""
