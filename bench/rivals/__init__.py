"""What nkfast is compared with: the obvious ways to do the same with other packages."""
