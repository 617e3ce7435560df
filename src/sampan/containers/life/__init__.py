"""A container's life: each change of its state is one module, named by what it does."""
