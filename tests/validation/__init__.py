"""What a shell would run, judged before it runs."""
