"""What the tests share: a daemon of their own, images made from the host's busybox, a look at what is left."""
