"""`python -m sphere_ebm` is the command `sphere-ebm`."""

from sphere_ebm_command import run

if __name__ == "__main__":
    run()
