"""Data Mover: moves files to registered destinations, and verifies that they arrived."""

from typing import Any


def main(global_config: dict[str, str], **settings: str) -> Any:
    """Return the WSGI application of an ini's `[app:main]`. Ends the process with every problem in it."""
    from pyramid.config import Configurator

    from data_mover.config.logs import escape_records
    from data_mover.config.settings import Settings
    from data_mover.domain.problems import ending_the_process

    escape_records()
    with ending_the_process(), Configurator(settings=settings) as config:
        config.registry.data_mover_settings = Settings.from_mapping(
            settings, global_config.get("__file__", "[app:main]")
        )
        config.include("data_mover.web.xmlrpc")
        config.include("data_mover.web.json")
        config.include("data_mover.web")  # after both, so that its access rule is the first that a request meets
        config.include("data_mover.web.json.problems")
    return config.make_wsgi_app()
