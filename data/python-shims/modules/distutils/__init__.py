"""Stand-in for distutils, which Python dropped in 3.12: versions, strtobool, find_executable; nothing builds."""
