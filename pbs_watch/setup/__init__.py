"""Setting up what stands beside pbs-watch: Postfix's and Courier's settings, and its own."""
