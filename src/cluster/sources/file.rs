//! Services, routes and records from a watched TOML file.
