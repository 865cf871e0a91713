"""The command line: one file per verb, each with SUMMARY, arguments(parser) and main(args, system) -> exit status.

Text is for people and may change; JSON (--format json) is a versioned contract. Errors go to standard error.
"""
