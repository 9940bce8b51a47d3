"""``python cli.py ...`` is ``hat-deploy ...``, from a source tree."""

from hat_deploy.cli import main

if __name__ == "__main__":
    main()
