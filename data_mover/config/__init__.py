"""The configuration: the settings of the ini, the registry of hosts and data types."""
