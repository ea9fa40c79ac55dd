"""`python -m fisher_al` is the command `fisher-al`."""

from fisher_al.commands.main import main

if __name__ == "__main__":
    main()
