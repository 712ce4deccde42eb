"""The Librarian: a student that learns the labels."""
