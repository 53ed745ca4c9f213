"""Commands of the development of asciist, and the code that tests, benchmarks and documents
share."""
