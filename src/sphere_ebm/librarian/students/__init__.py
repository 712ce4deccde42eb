"""What can be taught: one student a file, all by the contract of `base`."""
