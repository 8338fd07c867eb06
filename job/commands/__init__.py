"""The commands of ``python -m job``, a module a group. Each imports what it needs when it runs: --help is quick."""
