"""`python -m sphere_ebm` is the command `sphere-ebm`."""

from sphere_ebm.cli.entry import run

if __name__ == "__main__":
    run()
