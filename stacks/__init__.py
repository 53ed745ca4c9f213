"""The CDK stacks of a deployment on AWS, all configured by one `Environment`."""
