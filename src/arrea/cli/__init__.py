"""The command line: arguments in, an exit code out; stdout is data, stderr is everything else."""
